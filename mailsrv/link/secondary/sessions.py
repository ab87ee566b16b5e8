"""The sessions of a front end's own clients: what it keeps of each while it is logged in.

The key lies in the front end's vault under ``access.key``. The primary has it on lease, and
``Lease`` is what is known here of that.
"""

from collections import OrderedDict
from collections.abc import Iterable

import attrs
from twisted.internet.defer import Deferred

from mailsrv.errors import KeyGone
from mailsrv.link.secondary.line import Line
from mailsrv.store.interfaces import IListener
from mailsrv.store.values import Access
from mailsrv.store.workers import log_unexpected

FOLDERS_WATCHED = 16
"""Folders of a session that are looked at after a reconnect: those it last asked about."""

SURE = 0.8
"""The part of a lease in which the primary has the key for sure, clocks and ways considered."""


@attrs.define(eq=False)
class Lease:
    """Whether the primary at the other end of a line still has a session's key."""

    line: Line | None = None
    since: float = 0.0
    until: float = 0.0

    def holds(self, line: Line, now: float) -> bool:
        """Whether no key needs to be lent for a request that is sent now."""
        return self.line is line and now < self.until

    def begin(self, line: Line, sent: float) -> None:
        """A key was lent, or used, by what was sent at that time."""
        if self.line is not line:
            self.line, self.since, self.until = line, sent, 0.0
        self.until = max(self.until, sent + line.lease_seconds * SURE)

    def renew(self, line: Line, sent: float) -> None:
        """The key was lent once more."""
        self.since = sent
        self.begin(line, sent)

    def end(self, sent: float) -> None:
        """What was sent at that time found the key gone, unless it was lent again since."""
        if sent >= self.since:
            self.line = None


@attrs.define(eq=False)
class Held:
    """One session. ``home`` names the primary where it is entered."""

    access: Access
    listener: IListener | None
    home: str
    lease: Lease = attrs.Factory(Lease)
    folders: OrderedDict[int, int] = attrs.Factory(OrderedDict)
    """Folders it asked about, with the highest modseq that it was told of."""
    moving: list[Deferred[None]] | None = None
    """Who waits for it to be entered at another primary; None when it stays."""
    toward: str | None = None
    """The primary that serves it and could not be reached so far."""

    @property
    def id(self) -> str:
        """The session's id."""
        return self.access.session

    def asked(self, folder_id: int, modseq: int = 0) -> None:
        """The session is interested in a folder, and knows it up to this modseq."""
        self.folders[folder_id] = max(modseq, self.folders.get(folder_id, 0))
        self.folders.move_to_end(folder_id)
        if len(self.folders) > FOLDERS_WATCHED:
            self.folders.popitem(last=False)

    def tell(self, folder_id: int, modseq: int) -> None:
        """Tell its listener of a change."""
        if folder_id in self.folders:
            self.folders[folder_id] = max(modseq, self.folders[folder_id])
        if self.listener is None:
            return
        try:
            self.listener.changed(folder_id, modseq)
        except Exception as error:  # noqa: BLE001 - one listener's fault is not the others'
            log_unexpected(error)


def tell_revoked(listener: IListener | None, reason: str) -> None:
    """Tell a listener that its session has ended."""
    if listener is None:
        return
    try:
        listener.revoked(reason)
    except Exception as error:  # noqa: BLE001
        log_unexpected(error)


class HeldSessions:
    """Sessions by id and by alias."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._aliases: dict[str, dict[str, Held]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Held) -> None:
        """Enter one that has just logged in."""
        self._held[held.id] = held
        self._aliases.setdefault(held.access.alias, {})[held.id] = held

    def remove(self, held: Held) -> bool:
        """Forget one. False when it was gone already."""
        if self._held.get(held.id) is not held:
            return False
        del self._held[held.id]
        of_alias = self._aliases[held.access.alias]
        del of_alias[held.id]
        if not of_alias:
            del self._aliases[held.access.alias]
        return True

    def get(self, session: str) -> Held | None:
        """By id."""
        return self._held.get(session)

    def of(self, access: Access) -> Held | None:
        """The session of an access that was given out, whatever its mailbox is by now."""
        held = self._held.get(access.session)
        return held if held is not None and held.access.key == access.key else None

    def check(self, access: Access) -> Held:
        """As ``of``; KeyGone where there is none."""
        held = self.of(access)
        if held is None:
            raise KeyGone("this session has ended: log in again")
        return held

    def holds(self, held: Held) -> bool:
        """Whether it is still here."""
        return self._held.get(held.id) is held

    def of_alias(self, alias: str) -> Iterable[Held]:
        """Those of an alias."""
        return self._aliases.get(alias, {}).values()

    def at(self, home: str) -> list[Held]:
        """Those entered at one primary."""
        return [held for held in self._held.values() if held.home == home]

    def toward(self, primary: str) -> list[Held]:
        """Those that should be at a primary, and are not yet."""
        return [held for held in self._held.values() if held.toward == primary]
