"""Notice what other processes change: revoked passwords, disabled aliases, replaced files.

The directory's revision is asked for every second; when it grew, every session is looked at
again and those that no longer hold are ended.
"""

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from mailsrv.directory.directory import Directory
from mailsrv.errors import NoSuchAlias
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers, log_unexpected

PASSWORD_CHANGED = "the password of this mailbox was changed"  # noqa: S105
CREDENTIAL_GONE = "this password was revoked"
ALIAS_GONE = "this address is disabled"

_ALIASES_AT_ONCE = 200


class Revocation:
    """Polls while it runs. ``end`` is called for each session that no longer holds."""

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Workers,
        directory: Directory,
        sessions: Sessions,
        end: Callable[[Session, str], None],
    ) -> None:
        self._workers = workers
        self._directory = directory
        self._sessions = sessions
        self._end = end
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
        except Exception as error:  # noqa: BLE001 - the next round tries again
            self._again = True
            log_unexpected(error)

    async def _check(self) -> None:
        accesses = sorted({one.access.alias for one in self._sessions.all()})
        for start in range(0, len(accesses), _ALIASES_AT_ONCE):
            aliases = accesses[start : start + _ALIASES_AT_ONCE]
            sessions = [one for alias in aliases for one in self._sessions.of_alias(alias)]
            reasons = await self._workers.run(
                reasons_to_end, self._directory, [one.access for one in sessions]
            )
            for session, reason in zip(sessions, reasons, strict=True):
                if reason is not None:
                    self._end(session, reason)


def reasons_to_end(directory: Directory, accesses: Sequence[Access]) -> list[str | None]:
    """Why each session must end, or None where it holds. Blocking; grouped by alias."""
    known: dict[str, tuple[str | None, set[str]] | None] = {}
    reasons: list[str | None] = []
    for access in accesses:
        if access.alias not in known:
            known[access.alias] = _standing(directory, access.alias)
        standing = known[access.alias]
        if standing is None:
            reasons.append(ALIAS_GONE)
        elif standing[0] != access.mailbox:
            reasons.append(PASSWORD_CHANGED)
        elif access.credential not in standing[1]:
            reasons.append(CREDENTIAL_GONE)
        else:
            reasons.append(None)
    return reasons


def _standing(directory: Directory, alias: str) -> tuple[str | None, set[str]] | None:
    """The current file and the ids of the credentials; None when the alias is closed."""
    try:
        if not directory.alias_by_id(alias).enabled:
            return None
    except NoSuchAlias:
        return None
    record = directory.mailbox(alias)
    credentials = {one.id for one in directory.credentials(alias)}
    return (record.id if record else None), credentials
