"""When each mailbox is backed up: decisions without input or output.

Every alias has its own moment of the day (of ``every_hours``), told by its id, so that the work is
spread over it. A mailbox whose moment passed while nobody was there who has its key is taken as
soon as somebody is. One that has another file than the last copy, as after a change of its
password, is taken at once. What fails is tried again after minutes, then hours.
"""

import hashlib
from collections.abc import Container, Iterable
from datetime import UTC, datetime, timedelta

import attrs

from mailsrv.directory.values import BackupStanding

RETRY = timedelta(minutes=5)
"""Before the second attempt; twice as long before each further one."""

MISSED = timedelta(minutes=1)
"""Before the next attempt when nobody was there any more who had the key, if nobody comes."""

LONGEST_RETRY = timedelta(hours=4)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.define
class _Known:
    due: datetime
    wanted: bool
    """Whether it is noted in the directory that a backup is due."""
    not_before: datetime
    """When the next attempt may be made."""
    failures: int = 0
    missed: bool = False
    stale: bool = False
    """Something happened that may have changed what the directory says."""


class Schedule:
    """Who is due, among those who have sessions. ``every`` is the time between two backups."""

    def __init__(self, every: timedelta) -> None:
        self._every = every
        self._known: dict[str, _Known] = {}

    def knows(self, alias: str) -> bool:
        """Whether anything was learned of this alias."""
        return alias in self._known

    def came(self, alias: str) -> bool:
        """Somebody logged in, or mail came: the key is here, and the password may be another.

        Whether it is worth a look at once.
        """
        known = self._known.get(alias)
        if known is None:
            return True
        known.stale, missed = True, known.missed
        if missed:
            known.missed, known.not_before = False, _EPOCH
        return missed

    def to_learn(self, aliases: Iterable[str]) -> list[str]:
        """Those of these aliases of which nothing, or nothing new, was learned yet.

        They are to be looked up now: what comes from here on asks for another look.
        """
        found = [one for one in aliases if not self.knows(one) or self._known[one].stale]
        for known in filter(None, map(self._known.get, found)):
            known.stale = False
        return found

    def learn(self, standing: BackupStanding) -> None:
        """How the backups of an alias stand by the directory."""
        record = standing.record
        due, wanted = due_at(standing, self._every), record.wanted is not None
        known = self._known.get(standing.alias)
        if known is not None:
            known.due, known.wanted = due, wanted
        elif record.failed is not None:
            self._known[standing.alias] = _Known(due, wanted, _moment(record.failed) + RETRY, 1)
        else:
            self._known[standing.alias] = _Known(due, wanted, _EPOCH)

    def keep(self, aliases: Iterable[str]) -> None:
        """Forget all others: their owners have gone."""
        present = set(aliases)
        for alias in [one for one in self._known if one not in present]:
            del self._known[alias]

    def due(self, now: datetime) -> list[str]:
        """Aliases whose backup is due, the longest due first."""
        found = [
            (known.due, alias)
            for alias, known in self._known.items()
            if known.due <= now and known.not_before <= now
        ]
        return [alias for _, alias in sorted(found)]

    def postponed(self, alias: str, now: datetime) -> None:
        """It could not be made, and will be tried again."""
        known = self._known.get(alias)
        if known is not None:
            known.failures += 1
            known.not_before = now + pause(known.failures)

    def missed(self, alias: str, now: datetime) -> None:
        """Its owner had gone, or a session had the key of an earlier file."""
        known = self._known.get(alias)
        if known is not None:
            known.missed, known.not_before = True, now + MISSED

    def made(self, alias: str) -> None:
        """It was made; ``learn`` tells when it is due next."""
        known = self._known.get(alias)
        if known is not None:
            known.failures, known.missed, known.stale = 0, False, True

    def newly_wanted(self, now: datetime, begun: Container[str] = ()) -> list[str]:
        """Those that are due, and not ``begun``, and of which that was not noted yet; now it is."""
        found = [
            alias for alias in self.due(now) if alias not in begun and not self._known[alias].wanted
        ]
        for alias in found:
            self._known[alias].wanted = True
        return found


def pause(failures: int) -> timedelta:
    """How long after so many failures in a row the next attempt is made."""
    doubled: timedelta = RETRY * 2 ** min(failures - 1, 16)
    return min(doubled, LONGEST_RETRY)


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
