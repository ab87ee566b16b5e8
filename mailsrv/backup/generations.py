"""Which copies to keep: the last ones, and the newest of each of the last days, weeks and months.

Only days, weeks and months that have a copy are counted: a mailbox that nobody opened for a year
keeps what it had. Pure; times are UTC, weeks those of ISO 8601.
"""

from collections.abc import Callable, Collection, Hashable
from datetime import UTC, datetime

import attrs

from mailsrv.settings import Backup


@attrs.frozen
class Generations:
    """How many of each are kept. The newest copy is always kept."""

    last: int = 1
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @classmethod
    def configured(cls, backup: Backup) -> "Generations":
        """As ``[backup]`` says."""
        return cls(backup.keep_last, backup.keep_daily, backup.keep_weekly, backup.keep_monthly)


def kept(taken: Collection[datetime], generations: Generations) -> set[datetime]:
    """Return those of the times whose copies stay; all others may be removed."""
    newest_first = sorted(set(taken), reverse=True)
    staying = set(newest_first[: max(1, generations.last)])
    for period, count in (
        (_day, generations.daily),
        (_week, generations.weekly),
        (_month, generations.monthly),
    ):
        staying.update(_newest_of_each(newest_first, period, count))
    return staying


def _newest_of_each(
    newest_first: list[datetime], period: Callable[[datetime], Hashable], count: int
) -> list[datetime]:
    newest: dict[Hashable, datetime] = {}
    for moment in newest_first:
        newest.setdefault(period(moment.astimezone(UTC)), moment)
    return list(newest.values())[:count]


def _day(moment: datetime) -> Hashable:
    return moment.date()


def _week(moment: datetime) -> Hashable:
    return moment.isocalendar()[:2]


def _month(moment: datetime) -> Hashable:
    return moment.year, moment.month
