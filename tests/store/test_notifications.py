"""Announcements: coalesced, to the alias's listeners alone, and none stops the others."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import KeyGone
from mailsrv.store.notifications import Notifications
from mailsrv.store.sessions import Sessions
from mailsrv.store.values import Access
from tests.store.conformance import Listener


def access(session: str, alias: str = "a") -> Access:
    return Access(session, alias, f"{alias}@example.com", f"box-{alias}", "credential", "handle")


class Broken(Listener):
    def changed(self, folder_id: int, modseq: int) -> None:
        raise RuntimeError("broken")


class TestNotifications(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions()
        self.notifications = Notifications(self.clock, self.sessions)

    def listen(self, session: str, alias: str = "a") -> Listener:
        listener = Listener()
        self.sessions.add(access(session, alias), listener)
        return listener

    def test_one_turn_is_told_once_with_the_highest_modseq(self) -> None:
        listener = self.listen("s1")
        for folder, modseq in ((1, 5), (1, 7), (2, 3), (1, 6)):
            self.notifications.announce("a", folder, modseq)
        self.assertEqual(listener.heard, [])
        self.clock.advance(0)
        self.assertEqual(sorted(listener.heard), [(1, 7), (2, 3)])
        self.notifications.announce("a", 1, 8)
        self.clock.advance(0)
        self.assertEqual(listener.heard[-1], (1, 8))

    def test_only_the_alias_hears(self) -> None:
        one, two, other = self.listen("s1"), self.listen("s2"), self.listen("s3", "b")
        self.sessions.add(access("s4"), None)
        self.notifications.announce("a", 1, 1)
        self.clock.advance(0)
        self.assertEqual((one.heard, two.heard, other.heard), ([(1, 1)], [(1, 1)], []))

    def test_who_left_meanwhile_hears_nothing(self) -> None:
        listener = self.listen("s1")
        self.notifications.announce("a", 1, 1)
        self.sessions.remove(access("s1"))
        self.clock.advance(0)
        self.assertEqual(listener.heard, [])

    def test_nothing_is_kept_for_nobody(self) -> None:
        self.notifications.announce("nobody", 1, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_broken_listener_does_not_stop_the_others(self) -> None:
        self.sessions.add(access("s0"), Broken())
        listener = self.listen("s1")
        self.notifications.announce("a", 1, 1)
        self.clock.advance(0)
        self.assertEqual(listener.heard, [(1, 1)])


class TestSessions(SynchronousTestCase):
    def test_an_access_is_good_as_long_as_its_session(self) -> None:
        sessions = Sessions()
        sessions.add(access("s1"), None)
        sessions.check(access("s1"))
        self.assertRaises(KeyGone, sessions.check, access("s2"))
        self.assertRaises(KeyGone, sessions.check, access("s1", "b"))
        self.assertTrue(sessions.remove(access("s1")))
        self.assertFalse(sessions.remove(access("s1")))
        self.assertRaises(KeyGone, sessions.check, access("s1"))

    def test_counts_who_uses_a_file(self) -> None:
        sessions = Sessions()
        sessions.add(access("s1"), None)
        sessions.add(access("s2"), None)
        sessions.remove(access("s1"))
        self.assertTrue(sessions.uses("box-a", "a"))
        self.assertFalse(sessions.uses("box-b", "a"))
        sessions.remove(access("s2"))
        self.assertFalse(sessions.uses("box-a", "a"))
        self.assertEqual(len(sessions), 0)
