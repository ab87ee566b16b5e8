"""What is kept is what a naive model keeps; the newest stays, and keeping again takes nothing."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.generations import Generations, kept
from mailsrv.settings import Backup

NUMBERS = st.integers(0, 5)
GENERATIONS = st.builds(Generations, st.integers(1, 5), NUMBERS, NUMBERS, NUMBERS)
# close together, and at the turns of years, where the week is of another year than the day
MOMENTS = st.one_of(
    st.datetimes(datetime(2026, 11, 20), datetime(2026, 12, 3)),
    st.datetimes(datetime(2024, 12, 20), datetime(2025, 1, 10)),
    st.datetimes(datetime(2020, 12, 20), datetime(2021, 1, 10)),
    st.datetimes(datetime(2019, 1, 1), datetime(2027, 1, 1)),
).map(lambda moment: moment.replace(tzinfo=UTC))
TIMES = st.lists(MOMENTS, max_size=25)


def model(times: list[datetime], generations: Generations) -> set[datetime]:
    """Slow, and told in other words: a copy stays if some rule wants it."""
    staying = set()
    for one in times:
        later = [other for other in times if other > one]
        if len(set(later)) < generations.last:
            staying.add(one)
        for form, count in (
            ("%Y-%m-%d", generations.daily),
            ("%G-%V", generations.weekly),
            ("%Y-%m", generations.monthly),
        ):
            periods = {other.strftime(form) for other in later}
            if one.strftime(form) not in periods and len(periods) < count:
                staying.add(one)
    return staying


class GenerationsTests(SynchronousTestCase):
    @given(TIMES, GENERATIONS)
    def test_as_the_model(self, times: list[datetime], generations: Generations) -> None:
        self.assertEqual(kept(times, generations), model(times, generations))

    @given(TIMES, GENERATIONS)
    def test_the_newest_stays_and_doing_it_again_takes_nothing(
        self, times: list[datetime], generations: Generations
    ) -> None:
        staying = kept(times, generations)
        self.assertLessEqual(staying, set(times))
        self.assertEqual(kept(staying, generations), staying)
        if times:
            self.assertIn(max(times), staying)

    @given(TIMES, GENERATIONS, GENERATIONS)
    def test_who_asks_for_more_keeps_more(
        self, times: list[datetime], few: Generations, many: Generations
    ) -> None:
        both = Generations(
            max(few.last, many.last),
            max(few.daily, many.daily),
            max(few.weekly, many.weekly),
            max(few.monthly, many.monthly),
        )
        self.assertLessEqual(kept(times, few), kept(times, both))

    @given(TIMES, GENERATIONS)
    def test_after_each_copy_or_all_at_once(
        self, times: list[datetime], generations: Generations
    ) -> None:
        """What was removed before is never missed later."""
        staying: set[datetime] = set()
        for moment in sorted(times):
            staying = kept({*staying, moment}, generations)
        self.assertEqual(staying, kept(times, generations))

    def test_nothing_is_kept_of_nothing(self) -> None:
        self.assertEqual(kept([], Generations()), set())

    def test_a_year_of_daily_copies_with_the_defaults(self) -> None:
        now = datetime(2026, 11, 29, 10, tzinfo=UTC)
        times = [now - timedelta(days=number) for number in range(365)]
        generations = Generations.configured(Backup())
        self.assertEqual(generations, Generations(2, 3, 2, 0))
        days = {moment.strftime("%m-%d") for moment in kept(times, generations)}
        self.assertEqual(days, {"11-29", "11-28", "11-27", "11-22"})

    def test_days_are_those_of_utc(self) -> None:
        tokyo = timezone(timedelta(hours=9))
        early, late = (datetime(2026, 11, 29, hour, tzinfo=tokyo) for hour in (8, 10))
        self.assertEqual(kept([early, late], Generations(1, 2)), {early, late})
        self.assertEqual(kept([late, late.astimezone(UTC)], Generations(1, 2)), {late})
