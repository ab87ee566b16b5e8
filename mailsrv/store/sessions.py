"""Who is logged in: for each alias its sessions, with the listener of each.

Lives on the reactor's thread. The keys themselves lie in the vault; ``Access.key`` is their handle.
"""

import attrs

from mailsrv.errors import Elsewhere, KeyGone
from mailsrv.store.interfaces import IListener
from mailsrv.store.values import Access


@attrs.define(eq=False)
class Session:
    """One login. ``listener`` is None for a front end that wants to hear nothing."""

    access: Access
    listener: IListener | None
    public_key: bytes = b""
    """What waiting mail is sealed to, and its file named by."""
    leased: bool = False
    """Its key belongs to somebody far away and is here for a while only."""
    key_here: bool = True
    began: int = 0
    """Rises from one login to the next: of two with one id the later stays."""
    salt: bytes | None = None
    """What the key has to carry, where the file is another than the one it was made for."""
    primary: str | None = None
    """Who serves the alias now, when that is no longer this store."""


class Sessions:
    """The registry."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._aliases: dict[str, dict[str, Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, access: Access, listener: IListener | None, public_key: bytes = b"") -> Session:
        """Enter a session that has just logged in."""
        session = Session(access, listener, public_key)
        self.enter(session)
        return session

    def enter(self, session: Session) -> None:
        """Enter a session, whose id must be free."""
        access = session.access
        self._sessions[access.session] = session
        self._aliases.setdefault(access.alias, {})[access.session] = session

    def remove(self, access: Access) -> bool:
        """Forget a session. False when it was gone already, or another one has its id."""
        if self.find(access) is None:
            return False
        del self._sessions[access.session]
        of_alias = self._aliases[access.alias]
        del of_alias[access.session]
        if not of_alias:
            del self._aliases[access.alias]
        return True

    def find(self, access: Access) -> Session | None:
        """The session of exactly this access, if it is logged in."""
        session = self._sessions.get(access.session)
        return None if session is None or session.access != access else session

    def check(self, access: Access) -> Session:
        """The session of this access. KeyGone unless exactly this one is logged in; Elsewhere."""
        session = self.find(access)
        if session is None:
            raise KeyGone("this session has ended: log in again")
        if session.primary is not None:
            raise Elsewhere(session.primary)
        return session

    def with_id(self, session: str) -> Session | None:
        """The session of this id, whatever its access."""
        return self._sessions.get(session)

    def of_alias(self, alias: str) -> list[Session]:
        """Sessions of the alias, the longest-standing first."""
        return list(self._aliases.get(alias, {}).values())

    def aliases(self) -> list[str]:
        """Aliases that have sessions."""
        return list(self._aliases)

    def holder(self, alias: str) -> Session | None:
        """The session of the alias that came last among those whose key is here."""
        sessions = reversed(self._aliases.get(alias, {}).values())
        return next((session for session in sessions if session.key_here), None)

    def all(self) -> list[Session]:
        """Every session."""
        return list(self._sessions.values())

    def uses(self, mailbox: str, alias: str) -> bool:
        """Whether the key of this mailbox file is here, by a session of the alias."""
        return any(
            session.key_here and session.access.mailbox == mailbox
            for session in self.of_alias(alias)
        )
