"""Notice what other processes change: revoked passwords, disabled aliases, replaced files, mail.

The directory's revision is asked for every second; when it grew, every session is looked at
again and those that no longer hold are ended; of the others those are told whose mailbox another
process wrote to.
"""

from collections.abc import Callable, Iterable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from mailsrv.directory.directory import Directory, MailboxRecord
from mailsrv.errors import Elsewhere, NoSuchAlias
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.touching import Touching
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers, log_unexpected

PASSWORD_CHANGED = "the password of this mailbox was changed"  # noqa: S105
CREDENTIAL_GONE = "this password was revoked"
ALIAS_GONE = "this address is disabled or deleted"

_ALIASES_AT_ONCE = 200


class Revocation:
    """Polls while it runs. ``end`` is called for each session that no longer holds."""

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Workers,
        directory: Directory,
        name: str,
        sessions: Sessions,
        end: Callable[[Session, str], None],
        touching: Touching,
    ) -> None:
        self._workers = workers
        self._directory = directory
        self._name = name
        self._sessions = sessions
        self._end = end
        self._touching = touching
        self._revision: int | None = None
        self._again = False
        self._loop = LoopingCall(self._poll)
        self._loop.clock = reactor

    def start(self, seconds: float) -> None:
        """Poll every so many seconds, from now on."""
        self._loop.start(seconds, now=True)

    def stop(self) -> None:
        """Poll no more."""
        if self._loop.running:
            self._loop.stop()

    def entered(self, revision: int) -> None:
        """A session logged in by what the directory said at ``revision``."""
        if self._revision is not None and revision < self._revision:
            # it was let in by what held before a change that is already dealt with
            self._again = True

    async def _poll(self) -> None:
        try:
            revision = await self._workers.run(self._directory.revision)
            if self._again or revision != self._revision:
                self._revision, self._again = revision, False
                await self._check()
                await self._touching.look()
            elif self._touching.missed:
                await self._touching.look()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            self._again = True
            log_unexpected(error)

    async def _check(self) -> None:
        accesses = sorted({one.access.alias for one in self._sessions.all()})
        for start in range(0, len(accesses), _ALIASES_AT_ONCE):
            aliases = accesses[start : start + _ALIASES_AT_ONCE]
            sessions = [one for alias in aliases for one in self._sessions.of_alias(alias)]
            reasons = await self._workers.run(
                reasons_to_end, self._directory, self._name, [one.access for one in sessions]
            )
            for session, reason in zip(sessions, reasons, strict=True):
                if reason is not None:
                    self._end(session, reason)


@attrs.frozen
class Standing:
    """What the directory says of an alias that is open. ``record`` is None without a mailbox."""

    record: MailboxRecord | None
    credentials: frozenset[str]
    primary: str


def reasons_to_end(directory: Directory, name: str, accesses: Sequence[Access]) -> list[str | None]:
    """Why each session must end at the primary ``name``, or None where it holds. Blocking."""
    standings = standings_of(directory, accesses)
    return [reason_to_end(standings[access.alias], name, access) for access in accesses]


def standings_of(directory: Directory, accesses: Iterable[Access]) -> dict[str, Standing | None]:
    """For each alias its standing, or None where it is closed. Blocking."""
    return {alias: _standing(directory, alias) for alias in {one.alias for one in accesses}}


def reason_to_end(
    standing: Standing | None, name: str, access: Access, *, same_file: bool = True
) -> str | None:
    """Why a session does not hold. Elsewhere's sentence where another primary has the alias.

    Without ``same_file`` the mailbox may be in another file than the session knows.
    """
    if standing is None:
        return ALIAS_GONE
    if standing.primary != name:
        return str(Elsewhere(standing.primary))
    if standing.record is None:
        return PASSWORD_CHANGED
    replaced = standing.record.id != access.mailbox
    if access.credential not in standing.credentials:
        return PASSWORD_CHANGED if replaced else CREDENTIAL_GONE
    return PASSWORD_CHANGED if replaced and same_file else None


def _standing(directory: Directory, alias_id: str) -> Standing | None:
    try:
        alias = directory.alias_by_id(alias_id)
    except NoSuchAlias:
        return None
    if not alias.active:
        return None
    record = directory.mailbox(alias_id)
    return Standing(
        record,
        frozenset(one.id for one in directory.credentials(alias_id)),
        alias.primary if record is None else record.primary,
    )
