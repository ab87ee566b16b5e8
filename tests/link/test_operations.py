"""The list of operations is the interface, and secrets travel sealed."""

from inspect import signature

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import Method

from mailsrv.errors import InvalidInput, StaleKey
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.link import mailbox_operations, operations, sealed
from mailsrv.link.mailbox_operations import (
    MAILBOX_OPERATIONS,
)
from mailsrv.link.operations import (
    FRONTEND_OPERATIONS,
    NOTES,
    SECONDARY_OPERATIONS,
)
from mailsrv.link.sealed import LinkKeys, Numbers, Opener, Sealer
from mailsrv.link.secondary.routes import Routes
from mailsrv.link.secondary.store import RemoteStore
from mailsrv.link.wire.frames import NoteBody, Operation, decode_body, encode_body
from mailsrv.store.interfaces import IStore
from mailsrv.store.values import Delivery, NewMessage, ScramProof

NONCE = b"n" * 16


class TestTables(SynchronousTestCase):
    def test_each_method_of_the_store_is_an_operation_and_nothing_else_is(self) -> None:
        methods = {name for name in IStore.names() if isinstance(IStore[name], Method)}
        self.assertEqual(set(FRONTEND_OPERATIONS), methods | {"resume"})

    def test_an_operation_has_the_arguments_of_its_method(self) -> None:
        renamed = {"name": "folder"}  # ``name`` is the operation's own
        for operation in MAILBOX_OPERATIONS:
            names = IStore[operation.name].positional
            self.assertEqual(names[0], "access")
            expected = tuple(renamed.get(name, name) for name in names[1:])
            self.assertEqual(operation.__struct_fields__, expected, operation.name)

    def test_everything_is_in_a_table(self) -> None:
        listed = {*FRONTEND_OPERATIONS.values(), *SECONDARY_OPERATIONS.values(), *NOTES.values()}
        defined = {
            one
            for module in (operations, mailbox_operations)
            for one in vars(module).values()
            if isinstance(one, type)
            and issubclass(one, Operation | NoteBody)
            and "name" in one.__dict__
        }
        self.assertEqual(listed, defined)

    def test_the_store_takes_what_the_interface_says(self) -> None:
        for name in IStore.names():
            given_names = tuple(signature(getattr(RemoteStore, name)).parameters)[1:]
            self.assertEqual(given_names, tuple(IStore[name].positional), name)

    def test_a_write_always_has_an_id(self) -> None:
        for operation in MAILBOX_OPERATIONS:
            if "write_id" in operation.__struct_fields__:
                self.assertIs(operation.__annotations__["write_id"], str)

    def test_nothing_is_shown_of_what_clients_sent(self) -> None:
        append = mailbox_operations.Append("INBOX", [NewMessage(b"secret")], "w1")
        deliver = operations.Deliver("a" * 24, Delivery(b"secret", "d", "2026-11-20T08:30:00Z"))
        login = operations.Login("who@example.com", b"secret", 1, "imap", "s", True)
        for one in (append, deliver, login):
            for text in (repr(one), str(one), f"{one}"):
                self.assertNotIn("secret", text)
                self.assertNotIn("example", text)

    def test_wrong_values_are_refused(self) -> None:
        good = encode_body(operations.LendKey("a" * 24, "b" * 24, b"x" * 16))
        self.assertIsInstance(decode_body(operations.LendKey, good), operations.LendKey)
        for alias, mailbox, ask in (
            ("../../etc/passwd", "b" * 24, b"x" * 16),
            ("a" * 24 + "\n", "b" * 24, b"x" * 16),
            ("a" * 24, "B" * 24, b"x" * 16),
            ("a" * 24, "b" * 24, b"x" * 15),
        ):
            body = encode_body({"alias": alias, "mailbox": mailbox, "ask": ask})
            self.assertRaises(InvalidInput, decode_body, operations.LendKey, body)
        many = encode_body({"sessions": [None] * 501})
        self.assertRaises(InvalidInput, decode_body, operations.Resume, many)


class TestSealed(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys = LinkKeys(*generate_key_pair())
        self.opener = Opener(self.keys, NONCE)
        self.sealer = Sealer(self.keys.public, NONCE)

    def refused(self, number: int, octets: bytes, purpose: str, *about: str) -> None:
        self.assertRaises(StaleKey, self.opener.open, octets, purpose, number, *about)

    def test_opens_once(self) -> None:
        lent = self.sealer.lend(b"key", "alias", "session")
        self.assertEqual(self.opener.lent(lent, "alias", "session"), b"key")
        self.assertRaises(StaleKey, self.opener.lent, lent, "alias", "session")

    def test_is_bound_to_all_that_it_is_for(self) -> None:
        number, octets = self.sealer.seal(b"key", sealed.LEND, "alias", "session")
        self.refused(number, octets, sealed.PASSWORD, "alias", "session")
        for about in (("other", "session"), ("alias", "other"), ("alias", "s", "ession")):
            self.opener = Opener(self.keys, NONCE)
            self.refused(number, octets, sealed.LEND, *about)
        self.refused(number + 1, octets, sealed.LEND, "alias", "session")

    def test_is_worth_nothing_on_another_connection_or_to_another_process(self) -> None:
        lent = self.sealer.lend(b"key", "alias", "session")
        self.opener = Opener(self.keys, b"m" * 16)
        self.refused(lent.number, lent.sealed, sealed.LEND, "alias", "session")
        self.opener = Opener(LinkKeys.generate(), NONCE)
        self.refused(lent.number, lent.sealed, sealed.LEND, "alias", "session")

    def test_damage_is_stale_too(self) -> None:
        lent = self.sealer.lend(b"key", "alias", "session")
        self.refused(lent.number, lent.sealed[:-1] + b"\0", sealed.LEND, "alias", "session")
        self.refused(lent.number + 1, b"", sealed.LEND, "alias", "session")
        self.assertRaises(StaleKey, sealed.seal_for, b"no key", b"x", sealed.LEND, NONCE, 1)

    def test_nothing_is_shown(self) -> None:
        for one in (self.keys, self.sealer, self.opener):
            self.assertNotIn(repr(self.keys.private)[2:-1], repr(one))

    def test_a_proof_survives(self) -> None:
        proof = ScramProof(auth_message=b"\xffn=user", proof=b"p" * 32)
        self.assertEqual(decode_body(ScramProof, encode_body(proof)), proof)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(1, 100_000), max_size=60))
    def test_a_number_is_good_once(self, numbers: list[int]) -> None:
        ours = Numbers()
        seen: set[int] = set()
        for number in numbers:
            far_behind = bool(seen) and number <= max(seen) - sealed.WINDOW
            if number in seen or far_behind:
                self.assertRaises(StaleKey, ours.admit, number)
            else:
                ours.admit(number)
                seen.add(number)


class TestRoutes(SynchronousTestCase):
    def test_learns_and_forgets(self) -> None:
        routes = Routes()
        self.assertIsNone(routes.of("x"))
        routes.learn("x", "a")
        routes.learn("x", "b")
        self.assertEqual(routes.of("x"), "b")
        routes.forget("x")
        routes.forget("x")
        self.assertIsNone(routes.of("x"))

    def test_keeps_no_more_than_it_may_and_those_that_are_used(self) -> None:
        routes = Routes(3)
        for key in "abc":
            routes.learn(key, "p")
        routes.of("a")
        routes.learn("d", "p")
        self.assertEqual([key for key in "abcd" if routes.of(key)], ["a", "c", "d"])
        self.assertEqual(len(routes), 3)
