"""When each mailbox is backed up: decisions without input or output.

Every alias has its own moment of the day (of ``every_hours``), told by its id, so that the work is
spread over it. A mailbox whose moment passed while nobody was there who has its key is taken as
soon as somebody is. One that has another file than the last copy, as after a change of its
password, is taken at once. What fails is tried again after minutes, then hours.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import attrs

from mailsrv.directory.values import BackupStanding

RETRY = timedelta(minutes=5)
"""Before the second attempt; twice as long before each further one."""

LONGEST_RETRY = timedelta(hours=4)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.define
class _Known:
    due: datetime
    wanted: bool
    """Whether it is noted in the directory that a backup is due."""
    failures: int = 0


class Schedule:
    """Who is due, among those who have sessions. ``every`` is the time between two backups."""

    def __init__(self, every: timedelta) -> None:
        self._every = every
        self._known: dict[str, _Known] = {}

    def unknown(self, aliases: Iterable[str]) -> list[str]:
        """Those of these aliases of which nothing was learned yet."""
        return [alias for alias in aliases if alias not in self._known]

    def learn(self, standing: BackupStanding) -> None:
        """How the backups of an alias stand by the directory."""
        known = self._known.get(standing.alias)
        failures = known.failures if known is not None and standing.record.failed else 0
        due = due_at(standing, self._every)
        if standing.record.failed is not None:
            failures = max(failures, 1)
            due = max(due, _moment(standing.record.failed) + pause(failures))
        wanted = standing.record.wanted is not None
        self._known[standing.alias] = _Known(due, wanted, failures)

    def keep(self, aliases: Iterable[str]) -> None:
        """Forget all others: their owners have gone."""
        present = set(aliases)
        for alias in [one for one in self._known if one not in present]:
            del self._known[alias]

    def due(self, now: datetime) -> list[str]:
        """Aliases whose backup is due, the longest due first."""
        found = [(known.due, alias) for alias, known in self._known.items() if known.due <= now]
        return [alias for _, alias in sorted(found)]

    def begun(self, alias: str, now: datetime) -> None:
        """Its backup is under way: it is not due again until ``learn`` says so, or it fails."""
        known = self._known.get(alias)
        if known is not None:
            known.due = now + LONGEST_RETRY

    def postponed(self, alias: str, now: datetime) -> None:
        """It could not be made, and will be tried again."""
        known = self._known.get(alias)
        if known is not None:
            known.failures += 1
            known.due = now + pause(known.failures)

    def newly_wanted(self, now: datetime) -> list[str]:
        """Those that are due and of which that was not noted yet; from now on it is."""
        found = [alias for alias in self.due(now) if not self._known[alias].wanted]
        for alias in found:
            self._known[alias].wanted = True
        return found


def pause(failures: int) -> timedelta:
    """How long after so many failures in a row the next attempt is made."""
    return min(RETRY * 2 ** min(failures - 1, 16), LONGEST_RETRY)


def due_at(standing: BackupStanding, every: timedelta) -> datetime:
    """When the next backup of an alias is due, whatever failed meanwhile."""
    record = standing.record
    if record.mailbox is None:
        return slot_after(standing.alias, _moment(standing.created), every)
    if record.mailbox != standing.mailbox or record.digest is None:
        return _moment(standing.created)
    last = max(record.taken or standing.created, record.checked or standing.created)
    return slot_after(standing.alias, _moment(last), every)


def slot_after(alias: str, moment: datetime, every: timedelta) -> datetime:
    """The first moment after ``moment`` that is this alias's own; they recur in ``every``."""
    share = int.from_bytes(hashlib.sha256(alias.encode()).digest()[:8]) / 2**64
    own = _EPOCH + timedelta(seconds=int(every.total_seconds() * share))
    return own + every * ((moment - own) // every + 1)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
