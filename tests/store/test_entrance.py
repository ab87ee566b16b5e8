"""Logging in under attack: what refusals tell, what guessing costs others, what stays in memory."""

import gc
import threading
import time
from typing import Any, ClassVar
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from mailsrv.errors import AuthenticationFailed, DiskFull, Unavailable
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.values import Delivery, ScramProof
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import delivery, message
from tests.waiting import until

SPELLINGS = ("é@example.com", "e\u0301@EXAMPLE.com", '"É"@example.com', "é@\uff45xample.com")


class TestWhatAStrangerLearns(StoreCase):
    limits: ClassVar = {"refusal_seconds": 0.2}

    async def test_every_spelling_of_an_address_has_one_salt_whether_it_is_ours_or_not(
        self,
    ) -> None:
        async def salts() -> set[bytes]:
            return {(await self.store.scram_challenge(one)).salt for one in SPELLINGS}

        self.assertEqual(len(await salts()), 1)
        self.world.mailbox(SPELLINGS[0])
        self.assertEqual(len(await salts()), 1)

    async def test_refusals_take_the_same_time_whatever_it_took_to_find_out(self) -> None:
        seconds = reactor.seconds  # type: ignore[attr-defined]
        proof = ScramProof(b"n=x", bytes(32))
        for asked in (
            lambda: self.store.login(ADDRESS, "wrong", "imap", None),
            lambda: self.store.login("nobody@example.com", "wrong", "imap", None),
            lambda: self.store.login(ADDRESS, "x" * 5000, "imap", None),
            lambda: self.store.login_scram(ADDRESS, proof, "imap", None),
        ):
            began = seconds()
            await self.fails(AuthenticationFailed, asked())
            self.assertGreaterEqual(seconds() - began, 0.19)


class TestWhatGuessingCosts(StoreCase):
    limits: ClassVar = {"logins_at_once": 2, "logins_waiting": 18}

    async def test_slow_logins_leave_threads_to_others(self) -> None:
        access = await self.enter()
        gate = threading.Event()
        inside: list[int] = []

        def slow(*_given: Any) -> Any:
            inside.append(1)
            gate.wait(10)
            raise AuthenticationFailed("no")

        with mock.patch.object(Authentication, "with_password", slow):
            guesses: list[Deferred[Any]] = [
                self.store.login(f"{n}@example.com", "x", "imap", None) for n in range(20)
            ]
            await until(lambda: len(inside) == 2)
            await self.store.deliver(self.alias, delivery("meanwhile"))
            self.assertEqual(await self.stored(access), [message("meanwhile")])
            self.assertEqual(len(inside), 2)
            await self.fails(Unavailable, self.store.login(ADDRESS, self.password, "imap", None))
            for guess in guesses[5:]:
                guess.cancel()
                await self.fails(CancelledError, guess)
            gate.set()
            for guess in guesses[:5]:
                await self.fails(AuthenticationFailed, guess)
            self.assertEqual(len(inside), 5)
        self.assertTrue(await self.enter())

    async def test_a_stop_does_not_wait_for_those_who_wait(self) -> None:
        gate = threading.Event()
        inside: list[int] = []

        def slow(*_given: Any) -> Any:
            inside.append(1)
            gate.wait(10)
            raise AuthenticationFailed("no")

        with mock.patch.object(Authentication, "with_password", slow):
            first, second, *late = [
                self.store.login(f"{n}@example.com", "x", "imap", None) for n in range(9)
            ]
            await until(lambda: len(inside) == 2)
            closed = self.store.close()
            gate.set()
            for guess in (first, second):
                await self.fails(AuthenticationFailed, guess)
            for guess in late:
                await self.fails(Unavailable, guess)
            await closed
        self.assertEqual(len(inside), 2)


class TestLoggingIn(StoreCase):
    async def test_a_directory_that_takes_no_writes_lets_owners_in(self) -> None:
        with mock.patch.object(
            type(self.world.directory), "used_credential", side_effect=DiskFull("x")
        ):
            self.assertTrue(await self.enter())

    async def test_the_key_lies_in_the_vault_alone_while_mail_is_merged(self) -> None:
        await self.store.deliver(self.alias, delivery("x"))
        left: list[int] = []

        def bare() -> int:
            gc.collect()
            found = [one for one in gc.get_objects() if isinstance(one, Opened)]
            return sum(one.alias == self.alias for one in found)

        def look(*_given: Any) -> Any:
            # the reactor has to leave the call that let the owner in
            deadline = time.monotonic() + 3
            while bare() and time.monotonic() < deadline:
                time.sleep(0.02)
            left.append(bare())
            raise DiskFull("enough")

        with mock.patch.object(self.store._merging, "_batch", look):
            await self.enter()
        self.assertEqual(left, [0])

    def test_reprs_show_nothing(self) -> None:
        self.assertNotIn("secret", repr(ScramProof(b"secret", b"secret")))
        self.assertNotIn("secret", repr(Delivery(b"secret", "id", "2026-11-23T10:00:00Z")))
