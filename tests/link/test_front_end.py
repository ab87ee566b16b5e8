"""The primary's end: what a front end may do, to whose sessions, and what is left when it goes."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailsrv.errors import InvalidInput, KeyGone, StaleKey
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.link.mailbox_operations import (
    Folders,
)
from mailsrv.link.operations import (
    Changed,
    Lending,
    LendKey,
    Login,
    Logout,
    Resume,
    Resumed,
    Revoked,
)
from mailsrv.link.primary.announcer import Announcer
from mailsrv.link.primary.front_end import LinkPrimary
from mailsrv.link.sealed import ASK, KEY, PASSWORD, LinkKeys, Sealer, seal_for
from mailsrv.link.transport.tokens import FRONTEND, OPERATOR
from mailsrv.link.wire.frames import Lent, Operation
from mailsrv.link.wire.peer import Received
from mailsrv.store.values import Access
from tests.link.fakes import FakeConnection
from tests.store.conformance import ADDRESS, delivery
from tests.store.world import World
from tests.waiting import until

FRONT = LinkKeys(*generate_key_pair())


class Far(FakeConnection):
    """The primary's end of a connection, with the front end's part played by the test."""

    def __init__(self, primary: LinkPrimary, number: int, role: str = FRONTEND) -> None:
        super().__init__("primary", number)
        self.role = role
        self.public_key = FRONT.public
        self.sealer = Sealer(primary.keys.public, self.welcome.nonce)
        self.handler = primary.handler(self)  # type: ignore[arg-type]

    def ask(
        self, operation: Operation, session: str | None = None, lent: Lent | None = None
    ) -> Deferred[Any]:
        received = Received(operation, session, lent)
        return maybeDeferred(self.handler.called, received)  # type: ignore[arg-type]

    def login(self, password: str, session: str = "s1") -> Deferred[Any]:
        number, secret = self.sealer.seal(password.encode(), PASSWORD, ADDRESS, session)
        return self.ask(Login(ADDRESS, secret, number, "imap", session, listens=True))

    async def enter(self, password: str, session: str = "s1") -> tuple[Access, bytes]:
        """Access and file key."""
        answer = await self.login(password, session)
        nonce = self.welcome.nonce
        key = FRONT.open(answer.sealed_key, KEY, nonce, self.sealer.number, session)
        return answer.access, key


class PrimaryCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        self.alias, self.password = self.world.mailbox(ADDRESS)
        self.store = self.world.store()
        self.primary = LinkPrimary(self.store, LinkKeys.generate(), 5.0)
        self.connections = 0

    def far(self, role: str = FRONTEND) -> Far:
        self.connections += 1
        return Far(self.primary, self.connections, role)

    async def fails(self, error: type[Exception], asked: Deferred[Any]) -> None:
        await self.assertFailure(asked, error)

    def ids(self) -> list[str]:
        return [one.access.session for one in self.store._sessions.all()]


class TestWhoMayDoWhat(PrimaryCase):
    async def test_a_session_belongs_to_its_connection(self) -> None:
        one, two = self.far(), self.far()
        await one.enter(self.password)
        self.assertTrue(await one.ask(Folders(), "s1"))
        await self.fails(KeyGone, two.ask(Folders(), "s1"))
        await two.ask(Logout(), "s1")
        self.assertTrue(await one.ask(Folders(), "s1"))

    async def test_no_session_no_mailbox(self) -> None:
        far = self.far()
        await self.fails(InvalidInput, far.ask(Folders()))
        await self.fails(KeyGone, far.ask(Folders(), "nobody"))

    async def test_an_operator_gets_nothing_of_a_front_end(self) -> None:
        far = self.far(OPERATOR)
        self.assertEqual(far.handler.accepts, {})
        await self.fails(InvalidInput, far.ask(Folders(), "s1"))

    async def test_other_roles_have_handlers_of_their_own(self) -> None:
        made: list[Any] = []
        self.primary = LinkPrimary(self.store, self.primary.keys, 5.0, {OPERATOR: made.append})  # type: ignore[dict-item]
        self.far(OPERATOR)
        self.assertEqual(len(made), 1)

    async def test_a_secret_is_taken_once(self) -> None:
        far = self.far()
        number, secret = far.sealer.seal(self.password.encode(), PASSWORD, ADDRESS, "s1")
        asked = Login(ADDRESS, secret, number, "imap", "s1", listens=True)
        await far.ask(asked)
        await self.fails(StaleKey, far.ask(asked))
        await self.fails(StaleKey, self.far().ask(asked))
        other = Login("other@example.com", secret, number + 1, "imap", "s1", listens=True)
        await self.fails(StaleKey, far.ask(other))

    async def test_a_key_that_was_lent_is_not_taken_again(self) -> None:
        far = self.far()
        entered, key = await far.enter(self.password)
        lent = far.sealer.lend(key, entered.alias, "s1")
        self.assertTrue(await far.ask(Folders(), "s1", lent))
        await self.fails(StaleKey, far.ask(Folders(), "s1", lent))

    async def test_no_key_is_no_key(self) -> None:
        far = self.far()
        entered, _ = await far.enter(self.password)
        lent = far.sealer.lend(b"short", entered.alias, "s1")
        await self.fails(InvalidInput, far.ask(Folders(), "s1", lent))

    async def test_the_wire_has_no_handle(self) -> None:
        far = self.far()
        entered, _ = await far.enter(self.password)
        self.assertEqual(entered.key, "")
        answers = await far.ask(Resume((Resumed(entered, listens=True),)))
        self.assertEqual(answers, [entered])


class TestEndOfAConnection(PrimaryCase):
    async def test_its_sessions_and_keys_go(self) -> None:
        far = self.far()
        for session in ("s1", "s2"):
            await far.enter(self.password, session)
        self.assertEqual((len(self.ids()), len(self.store._vault)), (2, 2))
        far.lose()
        self.assertEqual((self.ids(), len(self.store._vault)), ([], 0))
        self.assertEqual(len(self.store._keepers), 0)

    async def test_a_login_under_way_opens_nothing(self) -> None:
        far = self.far()
        login = far.login(self.password)
        far.lose()
        await self.assertFailure(login, Exception)
        await until(lambda: not self.store._workers.busy)
        self.assertEqual((self.ids(), len(self.store._vault)), ([], 0))

    async def test_logout_ends_a_login_under_way(self) -> None:
        far = self.far()
        login = far.login(self.password)
        await far.ask(Logout(), "s1")
        await self.assertFailure(login, Exception)
        await until(lambda: not self.store._workers.busy)
        self.assertEqual((self.ids(), len(self.store._vault)), ([], 0))

    async def test_entering_again_under_way_enters_nothing(self) -> None:
        far = self.far()
        entered, _ = await far.enter(self.password)
        far.lose()
        far = self.far()
        resuming = far.ask(Resume((Resumed(entered, listens=True),)))
        far.lose()
        await resuming
        self.assertEqual(self.ids(), [])

    async def test_a_session_outlives_a_connection_that_dies_late(self) -> None:
        old = self.far()
        entered, key = await old.enter(self.password)
        new = self.far()
        (again,) = await new.ask(Resume((Resumed(entered, listens=True),)))
        old.lose()
        self.assertEqual(self.ids(), ["s1"])
        lent = new.sealer.lend(key, again.alias, "s1")
        self.assertTrue(await new.ask(Folders(), "s1", lent))
        await self.fails(KeyGone, old.ask(Folders(), "s1"))

    async def test_so_does_a_login_that_was_asked_again(self) -> None:
        old, new = self.far(), self.far()
        first = old.login(self.password)
        second = new.login(self.password)
        first.addErrback(lambda failure: failure.trap(KeyGone))  # unless it was the faster one
        await second
        await first
        old.lose()
        self.assertEqual(self.ids(), ["s1"])
        self.assertTrue(await new.ask(Folders(), "s1"))


class TestLending(PrimaryCase):
    async def asked(self, far: Far) -> Any:
        """The question that the primary has, when mail comes."""
        await until(lambda: far.peer.asked(LendKey))
        call = far.peer.asked(LendKey)[-1]
        self.assertIsInstance(call.operation, LendKey)
        return call

    async def resumed(self) -> tuple[Far, Access, bytes]:
        far = self.far()
        entered, key = await far.enter(self.password)
        await far.ask(Resume((Resumed(entered, listens=True),)))  # from here on without the key
        return far, entered, key

    def lending(self, asked: LendKey, key: bytes, session: str = "s1", **other: Any) -> Any:
        about = (asked.alias, asked.mailbox, session)
        ask = other.get("ask", asked.ask)
        return Lending(session, seal_for(self.primary.keys.public, key, ASK, ask, 0, *about))

    async def test_mail_goes_where_the_key_is(self) -> None:
        far, entered, key = await self.resumed()
        delivered = self.store.deliver(self.alias, delivery("now"))
        call = await self.asked(far)
        self.assertEqual(
            (call.operation.alias, call.operation.mailbox), (entered.alias, entered.mailbox)
        )
        call.answer.callback(self.lending(call.operation, key))
        self.assertEqual((await delivered).where, "live")

    async def test_an_answer_to_another_question_is_worth_nothing(self) -> None:
        far, _, key = await self.resumed()
        for number, wrong in enumerate(("ask", "session", "key", "none")):
            delivered = self.store.deliver(self.alias, delivery(f"d{number}"))
            await until(lambda: len(far.peer.asked(LendKey)) > number)  # noqa: B023
            call = far.peer.asked(LendKey)[number]
            answers = {
                "ask": lambda op: self.lending(op, key, ask=b"x" * 16),
                "session": lambda op: self.lending(op, key, session="s2"),
                "key": lambda op: self.lending(op, b"short"),
                "none": lambda _: None,
            }
            call.answer.callback(answers[wrong](call.operation))
            self.assertEqual((await delivered).where, "waiting", wrong)

    async def test_who_has_no_session_of_it_is_not_asked(self) -> None:
        far = self.far()
        self.assertEqual((await self.store.deliver(self.alias, delivery("d"))).where, "waiting")
        self.assertEqual(far.peer.calls, [])

    async def test_nor_is_one_that_is_gone(self) -> None:
        far, _, _ = await self.resumed()
        keeper: Any = far.handler
        far.lose()
        self.assertIsNone(await keeper.ask(self.alias, "b" * 24))


class SlowPeer:
    """A peer whose transport is full when the test says so."""

    def __init__(self) -> None:
        self.full = False
        self.told: list[Any] = []
        self.room = 10**9
        self._waiting: list[Deferred[None]] = []

    def tell(self, note: Any) -> None:
        self.told.append(note)
        self.room -= 1
        self.full = self.room <= 0

    def drained(self) -> Deferred[None]:
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def drain(self, room: int = 10**9) -> None:
        self.full, self.room = False, room
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class TestAnnouncer(SynchronousTestCase):
    def setUp(self) -> None:
        self.peer = SlowPeer()
        self.announcer = Announcer(lambda: self.peer)  # type: ignore[arg-type,return-value]

    def test_tells_at_once_what_there_is_room_for(self) -> None:
        self.announcer.changed("s", 1, 2)
        self.announcer.revoked("s", "why")
        self.assertEqual(self.peer.told, [Changed("s", 1, 2), Revoked("s", "why")])

    def test_puts_together_what_has_to_wait(self) -> None:
        self.peer.full = True
        for modseq in range(10_000):
            self.announcer.changed("s", modseq % 2, modseq)
            self.announcer.changed("t", 7, 1)
        self.assertEqual((self.peer.told, self.announcer.kept), ([], 3))
        self.peer.drain()
        self.assertEqual(
            sorted(self.peer.told, key=repr),
            sorted([Changed("s", 0, 9998), Changed("s", 1, 9999), Changed("t", 7, 1)], key=repr),
        )
        self.assertEqual(self.announcer.kept, 0)

    def test_the_end_replaces_what_came_before(self) -> None:
        self.peer.full = True
        self.announcer.changed("s", 1, 1)
        self.announcer.revoked("s", "why")
        self.announcer.changed("s", 1, 2)
        self.peer.drain()
        self.assertEqual(self.peer.told, [Revoked("s", "why")])

    def test_goes_on_as_there_is_room(self) -> None:
        self.peer.full = True
        for session in "abc":
            self.announcer.changed(session, 1, 1)
        for told in (1, 2, 3):
            self.peer.drain(room=1)
            self.assertEqual(len(self.peer.told), told)
        self.peer.drain()
        self.announcer.changed("d", 1, 1)
        self.assertEqual(len(self.peer.told), 4)

    def test_who_logged_out_hears_nothing(self) -> None:
        self.peer.full = True
        self.announcer.changed("s", 1, 1)
        self.announcer.revoked("t", "why")
        self.announcer.forget("s")
        self.announcer.forget("t")
        self.peer.drain()
        self.assertEqual(self.peer.told, [])

    def test_nothing_is_kept_for_a_connection_that_is_gone(self) -> None:
        self.peer.full = True
        self.announcer.changed("s", 1, 1)
        self.announcer.close()
        self.announcer.changed("s", 1, 2)
        self.announcer.revoked("s", "why")
        self.assertEqual(self.announcer.kept, 0)
