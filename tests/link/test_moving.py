"""A whole move by the steps that travel on the link, and what is refused on the way."""

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from mailsrv.directory import schema
from mailsrv.errors import (
    Elsewhere,
    InvalidInput,
    MailboxBusy,
    MailboxDamaged,
    MailboxMoved,
    MailboxNotReady,
    MailsrvError,
    NoSuchAlias,
    Unavailable,
)
from mailsrv.link.moving.serving import (
    MoveClose,
    MoveDigests,
    MoveFreeze,
    MoveOpen,
    MoveRead,
    MoveSeal,
    MoveSizes,
    MoveSwitch,
    TakeClose,
    TakeOpen,
    TakeSeal,
    TakeWrite,
)
from mailsrv.link.wire.frames import Operation, decode_body, encode_body
from mailsrv.mailbox import blocks
from mailsrv.store.lifecycle import Lifecycle
from mailsrv.store.values import Delivery
from tests.link.moves import Link, MoveCase
from tests.store.two_volumes import ADDRESS
from tests.store.world import now


class WholeMoveTests(MoveCase):
    def test_everything_is_there(self) -> None:
        old, credentials = self.world.record, self.world.directory.credentials(self.world.alias)
        moved = self.move()
        self.assertEqual(self.world.record.id, moved.mailbox)
        self.assertEqual(self.world.record.public_key, old.public_key)
        self.assertEqual(self.world.directory.alias(ADDRESS).primary, "b")
        self.assertEqual(self.world.directory.credentials(self.world.alias), credentials)
        self.assertEqual(moved.waiting, 4)
        self.assertEqual(
            self.states(),
            {old.id: (schema.MOVED, "a"), moved.mailbox: (schema.CURRENT, "b")},
        )
        self.assertEqual(self.world.a.listing(), [f"{old.id}.sqlite"])
        self.assertEqual(
            {name.split(".")[1] for name in self.world.b.listing()},
            {"sqlite", "waiting", "aside"},
        )
        self.assertFalse(self.world.a.frozen)
        self.assertEqual(self.progress[-1].octets, self.progress[-1].of)
        self.world.check_mail()
        self.world.append()
        self.world.wait()
        self.world.check_mail()

    def test_the_copy_is_the_same_octets(self) -> None:
        old = self.world.a.volume.mailbox(self.world.record.id)
        expected = old.read_bytes()
        self.move()
        new = self.world.b.volume.mailbox(self.world.record.id)
        self.assertEqual(new.read_bytes(), expected)
        self.assertEqual(old.read_bytes(), expected)
        self.assertEqual(new.stat().st_mode & 0o777, 0o600)
        self.assertFalse(blocks.log_of(new).exists())

    def test_there_and_back_and_there(self) -> None:
        for turn in range(4):
            source, target = (self.a, self.b) if turn % 2 == 0 else (self.b, self.a)
            self.successResultOf(self.moving(source.ask, target.ask))
            self.world.append()
            self.world.wait()
        self.assertEqual(self.world.record.primary, "a")
        self.assertEqual(len(self.states()), 5)
        self.world.check_mail()
        self.world.directory.settle_move(self.world.alias, self.world.record.id)
        self.world.a.place.tidy()
        self.world.b.place.tidy()
        self.assertEqual(self.world.b.listing(), [])
        self.assertEqual(self.world.a.listing(), [f"{self.world.record.id}.sqlite"])

    def test_what_is_written_meanwhile_is_there(self) -> None:
        turn = 0

        def source(operation: Operation) -> Deferred[Any]:
            nonlocal turn
            if not self.world.a.frozen and self.world.record.primary == "a":
                turn += 1
                (self.world.append if turn % 2 else self.world.wait)()
            return self.a.ask(operation)

        self.successResultOf(self.moving(source))
        self.assertGreater(turn, 5)
        self.world.check_mail()

    def test_what_is_merged_meanwhile_is_not_there_twice(self) -> None:
        def source(operation: Operation) -> Deferred[Any]:
            if isinstance(operation, MoveFreeze):
                with self.world.open() as mailbox:
                    self.world.merge(mailbox)
                self.world.wait()
            return self.a.ask(operation)

        moved = self.successResultOf(self.moving(source))
        self.assertEqual(moved.waiting, 1)
        with self.world.b.files.open(self.world.record.public_key) as waiting:
            self.assertEqual(waiting.count(), 1)
        self.world.check_mail()

    def test_what_an_earlier_stay_left_goes(self) -> None:
        left = Delivery(b"stale", "stale", "2026-11-23T10:00:00Z")
        self.world.b.files.add(self.world.record.public_key, self.world.alias, [left])
        self.move()
        self.world.check_mail()

    def test_with_a_log_that_a_reader_keeps(self) -> None:
        reader = self.world.open()
        self.addCleanup(reader.close)
        with reader.reading():
            self.world.append()
            log = blocks.log_of(self.world.a.volume.mailbox(self.world.record.id))
            self.assertGreater(log.stat().st_size, 0)
            self.move()
        self.assertGreater(
            blocks.log_of(self.world.b.volume.mailbox(self.world.record.id)).stat().st_size, 0
        )
        self.world.check_mail()

    def test_many_blocks(self) -> None:
        self.patch(blocks, "BLOCK", 4096)
        for name in (
            "mailsrv.store.arriving",
            "mailsrv.link.moving.mover",
            "mailsrv.link.moving.serving",
        ):
            patched = mock.patch(f"{name}.BLOCK", 4096)
            patched.start()
            self.addCleanup(patched.stop)
        for _ in range(20):
            self.world.append()
        changed = []

        def source(operation: Operation) -> Deferred[Any]:
            if isinstance(operation, MoveRead | MoveSizes) and not self.world.a.frozen:
                self.world.append()
            elif isinstance(operation, MoveRead):
                changed.append(operation.number)
            return self.a.ask(operation)

        self.successResultOf(self.moving(source))
        self.assertTrue(changed)
        self.world.check_mail()

    def test_old_copy_goes_when_the_new_one_was_opened(self) -> None:
        old = self.world.record.id
        self.move()
        self.world.a.place.tidy()
        self.assertTrue(self.world.a.volume.mailbox(old).exists())
        self.world.directory.settle_move(self.world.alias, self.world.record.id)
        self.world.a.place.tidy()
        self.assertEqual(self.world.a.listing(), [])
        self.assertEqual(len(self.states()), 1)
        self.world.check_mail()


class RefusalTests(MoveCase):
    def untouched(self) -> None:
        self.assertEqual(self.world.record.primary, "a")
        self.assertFalse(self.world.a.frozen)
        self.world.b.place.tidy()
        self.assertEqual(self.world.b.listing(), [])
        self.assertEqual([state for state, _ in self.states().values()], [schema.CURRENT])
        self.world.check_mail()

    def test_who_is_not_there(self) -> None:
        world = self.world
        other = world.directory.add_alias("other@example.com", primary="a").id
        self.fails(NoSuchAlias, self.a.ask(MoveOpen("0" * 24)))
        self.fails(MailboxNotReady, self.a.ask(MoveOpen(other)))
        elsewhere = self.fails(Elsewhere, self.b.ask(MoveOpen(world.alias)))
        self.assertEqual(elsewhere.primary, "a")
        self.fails(MailboxNotReady, self.b.ask(TakeOpen(other, "0" * 24, 1)))
        self.fails(MailboxMoved, self.b.ask(TakeOpen(world.alias, "0" * 24, 1)))
        self.fails(InvalidInput, self.a.ask(TakeOpen(world.alias, world.record.id, 1)))
        self.untouched()

    def test_steps_out_of_order(self) -> None:
        self.fails(Unavailable, self.a.ask(MoveRead("file", 0)))
        self.fails(Unavailable, self.a.ask(MoveFreeze(1.0)))
        self.fails(Unavailable, self.b.ask(TakeWrite("file", 0, b"x")))
        self.assertFalse(self.successResultOf(self.b.ask(TakeClose())))
        self.successResultOf(self.a.ask(MoveOpen(self.world.alias)))
        self.fails(InvalidInput, self.a.ask(MoveOpen(self.world.alias)))
        self.fails(Unavailable, self.a.ask(MoveSeal()))
        taken = self.successResultOf(
            self.b.ask(TakeOpen(self.world.alias, self.world.record.id, 1))
        )
        self.fails(InvalidInput, self.a.ask(MoveSwitch(taken)))
        self.successResultOf(self.a.ask(MoveFreeze(1.0)))
        self.fails(InvalidInput, self.a.ask(MoveFreeze(1.0)))
        self.fails(Unavailable, self.a.ask(MoveSeal()))
        self.fails(Unavailable, self.a.ask(MoveSwitch(taken)))
        self.assertFalse(self.successResultOf(self.b.ask(TakeClose())))
        self.successResultOf(self.a.ask(MoveClose()))
        self.untouched()

    def test_values_out_of_range(self) -> None:
        for operation in (
            MoveOpen("x"),
            MoveRead("file", -1),
            MoveRead("shm", 0),  # type: ignore[arg-type]
            MoveDigests("file", 0, 65),
            MoveFreeze(3600.0),
            TakeWrite("file", 0, b""),
            TakeWrite("file", 0, bytes(blocks.BLOCK + 1)),
        ):
            with self.assertRaises(InvalidInput):
                decode_body(type(operation), encode_body(operation))

    def test_no_room(self) -> None:
        asked = TakeOpen(self.world.alias, self.world.record.id, 2**40)
        self.assertIn("room", str(self.failureResultOf(self.b.ask(asked), MailsrvError).value))
        self.untouched()

    def test_a_copy_that_differs_is_not_taken(self) -> None:
        def target(operation: Operation) -> Deferred[Any]:
            if isinstance(operation, TakeSeal):
                taken = self.b.operator._target
                assert taken is not None
                taken._digests.clear()  # what lies on the disk is looked at
                octets = bytearray(taken._path.read_bytes())
                octets[5000] ^= 1
                taken._path.write_bytes(octets)
            return self.b.ask(operation)

        self.fails(MailboxDamaged, self.moving(None, target))
        self.untouched()

    def test_a_password_change_meanwhile(self) -> None:
        lifecycle = Lifecycle(self.world.directory, self.world.a.volume, now, "a")

        def source(operation: Operation) -> Deferred[Any]:
            if isinstance(operation, MoveFreeze):
                lifecycle.change_password(ADDRESS, self.world.password)
            return self.a.ask(operation)

        self.fails(MailboxMoved, self.moving(source))
        self.assertEqual(self.world.record.primary, "a")
        self.assertFalse(self.world.a.frozen)
        self.assertEqual(self.world.b.listing(), [])

    def test_a_hold_that_has_ended(self) -> None:
        def source(operation: Operation) -> Deferred[Any]:
            if isinstance(operation, MoveSwitch):
                self.world.a.holds[0].thaw()
                self.world.append()
            return self.a.ask(operation)

        self.fails(Unavailable, self.moving(source))
        self.untouched()

    def test_two_movers(self) -> None:
        second = Link(self.world.a), Link(self.world.b)
        other: list[Deferred[Any]] = []

        def source(operation: Operation) -> Deferred[Any]:
            if isinstance(operation, MoveFreeze) and not other:
                other.append(self.moving(second[0].ask, second[1].ask))
            return self.a.ask(operation)

        self.fails(MailsrvError, self.moving(source))
        moved = self.successResultOf(other[0])
        self.assertEqual(self.world.record.id, moved.mailbox)
        self.world.check_mail()
        self.world.a.place.tidy()
        self.world.b.place.tidy()
        self.assertEqual(len(self.states()), 2)

    def test_frozen_already(self) -> None:
        self.successResultOf(self.a.ask(MoveOpen(self.world.alias)))
        self.successResultOf(self.a.ask(MoveFreeze(1.0)))
        other = Link(self.world.a)
        self.fails(MailboxBusy, self.moving(other.ask))
        self.a.lose()
        self.untouched()
