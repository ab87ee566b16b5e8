"""Who is due when: decisions with a clock of the test's own."""

from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.schedule import LONGEST_RETRY, MISSED, RETRY, Schedule, pause, slot_after
from mailsrv.directory.values import BackupRecord, BackupStanding
from mailsrv.keys.objectid import object_id

DAY = timedelta(days=1)
START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ALIAS = "353a03f21e534321f5d6e267"
FILE, OTHER = "a" * 24, "b" * 24
DIGEST = b"d" * 32


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def standing(record: BackupRecord | None = None, created: datetime = START) -> BackupStanding:
    return BackupStanding(ALIAS, "a@example.com", FILE, text(created), record or BackupRecord())


def taken(moment: datetime, mailbox: str = FILE, **more: str) -> BackupRecord:
    return BackupRecord(mailbox, DIGEST, text(moment), text(moment), **more)


class SlotTests(SynchronousTestCase):
    def test_recurs_each_day_at_its_own_time(self) -> None:
        first = slot_after(ALIAS, START, DAY)
        self.assertTrue(START < first <= START + DAY)
        self.assertEqual(slot_after(ALIAS, first, DAY), first + DAY)
        self.assertEqual(slot_after(ALIAS, first - timedelta(seconds=1), DAY), first)
        self.assertEqual(slot_after(ALIAS, START + 40 * DAY, DAY), first + 40 * DAY)

    def test_is_spread_over_the_day(self) -> None:
        hours = [0] * 24
        for number in range(2400):
            alias = object_id(START + timedelta(seconds=number))
            hours[slot_after(alias, START, DAY).hour] += 1
        self.assertGreater(min(hours), 50)
        self.assertLess(max(hours), 170)


class ScheduleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schedule = Schedule(DAY)
        self.slot = slot_after(ALIAS, START, DAY)

    def due(self, now: datetime) -> bool:
        return self.schedule.due(now) == [ALIAS]

    def test_a_new_mailbox_waits_for_its_moment(self) -> None:
        self.schedule.learn(standing())
        self.assertFalse(self.due(self.slot - timedelta(seconds=1)))
        self.assertTrue(self.due(self.slot))

    def test_one_whose_moment_has_passed_is_taken_at_once(self) -> None:
        self.schedule.learn(standing(taken(self.slot)))
        self.assertFalse(self.due(self.slot + DAY - timedelta(seconds=1)))
        self.assertTrue(self.due(self.slot + 9 * DAY))

    def test_is_never_older_than_a_day_while_somebody_is_there(self) -> None:
        for hours in range(24):
            last = self.slot + timedelta(hours=hours)
            self.schedule.learn(standing(taken(last)))
            self.assertFalse(self.due(last))
            self.assertTrue(self.due(last + DAY))

    def test_another_file_is_taken_at_once(self) -> None:
        changed = standing(taken(self.slot, OTHER), created=self.slot + timedelta(minutes=1))
        self.schedule.learn(changed)
        self.assertTrue(self.due(self.slot + timedelta(minutes=1)))

    def test_a_damaged_copy_is_replaced_at_once(self) -> None:
        self.schedule.learn(standing(BackupRecord(FILE, None, text(self.slot))))
        self.assertTrue(self.due(self.slot))

    def test_the_longest_due_comes_first(self) -> None:
        later = BackupStanding(OTHER, "b@example.com", FILE, text(START), taken(START, OTHER))
        self.schedule.learn(standing(taken(START - 3 * DAY)))
        self.schedule.learn(later)
        self.assertEqual(self.schedule.due(START), [ALIAS, OTHER])

    def test_failures_are_retried_with_growing_pauses(self) -> None:
        self.schedule.learn(standing(taken(START - 3 * DAY)))
        now, pauses = START, []
        for _ in range(12):
            self.schedule.postponed(ALIAS, now)
            self.schedule.learn(standing(taken(START - 3 * DAY)))
            began = now
            while not self.due(now):
                now += timedelta(minutes=1)
            pauses.append(now - began)
        self.assertEqual(pauses[0], RETRY)
        self.assertEqual(pauses, sorted(pauses))
        self.assertEqual(pauses[-1], LONGEST_RETRY)
        self.assertEqual(pause(10**6), LONGEST_RETRY)
        self.schedule.made(ALIAS)
        self.schedule.postponed(ALIAS, now)
        self.assertTrue(self.due(now + RETRY))

    def test_a_failure_is_remembered_over_a_restart(self) -> None:
        failed = taken(START - 3 * DAY, failed=text(START), problem="no room")
        self.schedule.learn(standing(failed))
        self.assertFalse(self.due(START + timedelta(minutes=1)))
        self.assertTrue(self.due(START + RETRY))

    def test_who_had_gone_is_tried_when_somebody_comes(self) -> None:
        self.schedule.learn(standing(taken(START - 3 * DAY)))
        self.assertFalse(self.schedule.came(ALIAS))
        for _ in range(9):
            self.schedule.missed(ALIAS, START)
        self.assertFalse(self.due(START))
        self.assertTrue(self.due(START + MISSED))
        self.assertTrue(self.schedule.came(ALIAS))
        self.assertTrue(self.due(START))
        self.assertFalse(self.schedule.came(ALIAS))

    def test_is_wanted_once(self) -> None:
        self.schedule.learn(standing(taken(START - 3 * DAY)))
        self.assertEqual(self.schedule.newly_wanted(START, {ALIAS}), [])
        self.assertEqual(self.schedule.newly_wanted(START), [ALIAS])
        self.assertEqual(self.schedule.newly_wanted(START), [])
        self.schedule.learn(standing(taken(START - 3 * DAY, wanted=text(START))))
        self.assertEqual(self.schedule.newly_wanted(START), [])

    def test_forgets_who_has_gone(self) -> None:
        self.schedule.learn(standing(taken(START - 3 * DAY)))
        self.assertEqual(self.schedule.to_learn([ALIAS, OTHER]), [OTHER])
        self.schedule.keep([OTHER])
        self.assertEqual(self.schedule.due(START), [])
        self.assertEqual(self.schedule.to_learn([ALIAS]), [ALIAS])
        self.assertFalse(self.schedule.knows(ALIAS))
        for call in (self.schedule.came, self.schedule.made):
            call(ALIAS)
        self.schedule.postponed(ALIAS, START)

    def test_learns_again_when_something_happened(self) -> None:
        self.schedule.learn(standing(taken(START)))
        self.assertEqual(self.schedule.to_learn([ALIAS]), [])
        self.schedule.came(ALIAS)
        self.assertEqual(self.schedule.to_learn([ALIAS]), [ALIAS])
        self.schedule.learn(standing(taken(START, OTHER)))
        self.assertTrue(self.due(START))
        self.assertEqual(self.schedule.to_learn([ALIAS]), [])
