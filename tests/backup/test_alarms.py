"""Who is told what of backups that are late, fail or are damaged, and how often."""

import email
import email.policy
from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.alarms import (
    BETWEEN,
    MOST_LINES,
    REMINDER,
    Alarms,
    Problem,
    problems,
    write_mail,
)
from mailsrv.directory.values import BackupRecord, BackupStanding

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LATE = timedelta(hours=48)
ONE = Problem("a" * 24, "a@example.com", "failed")
OTHER = Problem("b" * 24, "b@example.com", "failed")


def pending(**record: str) -> BackupStanding:
    return BackupStanding(
        "a" * 24, "a@example.com", "f" * 24, "2026-01-01T00:00:00Z", BackupRecord(**record)
    )


class ProblemTests(SynchronousTestCase):
    def found(self, now: datetime = START, **record: str) -> list[Problem]:
        return problems([pending(**record)], LATE, now)

    def test_what_is_wanted_is_late_in_time(self) -> None:
        wanted = "2026-11-21T10:00:01Z"
        self.assertEqual(self.found(wanted=wanted), [])
        (found,) = self.found(
            START + timedelta(seconds=1), wanted=wanted, taken="2026-11-20T00:00:00Z"
        )
        self.assertTrue(found.late)
        self.assertEqual(
            found.sentence,
            "could have been backed up since 2026-11-21T10:00:01Z and was not; "
            "the newest backup is of 2026-11-20T00:00:00Z",
        )

    def test_what_failed_is_told_at_once(self) -> None:
        now = "2026-11-23T10:00:00Z"
        (found,) = self.found(wanted=now, failed=now, problem="DiskFull: no room")
        self.assertFalse(found.late)
        self.assertEqual(found.sentence, f"failed at {now}: DiskFull: no room; there is no backup")
        (found,) = self.found(wanted="2026-11-01T00:00:00Z", failed=now, problem="DiskFull: x")
        self.assertTrue(found.late)


class AlarmsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.alarms = Alarms()
        self.now = START

    def mail(self, *found: Problem, after: timedelta = timedelta(0)) -> bool:
        self.now += after
        due = self.alarms.due(found, self.now)
        if due:
            self.alarms.told(found, self.now)
        return due

    def test_nothing_is_told_while_all_is_well(self) -> None:
        self.assertFalse(self.mail())
        self.assertFalse(self.mail(after=REMINDER * 5))

    def test_trouble_and_its_end(self) -> None:
        self.assertTrue(self.mail(ONE))
        self.assertFalse(self.mail(ONE, after=BETWEEN))
        self.assertTrue(self.mail(after=BETWEEN))
        self.assertFalse(self.mail(after=REMINDER * 5))
        self.assertTrue(self.mail(ONE))

    def test_no_more_than_one_in_an_hour(self) -> None:
        self.assertTrue(self.mail(ONE))
        self.assertFalse(self.mail(ONE, OTHER, after=BETWEEN / 2))
        self.assertFalse(self.mail(after=BETWEEN / 4))
        self.assertTrue(self.mail(ONE, OTHER, after=BETWEEN / 4))
        self.assertFalse(self.mail(OTHER, after=BETWEEN))

    def test_what_stays_wrong_is_told_every_day(self) -> None:
        told = [self.mail(ONE, after=timedelta(minutes=1)) for _ in range(3 * 24 * 60)]
        self.assertEqual(sum(told), 3)

    def test_a_failure_that_becomes_late_is_news(self) -> None:
        late = Problem(ONE.alias, ONE.address, ONE.sentence, late=True)
        self.assertTrue(self.mail(ONE))
        self.assertTrue(self.mail(late, after=BETWEEN))

    def test_a_mail_that_could_not_be_sent_is_tried_again(self) -> None:
        self.assertTrue(self.alarms.due([ONE], self.now))
        self.alarms.postponed(self.now)
        self.assertFalse(self.mail(ONE, after=BETWEEN / 2))
        self.assertTrue(self.mail(ONE, after=BETWEEN / 2))

    def test_the_log_says_each_once(self) -> None:
        self.assertEqual(self.alarms.news([ONE]), [ONE])
        self.assertEqual(self.alarms.news([ONE, OTHER]), [OTHER])
        self.assertEqual(self.alarms.news([]), [])
        self.assertEqual(self.alarms.news([ONE]), [ONE])


class MailTests(SynchronousTestCase):
    def text(self, *found: Problem) -> str:
        return self.mail(*found).get_content().replace("\r\n", "\n")

    def mail(self, *found: Problem) -> email.message.EmailMessage:
        octets = write_mail(found, "operator@example.com", "mail.example.com", START)
        self.assertEqual(octets.count(b"\n"), octets.count(b"\r\n"))
        return email.message_from_bytes(octets, policy=email.policy.default)

    def test_headers(self) -> None:
        mail = self.mail(ONE)
        self.assertEqual(mail["Return-Path"], "<>")
        self.assertEqual(mail["To"], "operator@example.com")
        self.assertEqual(mail["From"].addresses[0].addr_spec, "postmaster@mail.example.com")
        self.assertEqual(mail["Date"].datetime, START)
        self.assertEqual(mail["Auto-Submitted"], "auto-generated")
        self.assertEqual(mail["Subject"], "Backups: something is wrong with 1 mailbox")

    def test_all_problems_within_reason(self) -> None:
        text = self.text(ONE, OTHER)
        for one in (ONE, OTHER):
            self.assertIn(f"{one.address}\n    {one.sentence}\n", text)
        text = self.text(*[ONE] * (MOST_LINES + 7))
        self.assertIn("... and 7 more\n", text)

    def test_addresses_in_any_script(self) -> None:
        odd = Problem("c" * 24, "grüße@example.com", "failed")
        self.assertIn(odd.address, self.mail(odd).get_content())
        self.assertEqual(self.mail()["Subject"], "Backups: all is well again")
