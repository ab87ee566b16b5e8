"""Several primaries: who is asked, who is asked instead, and sessions whose mailbox moves."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import (
    AuthenticationFailed,
    Elsewhere,
    KeyGone,
    LeaseEnded,
    StaleKey,
    Unavailable,
)
from mailsrv.keys.sealing import unseal
from mailsrv.keys.vault import Vault
from mailsrv.link.mailbox_operations import (
    ChangesSince,
    Folders,
)
from mailsrv.link.operations import (
    Changed,
    Deliver,
    LendKey,
    LoggedIn,
    Login,
    Logout,
    Resolve,
    Resume,
    Revoked,
)
from mailsrv.link.sealed import ASK, KEY, LinkKeys, seal_for
from mailsrv.link.secondary.login import AT_ONCE, TOO_MANY, WAITING
from mailsrv.link.secondary.primary_link import ClientLimits
from mailsrv.link.secondary.requests import HOPS, TRIES
from mailsrv.link.secondary.store import RemoteStore
from mailsrv.link.wire.served import Received
from mailsrv.mailbox.values import Changes
from mailsrv.store.values import Access, Delivery, Recipient
from tests.link.fakes import PRIVATE, Call, FakePrimary, Outcome, access
from tests.store.conformance import ADDRESS, Listener

FILE_KEY = b"k" * 48
ALIAS = "a" * 24


class FollowingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        limits = ClientLimits(patience=30)
        self.one, self.two = (FakePrimary(self.clock, name, limits) for name in ("one", "two"))
        self.vault = Vault()
        self.keys = LinkKeys.generate()
        links = {"one": self.one.link, "two": self.two.link}
        self.store = RemoteStore(links, self.keys, self.vault, self.clock)
        self.store.start()

    def waiting(self, primary: FakePrimary, kind: Any) -> Call:
        """The one call of that kind that has no answer yet."""
        (call,) = [one for one in primary.peer.asked(kind) if not one.answer.called]
        return call

    def log_in(self, primary: FakePrimary, call: Call, **more: str) -> None:
        """Answer a login."""
        operation: Any = call.operation
        nonce = primary.connections[-1].welcome.nonce
        about = (operation.number, operation.session)
        sealed = seal_for(self.keys.public, FILE_KEY, KEY, nonce, *about)
        call.answer.callback(LoggedIn(access(operation.session, **more), sealed))

    def enter(self, listener: Listener | None = None) -> Access:
        """A session at the first primary, long enough ago that its lease is over."""
        outcome = Outcome(self.store.login(ADDRESS, "password", "imap", listener))
        self.log_in(self.one, self.waiting(self.one, Login))
        (entered,) = outcome.results
        self.clock.advance(60)
        return entered  # type: ignore[no-any-return]


class TestWhoIsAsked(FollowingCase):
    def test_a_login_goes_where_it_is_sent(self) -> None:
        outcome = Outcome(self.store.login(ADDRESS, "password", "imap", None))
        self.waiting(self.one, Login).answer.errback(Elsewhere("two"))
        call = self.waiting(self.two, Login)
        self.log_in(self.two, call)
        self.assertEqual(outcome.results[0].session, call.operation.session)  # type: ignore[attr-defined]
        held = self.store.session(outcome.results[0])
        assert held is not None
        self.assertEqual(held.home, "two")

    def test_what_was_learned_is_remembered(self) -> None:
        Outcome(self.store.resolve(ADDRESS))
        self.waiting(self.one, Resolve).answer.errback(Elsewhere("two"))
        self.waiting(self.two, Resolve).answer.callback(Recipient(ALIAS, ADDRESS))
        Outcome(self.store.resolve(ADDRESS))
        Outcome(self.store.deliver(ALIAS, Delivery(b"x", "d", "2026-11-20T08:30:00Z")))
        self.assertEqual(len(self.one.peer.calls), 1)
        self.waiting(self.two, Deliver)

    def test_round_and_round_ends(self) -> None:
        outcome = Outcome(self.store.resolve(ADDRESS))
        for number in range(HOPS):
            primary, other = ((self.one, "two"), (self.two, "one"))[number % 2]
            self.waiting(primary, Resolve).answer.errback(Elsewhere(other))
        self.assertIsInstance(outcome.errors[0], Unavailable)

    def test_a_primary_that_is_not_configured(self) -> None:
        outcome = Outcome(self.store.resolve(ADDRESS))
        self.waiting(self.one, Resolve).answer.errback(Elsewhere("three"))
        self.assertEqual(str(outcome.errors[0]), "this front end has no link to primary three")

    def test_while_home_is_away_another_is_asked(self) -> None:
        self.one.reachable = False
        self.one.lose()
        outcome = Outcome(self.store.resolve(ADDRESS))
        self.waiting(self.two, Resolve).answer.callback(Recipient(ALIAS, ADDRESS))
        self.assertEqual(outcome.results, [Recipient(ALIAS, ADDRESS)])

    def test_one_that_is_away_too_long_is_forgotten(self) -> None:
        Outcome(self.store.resolve(ADDRESS))
        self.waiting(self.one, Resolve).answer.errback(Elsewhere("two"))
        self.two.reachable = False
        self.two.lose()
        self.clock.pump([1.0] * 31)
        outcome = Outcome(self.store.resolve(ADDRESS))
        self.waiting(self.one, Resolve).answer.callback(Recipient(ALIAS, ADDRESS))
        self.assertTrue(outcome.results)

    def test_a_stale_password_is_sealed_once_more(self) -> None:
        outcome = Outcome(self.store.login(ADDRESS, "password", "imap", None))
        first = self.waiting(self.one, Login)
        first.answer.errback(StaleKey("stale"))
        second = self.waiting(self.one, Login)
        self.assertNotEqual(first.operation.secret, second.operation.secret)  # type: ignore[attr-defined]
        second.answer.errback(StaleKey("stale"))
        self.assertIsInstance(outcome.errors[0], StaleKey)


class TestManyLogins(FollowingCase):
    def ask(self) -> Outcome:
        return Outcome(self.store.login(ADDRESS, "password", "imap", None))

    def test_they_leave_room_for_those_who_are_in(self) -> None:
        outcomes = [self.ask() for _ in range(AT_ONCE + WAITING)]
        self.assertEqual(len(self.one.peer.asked(Login)), AT_ONCE)
        self.assertEqual(str(self.ask().errors[0]), TOO_MANY)
        outcomes[-1].deferred.cancel()
        self.one.peer.asked(Login)[0].answer.errback(AuthenticationFailed("no"))
        self.assertEqual(len(self.one.peer.asked(Login)), AT_ONCE + 1)
        outcomes[1].deferred.cancel()
        self.assertEqual(len(self.one.peer.asked(Login)), AT_ONCE + 2)
        self.clock.advance(31)
        over = [one for one in outcomes if one.errors and isinstance(one.errors[0], Unavailable)]
        self.assertEqual(len(over), WAITING - 3)


class TestWhoGetsTheKey(FollowingCase):
    def test_not_a_primary_that_the_session_has_left(self) -> None:
        entered = self.enter()
        moved, late = (Outcome(self.store.folders(entered)) for _ in range(2))
        first, _ = self.one.peer.asked(Folders)
        first.answer.errback(Elsewhere("two"))
        self.one.lose()
        self.two.answer_resume()
        self.two.peer.asked(Folders)[-1].answer.callback([])
        self.assertEqual(moved.results, [[]])
        self.clock.advance(60)
        # it is back, and what it has not answered is asked again, but not of it
        self.assertEqual(self.one.peer.asked(Folders), [])
        self.two.answer_resume()
        self.two.peer.asked(Folders)[-1].answer.callback([])
        self.assertEqual(late.results, [[]])


class TestLeases(FollowingCase):
    def test_lent_when_the_lease_may_be_over_and_not_before(self) -> None:
        entered = self.enter()
        for seconds, lent in ((0, True), (0, False), (3.9, False), (3.9, False), (4.1, True)):
            self.clock.advance(seconds)
            Outcome(self.store.folders(entered))
            call = self.waiting(self.one, Folders)
            self.assertEqual(call.lent is not None, lent)
            call.answer.callback([])

    def test_a_new_connection_knows_no_key(self) -> None:
        entered = self.enter()
        Outcome(self.store.folders(entered))
        self.one.lose()
        self.clock.advance(1)
        self.one.answer_resume()
        self.assertIsNotNone(self.waiting(self.one, Folders).lent)

    def test_one_that_ended_too_soon_is_begun_again_once_for_all(self) -> None:
        entered = self.enter()
        Outcome(self.store.folders(entered))
        self.waiting(self.one, Folders).answer.callback([])
        outcomes = [Outcome(self.store.folders(entered)) for _ in range(5)]
        self.clock.advance(0.1)
        for call in list(self.one.peer.asked(Folders))[1:]:
            self.assertIsNone(call.lent)
            call.answer.errback(LeaseEnded("over"))
        again = self.one.peer.asked(Folders)[6:]
        self.assertEqual([call.lent is not None for call in again], [True] + [False] * 4)
        for call in again:
            call.answer.callback([])
        self.assertEqual([one.results for one in outcomes], [[[]]] * 5)

    def test_a_primary_that_never_has_it_is_not_asked_for_ever(self) -> None:
        entered = self.enter()
        outcome = Outcome(self.store.folders(entered))
        for _ in range(TRIES):
            self.waiting(self.one, Folders).answer.errback(LeaseEnded("over"))
        self.assertIsInstance(outcome.errors[0], Unavailable)

    def test_nothing_is_lent_of_a_session_that_logged_out(self) -> None:
        entered = self.enter()
        self.one.reachable = False
        self.one.lose()
        outcome = Outcome(self.store.folders(entered))
        self.store.logout(entered)
        self.one.reachable = True
        self.clock.advance(5)
        self.assertIsInstance(outcome.errors[0], KeyGone)
        self.assertEqual(self.one.peer.calls, [])


class TestMoves(FollowingCase):
    def test_a_session_goes_on_at_the_other_primary(self) -> None:
        entered = self.enter()
        outcomes = [Outcome(self.store.folders(entered)) for _ in range(3)]
        for call in self.one.peer.asked(Folders):
            call.answer.errback(Elsewhere("two"))
        self.two.answer_resume(lambda one: access(one.session, mailbox="d" * 24))
        self.assertEqual(len(self.two.peer.asked(Resume)), 1)
        for call in self.two.peer.asked(Folders):
            call.answer.callback(["there"])
        self.assertEqual([one.results for one in outcomes], [[["there"]]] * 3)
        self.assertTrue(self.two.peer.asked(Folders)[0].lent)
        self.assertEqual(self.waiting(self.one, Logout).session, entered.session)
        held = self.store.session(entered)
        assert held is not None
        self.assertEqual((held.home, held.access.mailbox), ("two", "d" * 24))
        self.assertEqual(held.access.key, entered.key)

    def test_an_idle_one_follows_when_it_is_told(self) -> None:
        listener = Listener()
        entered = self.enter(listener)
        self.one.tell(Revoked(entered.session, str(Elsewhere("two"))))
        self.two.answer_resume()
        self.assertEqual(listener.reasons, [])
        self.assertEqual(listener.heard, [(0, 0)])
        held = self.store.session(entered)
        assert held is not None
        self.assertEqual(held.home, "two")
        self.one.tell(Changed(entered.session, 1, 5))
        self.two.tell(Changed(entered.session, 1, 6))
        self.assertEqual(listener.heard, [(0, 0), (1, 6)])

    def test_an_idle_one_follows_when_the_other_primary_is_there_at_last(self) -> None:
        entered = self.enter(Listener())
        self.two.reachable = False
        self.two.lose()
        self.one.tell(Revoked(entered.session, str(Elsewhere("two"))))
        self.clock.pump([1.0] * 40)
        self.two.reachable = True
        self.clock.advance(5)
        self.two.answer_resume()
        held = self.store.session(entered)
        assert held is not None
        self.assertEqual((held.home, held.toward), ("two", None))

    def test_one_whose_mailbox_moved_while_the_link_was_away(self) -> None:
        entered = self.enter()
        self.one.lose()
        self.clock.advance(1)
        self.one.answer_resume(lambda _: str(Elsewhere("two")))
        self.assertTrue(self.one.link.up)
        self.two.answer_resume()
        held = self.store.session(entered)
        assert held is not None
        self.assertEqual(held.home, "two")

    def test_one_that_does_not_hold_there_ends(self) -> None:
        listener = Listener()
        entered = self.enter(listener)
        outcome = Outcome(self.store.folders(entered))
        self.waiting(self.one, Folders).answer.errback(Elsewhere("two"))
        self.two.answer_resume(lambda _: "no more")
        self.assertIsInstance(outcome.errors[0], KeyGone)
        self.assertEqual(listener.reasons, ["no more"])
        self.one.tell(Revoked(entered.session, "no more"))
        self.assertEqual(listener.reasons, ["no more"])
        self.assertEqual(len(self.vault), 0)

    def test_logged_out_on_the_way(self) -> None:
        entered = self.enter()
        outcome = Outcome(self.store.folders(entered))
        self.waiting(self.one, Folders).answer.errback(Elsewhere("two"))
        self.store.logout(entered)
        self.two.answer_resume()
        self.assertIsInstance(outcome.errors[0], KeyGone)
        self.assertEqual(self.waiting(self.two, Logout).session, entered.session)

    def test_who_gives_up_does_not_keep_the_session_back(self) -> None:
        entered = self.enter()
        first, second = (Outcome(self.store.folders(entered)) for _ in range(2))
        for call in self.one.peer.asked(Folders):
            call.answer.errback(Elsewhere("two"))
        first.deferred.cancel()
        self.two.answer_resume()
        self.waiting(self.two, Folders).answer.callback([])
        self.assertEqual(second.results, [[]])

    def test_round_and_round_ends(self) -> None:
        entered = self.enter()
        outcome = Outcome(self.store.folders(entered))
        self.waiting(self.one, Folders).answer.errback(Elsewhere("two"))
        for number in range(HOPS):
            primary, other = ((self.two, "one"), (self.one, "two"))[number % 2]
            primary.answer_resume(lambda _, other=other: str(Elsewhere(other)))  # type: ignore[misc]
        self.assertIsInstance(outcome.errors[0], Unavailable)
        self.assertIsNotNone(self.store.session(entered))

    def test_unknown_there_and_known_here_it_is_entered_again_once(self) -> None:
        entered = self.enter()
        outcome = Outcome(self.store.folders(entered))
        self.waiting(self.one, Folders).answer.errback(KeyGone("ended"))
        self.one.answer_resume()
        self.waiting(self.one, Folders).answer.errback(KeyGone("ended"))
        self.assertIsInstance(outcome.errors[0], KeyGone)


class TestReconnected(FollowingCase):
    def test_sessions_are_entered_before_anything_is_sent_again(self) -> None:
        entered = self.enter()
        Outcome(self.store.folders(entered))
        self.one.lose()
        self.clock.advance(1)
        (call,) = self.one.peer.calls
        self.assertIsInstance(call.operation, Resume)
        self.one.answer_resume()
        self.waiting(self.one, Folders)

    def test_the_key_is_not_named_and_the_listener_is(self) -> None:
        self.enter(Listener())
        self.enter()
        self.one.lose()
        self.clock.advance(1)
        resume = self.one.answer_resume()
        self.assertEqual({one.access.key for one in resume.sessions}, {""})
        self.assertEqual(sorted(one.listens for one in resume.sessions), [False, True])

    def test_folders_are_looked_at_by_number_alone(self) -> None:
        listener = Listener()
        entered = self.enter(listener)
        Outcome(self.store.changes(entered, 7, 1, True))
        answer = Changes(modseq=10, uidnext=1, changed=[], vanished=())
        self.waiting(self.one, ChangesSince).answer.callback(answer)
        self.one.tell(Changed(entered.session, 7, 12))
        for modseq in (12, 13):
            self.one.lose()
            self.clock.advance(1)
            self.one.answer_resume()
            call: Any = self.waiting(self.one, ChangesSince)
            self.assertEqual(
                (call.operation.folder_id, call.operation.since, call.operation.claim_recent),
                (7, 2**63 - 1, False),
            )
            call.answer.callback(Changes(modseq=modseq, uidnext=1, changed=[], vanished=()))
        self.assertEqual(listener.heard, [(7, 12), (0, 0), (0, 0), (7, 13)])

    def test_thousands_of_folders_are_looked_at_in_turn(self) -> None:
        for _ in range(40):
            entered = self.enter(Listener())
            Outcome(self.store.changes(entered, 7, 1, True))
            answer = Changes(modseq=10, uidnext=1, changed=[], vanished=())
            self.waiting(self.one, ChangesSince).answer.callback(answer)
        self.one.lose()
        self.clock.advance(1)
        self.one.answer_resume()
        asked = self.one.peer.asked(ChangesSince)
        self.assertEqual(len(asked), 16)
        asked[0].answer.callback(answer)
        self.assertEqual(len(self.one.peer.asked(ChangesSince)), 17)

    def test_a_link_that_breaks_and_breaks_does_not_add_to_the_looks(self) -> None:
        entered = self.enter(Listener())
        Outcome(self.store.changes(entered, 7, 1, True))
        answer = Changes(modseq=10, uidnext=1, changed=[], vanished=())
        self.waiting(self.one, ChangesSince).answer.callback(answer)
        for _ in range(5):
            self.one.lose()
            self.clock.advance(5)  # long enough for any pause
            self.one.answer_resume()
            self.waiting(self.one, ChangesSince)

    def look_at_both(self) -> None:
        """The first primary's many sessions are looked at; the other's one waits for its turn."""
        answer = Changes(modseq=10, uidnext=1, changed=[], vanished=())
        for _ in range(40):
            Outcome(self.store.changes(self.enter(Listener()), 7, 1, True))
            self.waiting(self.one, ChangesSince).answer.callback(answer)
        outcome = Outcome(self.store.login(ADDRESS, "password", "imap", Listener()))
        self.waiting(self.one, Login).answer.errback(Elsewhere("two"))
        self.log_in(self.two, self.waiting(self.two, Login))
        Outcome(self.store.changes(outcome.results[0], 7, 1, True))
        self.waiting(self.two, ChangesSince).answer.callback(answer)
        for primary in (self.one, self.two):
            primary.lose()
            self.clock.advance(1)
            primary.answer_resume()
        self.assertEqual(self.two.peer.asked(ChangesSince), [])

    def test_looks_of_a_primary_that_is_away_keep_no_other_waiting(self) -> None:
        self.look_at_both()
        self.one.reachable = False
        self.one.lose()
        self.clock.advance(30)
        self.waiting(self.two, ChangesSince)

    def test_looks_that_end_with_a_connection_let_others_go_on(self) -> None:
        self.look_at_both()
        self.one.lose()
        self.clock.advance(1)
        self.waiting(self.one, Resume)
        self.waiting(self.two, ChangesSince)

    def test_looks_end_with_the_store(self) -> None:
        for _ in range(400):
            self.enter(Listener())
        self.one.lose()
        self.clock.advance(1)
        self.one.answer_resume()
        self.store.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_login_revoked_before_it_was_open(self) -> None:
        listener = Listener()
        outcome = Outcome(self.store.login(ADDRESS, "password", "imap", listener))
        call = self.waiting(self.one, Login)
        session = call.operation.session  # type: ignore[attr-defined]
        for _ in range(2):
            self.one.tell(Revoked(session, "why"))
        self.log_in(self.one, call)
        self.assertEqual(listener.reasons, ["why"])
        self.assertEqual(len(self.vault), 0)
        late = Outcome(self.store.folders(outcome.results[0]))
        self.assertIsInstance(late.errors[0], KeyGone)

    def test_a_login_asked_again_has_the_same_session_and_a_new_seal(self) -> None:
        outcome = Outcome(self.store.login(ADDRESS, "password", "imap", None))
        first: Any = self.waiting(self.one, Login).operation
        self.one.lose()
        self.clock.advance(1)
        second: Any = self.waiting(self.one, Login).operation
        self.assertEqual(first.session, second.session)
        self.assertNotEqual(first.secret, second.secret)
        self.log_in(self.one, self.waiting(self.one, Login))
        self.assertTrue(outcome.results)

    def test_a_write_asked_again_has_the_same_id(self) -> None:
        entered = self.enter()
        Outcome(self.store.create_folder(entered, "New", None, None))
        first: Any = self.one.peer.calls[-1].operation
        self.one.lose()
        self.clock.advance(1)
        self.one.answer_resume()
        second: Any = self.one.peer.calls[-1].operation
        self.assertEqual(first.write_id, second.write_id)
        self.assertTrue(first.write_id)


class TestLending(FollowingCase):
    def lent(self, primary: FakePrimary, alias: str, mailbox: str) -> Any:
        asked = LendKey(alias, mailbox, b"q" * 16)
        answer = Outcome(primary.link.called(Received(asked, None, None)))
        return answer.results[0]

    def test_the_key_of_that_alias_and_mailbox(self) -> None:
        entered = self.enter()
        lending = self.lent(self.one, entered.alias, entered.mailbox)
        context = b"mailsrv link\0" + ASK.encode() + b"\0" + b"q" * 16 + bytes(8)
        about = "\0".join((entered.alias, entered.mailbox, entered.session))
        self.assertEqual(unseal(PRIVATE, lending.sealed, context + about.encode()), FILE_KEY)

    def test_none_for_anybody_else(self) -> None:
        entered = self.enter()
        self.assertIsNone(self.lent(self.one, "f" * 24, entered.mailbox))
        self.assertIsNone(self.lent(self.one, entered.alias, "f" * 24))
        self.assertIsNone(self.lent(self.two, entered.alias, entered.mailbox))
        self.store.logout(entered)
        self.assertIsNone(self.lent(self.one, entered.alias, entered.mailbox))

    def test_nothing_else_is_done_for_a_primary(self) -> None:
        answer = Outcome(self.one.link.called(Received(Folders(), None, None)))
        self.assertIsInstance(answer.errors[0], Unavailable)
