"""A front end with a good token and bad intentions: what it does to others, and for how long."""

import secrets
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import AuthenticationFailed, InvalidInput, KeyGone, Unavailable, WrongKey
from mailsrv.link.mailbox_operations import (
    Append,
    ChangesSince,
    Fetch,
    Folders,
    Read,
    Select,
)
from mailsrv.link.operations import (
    Deliver,
    Login,
    Resolve,
    Resume,
    Resumed,
    ScramChallengeOf,
)
from mailsrv.link.primary import front_end as link_primary
from mailsrv.link.sealed import PASSWORD
from mailsrv.link.wire.frames import (
    PLAIN,
    Answer,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Failed,
    decode_body,
    decode_frame,
    encode_body,
    encode_frame,
)
from mailsrv.link.wire.limits import FIRST_CREDIT, MIB, LinkLimits
from mailsrv.link.wire.peer import Peer
from mailsrv.link.wire.streams import Budget
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, LARGE, FetchRequest, NewMessage, Section
from mailsrv.store.values import Access, Delivered, Delivery
from tests.link.operations import ACCEPTS, NOTES, Carry, Echo
from tests.link.test_front_end import PrimaryCase
from tests.store.conformance import ADDRESS, delivery
from tests.waiting import until


class TestSessionsOfNobody(PrimaryCase):
    async def test_a_login_that_fails_leaves_none_of_its_id(self) -> None:
        far = self.far()
        await far.enter(self.password)
        await self.fails(AuthenticationFailed, far.login("wrong"))
        far.lose()
        self.assertEqual(self.ids(), [])

    async def test_there_are_not_more_than_a_link_may_have(self) -> None:
        far = self.far()
        entered, _ = await far.enter(self.password)
        again = [
            Resumed(msgspec.structs.replace(entered, session=f"i{number}"), listens=True)
            for number in range(3)
        ]
        with mock.patch.object(link_primary, "SESSIONS", 3):
            await self.fails(Unavailable, far.ask(Resume(tuple(again))))
            await far.ask(Resume(tuple(again[:2])))
            await self.fails(Unavailable, far.login(self.password, "more"))
        self.assertEqual(sorted(self.ids()), ["i0", "i1", "s1"])

    async def test_an_id_of_another_mailbox_is_taken(self) -> None:
        _, password = self.world.mailbox("evil@example.com")
        owner, evil = self.far(), self.far()
        await owner.enter(self.password, "own")
        number, secret = evil.sealer.seal(password.encode(), PASSWORD, "evil@example.com", "own")
        login = Login("evil@example.com", secret, number, "imap", "own", listens=True)
        await self.fails(KeyGone, evil.ask(login))
        self.assertTrue(await owner.ask(Folders(), "own"))

    def test_their_fields_are_short(self) -> None:
        access = Access("s", "a" * 24, ADDRESS, "b" * 24, "c" * 24, "")
        for field in access.__struct_fields__:
            long = msgspec.structs.replace(access, **{field: "x" * 5000})
            body = encode_body(Resume((Resumed(long, listens=True),)))
            error = self.assertRaises(InvalidInput, decode_body, Resume, body)
            self.assertIn(field, str(error))

    async def test_logins_of_one_link_leave_turns_to_others(self) -> None:
        far, other = self.far(), self.far()
        with mock.patch.object(link_primary, "LOGINS_AT_ONCE", 5):
            asked = [far.login("wrong", f"x{number}") for number in range(6)]
            await self.fails(Unavailable, asked[-1])
            await other.enter(self.password, "own")
            for one in asked[:-1]:
                await self.fails(AuthenticationFailed, one)


class TestTurns(PrimaryCase):
    """What was cancelled keeps its turn while it keeps a thread."""

    def hold(self, owner: Any, name: str) -> list[int]:
        """How many were at work in the method at once, on each visit."""
        gate, lock = threading.Event(), threading.Lock()
        self.addCleanup(gate.set)
        seen: list[int] = []
        inside = 0

        def slow(*_: Any) -> Any:
            nonlocal inside
            with lock:
                inside += 1
                seen.append(inside)
            gate.wait(5)
            with lock:
                inside -= 1
            raise AuthenticationFailed("no")

        patch = mock.patch.object(owner, name, slow)
        patch.start()
        self.addCleanup(patch.stop)
        return seen

    async def flood(self, ask: Callable[[int], Deferred[Any]], seen: list[int], most: int) -> None:
        first = [ask(number) for number in range(most)]
        await until(lambda: len(seen) == most)
        asked = first + [ask(most + number) for number in range(4)]
        for one in asked:
            one.addErrback(lambda _: None)
            one.cancel()
        ask(most + 4).addErrback(lambda _: None)
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]
        self.assertEqual(len(seen), most)

    async def test_logins(self) -> None:
        far = self.far()
        seen = self.hold(self.store._entrance._authentication, "with_password")
        most = self.world.limits.logins_at_once
        await self.flood(lambda number: far.login("wrong", f"x{number}"), seen, most)

    async def test_requests_of_an_alias(self) -> None:
        far = self.far()
        await far.enter(self.password)
        seen = self.hold(Mailbox, "folders")
        await self.flood(lambda _: far.ask(Folders(), "s1"), seen, self.world.limits.work_per_alias)


class TestMail(PrimaryCase):
    """Anybody with a token delivers to everybody; nobody's mail may suffer from it."""

    bad = Delivery(b"Subject: x\r\n\r\nx\r\n", "bad", "yesterday")

    def test_what_is_no_delivery_is_refused_by_name(self) -> None:
        for field, wrong in (("received", "yesterday"), ("delivery_id", "x" * 256)):
            one = msgspec.structs.replace(delivery("x"), **{field: wrong})
            error = self.assertRaises(
                InvalidInput, decode_body, Deliver, encode_body(Deliver("a" * 24, one))
            )
            self.assertIn(field, str(error))
        for alias in ("../../etc/passwd", "' OR 1=1 --", "A" * 24, "a" * 24 + "\n"):
            body = encode_body(Deliver(alias, delivery("x")))
            self.assertRaises(InvalidInput, decode_body, Deliver, body)

    async def test_one_bad_message_keeps_no_others_waiting(self) -> None:
        far = self.far()
        await self.store.deliver(self.alias, self.bad)
        await self.store.deliver(self.alias, delivery("good"))
        await far.enter(self.password)
        selected = await far.ask(Select("INBOX", writable=False), "s1")
        self.assertEqual(selected.folder.messages, 1)
        self.assertEqual(len(self.world.files("*.aside.sqlite")), 1)

    async def test_one_bad_message_refuses_no_others(self) -> None:
        far = self.far()
        await far.enter(self.password)
        names = ("first", "second", "third")
        asked = [far.ask(Deliver(self.alias, delivery(name))) for name in names]
        asked.insert(2, far.ask(Deliver(self.alias, self.bad)))
        await self.fails(InvalidInput, asked.pop(2))
        for one in asked:
            self.assertEqual(await one, Delivered("live"))

    async def test_a_wrong_key_ends_its_session(self) -> None:
        owner, evil = self.far(), self.far()
        entered, key = await owner.enter(self.password, "own")
        access = msgspec.structs.replace(entered, session="evil")
        wrong = secrets.token_bytes(32) + key[32:]
        for use in ("call", "delivery", "question"):
            await evil.ask(Resume((Resumed(access, listens=True),)))
            if use == "call":
                lent = evil.sealer.lend(wrong, entered.alias, "evil")
                await self.fails(WrongKey, evil.ask(Folders(), "evil", lent))
            else:
                evil.handler._store.lend(evil.handler._sessions["evil"].access, wrong)  # type: ignore[attr-defined]
                await self.store.deliver(self.alias, delivery(use))
            await until(lambda: self.ids() == ["own"])
            self.assertEqual(evil.handler._aliases, {})  # type: ignore[attr-defined]
        await until(lambda: not self.world.files("*.waiting.sqlite"))
        selected = await owner.ask(Select("INBOX", writable=False), "own")
        self.assertEqual(selected.folder.messages, 2)
        self.assertEqual(await self.store.deliver(self.alias, delivery("then")), Delivered("live"))


class TestAnswers(PrimaryCase):
    async def test_sections_of_one_message_together_fill_no_memory(self) -> None:
        far = self.far()
        await far.enter(self.password)
        content = b"Subject: x\r\n\r\n" + b"y" * (LARGE - 100) + b"\r\n"
        appended = await far.ask(Append("INBOX", [NewMessage(content)], "w"), "s1")
        request = FetchRequest(uids=ALL_UIDS, sections=(Section(),) * 20, max_bytes=2**62)
        page = await far.ask(Fetch(appended.folder_id, request), "s1")
        self.assertEqual(page.rows[0][1:], (content, *[len(content)] * 19))

    def test_weights_are_what_is_answered(self) -> None:
        for octets in (-(2**63), -1, 2**62):
            fetch = Fetch(1, FetchRequest(uids=ALL_UIDS, max_bytes=octets))
            read = Read(1, 1, Section(length=octets))
            for one in (fetch, read):
                self.assertIn(one.weight, range(64 * MIB + 1))
        self.assertGreater(Read(1, 1, Section()).weight, 50 * MIB)

    def test_numbers_that_nothing_can_be_compared_with_are_named(self) -> None:
        huge = 2**64 - 1
        for operation, where in (
            (Fetch(huge, FetchRequest(uids=())), "folder_id"),
            (Fetch(1, FetchRequest(uids=((1, huge),))), "uids"),
            (Fetch(1, FetchRequest(uids=(), changed_since=huge)), "changed_since"),
            (Fetch(1, FetchRequest(uids=(), max_rows=huge)), "max_rows"),
            (Fetch(1, FetchRequest(uids=(), columns=("flags",) * 13)), "columns"),
            (Fetch(1, FetchRequest(uids=(), sections=(Section(),) * 251)), "sections"),
            (Read(1, huge, Section()), "uid"),
            (Read(1, 1, Section(start=huge)), "start"),
            (ChangesSince(1, huge, claim_recent=False), "since"),
        ):
            body = encode_body(operation)
            error = self.assertRaises(InvalidInput, decode_body, type(operation), body)
            self.assertIn(where, str(error))


class TestBodies(SynchronousTestCase):
    """Bodies that are announced and do not come."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = Budget(16 * MIB)

    def peer(self) -> tuple[Peer, list[Any]]:
        got: list[Any] = []
        handler = mock.Mock(called=lambda call: len(call.operation.data))
        peer = Peer(
            lambda data: got.append(decode_frame(data)),
            handler,
            ACCEPTS,
            NOTES,
            self.clock,  # type: ignore[arg-type]
            LinkLimits(),
            self.budget,
        )
        return peer, got

    def begin(self, peer: Peer, id_: int, size: int, operation: str = "carry") -> None:
        head = encode_frame(Call(id=id_, operation=operation, session=None, lent=None, body=b""))
        peer.received(encode_frame(Begin(id=id_, answer=False, size=size, head=head)))

    def test_one_link_leaves_room_to_others(self) -> None:
        evil, _ = self.peer()
        for number in range(10):
            self.begin(evil, number, 4 * MIB)
        good, got = self.peer()
        self.begin(good, 1, 3 * MIB)
        self.assertEqual(got, [Credit(id=1, answer=False, octets=3 * MIB - FIRST_CREDIT)])

    def test_a_body_that_stands_still_is_given_up(self) -> None:
        peer, got = self.peer()
        self.begin(peer, 1, 4 * MIB)
        self.begin(peer, 2, 4 * MIB)
        for _ in range(8):
            self.clock.advance(10)
            peer.received(encode_frame(Chunk(id=1, answer=False, data=b"x")))
        failed = [one for one in got if isinstance(one, Failed)]
        self.assertEqual([(one.id, one.kind) for one in failed], [(2, "Unavailable")])
        self.assertIn("nothing of the body came", failed[0].sentence)

    def test_one_that_waits_for_room_does_not_stand_still(self) -> None:
        peer, got = self.peer()
        self.begin(peer, 1, 7 * MIB)
        self.begin(peer, 2, 4 * MIB)
        for _ in range(4):
            peer.received(encode_frame(Chunk(id=2, answer=False, data=bytes(FIRST_CREDIT // 4))))
        for _ in range(20):
            self.clock.advance(10)
            peer.received(encode_frame(Chunk(id=1, answer=False, data=b"x")))
        self.assertFalse([one for one in got if isinstance(one, Failed)])
        peer.received(encode_frame(Cancel(id=1)))
        self.assertIn(Credit(id=2, answer=False, octets=4 * MIB - FIRST_CREDIT), got)
        peer.lost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_carries_no_messages_is_short(self) -> None:
        peer, got = self.peer()
        self.begin(peer, 1, PLAIN + 1, "echo")
        self.assertEqual((got[0].id, got[0].kind), (1, "InvalidInput"))
        self.assertIn(str(PLAIN), got[0].sentence)
        self.assertEqual(peer.serving, 0)

    def test_what_goes_on_when_it_is_cancelled_is_counted(self) -> None:
        for kind in (Resolve, ScramChallengeOf, Resume, Deliver):
            self.assertTrue(kind.lasting)
        peer, got = self.peer()
        work: Deferred[str] = Deferred()
        peer._handler.called = lambda _: work  # type: ignore[method-assign]
        with mock.patch.object(Echo, "lasting", True):
            body = encode_body(Echo("x"))
            call = Call(id=1, operation="echo", session=None, lent=None, body=body)
            peer.received(encode_frame(call))
            peer.received(encode_frame(Cancel(id=1)))
            self.assertEqual((peer.serving, got), (1, []))
            work.callback("done")
        self.assertEqual((peer.serving, got[0].kind), (0, "Unavailable"))

    def test_whole_ones_are_answered(self) -> None:
        peer, got = self.peer()
        body = encode_body(Carry(bytes(FIRST_CREDIT - 100)))
        self.begin(peer, 1, len(body))
        peer.received(encode_frame(Chunk(id=1, answer=False, data=body)))
        self.assertIsInstance(got[-1], Answer)
        self.assertEqual(self.clock.getDelayedCalls(), [])
