"""Who is logged in: for each alias its sessions, with the listener of each.

Lives on the reactor's thread. The keys themselves lie in the vault; ``Access.key`` is their handle.
"""

import attrs

from mailsrv.errors import KeyGone
from mailsrv.store.interfaces import IListener
from mailsrv.store.values import Access


@attrs.frozen(eq=False)
class Session:
    """One login. ``listener`` is None for a front end that wants to hear nothing."""

    access: Access
    listener: IListener | None
    public_key: bytes = b""
    """What waiting mail is sealed to, and its file named by."""


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
        self._sessions[access.session] = session
        self._aliases.setdefault(access.alias, {})[access.session] = session
        return session

    def remove(self, access: Access) -> bool:
        """Forget a session. False when it was gone already."""
        if self._sessions.pop(access.session, None) is None:
            return False
        of_alias = self._aliases[access.alias]
        del of_alias[access.session]
        if not of_alias:
            del self._aliases[access.alias]
        return True

    def check(self, access: Access) -> Session:
        """The session of this access. KeyGone unless exactly this one is logged in."""
        session = self._sessions.get(access.session)
        if session is None or session.access != access:
            raise KeyGone("this session has ended: log in again")
        return session

    def of_alias(self, alias: str) -> list[Session]:
        """Sessions of the alias, the longest-standing first."""
        return list(self._aliases.get(alias, {}).values())

    def all(self) -> list[Session]:
        """Every session."""
        return list(self._sessions.values())

    def uses(self, mailbox: str, alias: str) -> bool:
        """Whether a session of the alias holds a key of this mailbox file."""
        return any(session.access.mailbox == mailbox for session in self.of_alias(alias))
