"""The store over a link does what every store must, and goes on when the link does not."""

import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailsrv.errors import InvalidInput, KeyGone, Unavailable
from mailsrv.link.secondary.primary_link import ClientLimits
from mailsrv.link.wire.frames import Answer, Begin, Call, decode_frame
from mailsrv.store.interfaces import IStore
from mailsrv.store.revocation import CREDENTIAL_GONE
from mailsrv.store.values import NewMessage
from tests.link.cases import RemoteCase
from tests.link.world import LinkWorld
from tests.store.conformance import ADDRESS, Listener, StoreConformance, delivery, message, new
from tests.waiting import until


def pause(seconds: float) -> Any:
    return deferLater(reactor, seconds)  # type: ignore[arg-type]


class TestRemoteStore(StoreConformance, TestCase):
    async def make_store(self) -> IStore:
        self.world = LinkWorld(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        return (await self.world.frontend()).store

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        return self.world.world.mailbox(address, quota)


class TestTwoFrontEnds(RemoteCase):
    lease_seconds = 0.2

    async def setUp(self) -> None:
        await super().setUp()
        self.other = await self.world.frontend()

    async def test_they_see_what_the_other_did(self) -> None:
        listener = Listener()
        mine, theirs = await self.enter(listener), await self.enter(front=self.other)
        appended = await self.other.store.append(theirs, "INBOX", [new("a")], None)
        await until(lambda: listener.highest(appended.folder_id) >= appended.modseq)
        self.assertEqual(await self.contents(mine), [message("a")])
        self.assertEqual(
            (await self.store.folders(mine))[0], (await self.other.store.folders(theirs))[0]
        )

    async def test_mail_goes_live_to_a_session_of_the_other(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        inbox = (await self.store.folders(access))[0]
        local = self.world.primary.store
        assert local is not None
        await until(lambda: len(local._vault) == 0)
        delivered = await self.other.store.deliver(self.alias, delivery("now"))
        self.assertEqual((delivered.where, delivered.duplicate), ("live", False))
        await until(lambda: listener.highest(inbox.id) > inbox.highestmodseq)
        self.assertEqual(self.world.world.files("*waiting*"), [])
        await until(lambda: len(local._vault) == 0)

    async def test_it_goes_live_whatever_the_session_is_for(self) -> None:
        await self.store.login(ADDRESS, self.password, "pop3", None)
        await pause(0.4)
        self.assertEqual(
            (await self.other.store.deliver(self.alias, delivery("now"))).where, "live"
        )

    async def test_it_waits_when_nobody_has_the_key(self) -> None:
        self.store.logout(await self.enter())
        self.assertEqual(
            (await self.other.store.deliver(self.alias, delivery("now"))).where, "waiting"
        )


class TestKeys(RemoteCase):
    lease_seconds = 0.3

    async def setUp(self) -> None:
        await super().setUp()
        self.frames: list[bytes] = []
        self.front.cut = lambda _way, data: self.frames.append(data)

    def calls(self) -> list[Call]:
        decoded = [decode_frame(data) for data in self.frames]
        heads = [decode_frame(one.head) for one in decoded if isinstance(one, Begin)]
        return [one for one in decoded + heads if isinstance(one, Call)]

    async def test_neither_passwords_nor_keys_are_in_any_frame(self) -> None:
        access = await self.enter()
        with self.front.vault.use(access.key) as key:
            secrets = [key, key[:32], self.password.encode()]
        await pause(0.5)
        await self.store.append(access, "INBOX", [new("a")], None)
        await pause(0.5)
        await self.store.deliver(self.alias, delivery("live"))
        self.assertTrue(any(call.lent for call in self.calls()))
        self.assertTrue([one for one in self.frames if b"lend_key" in one])
        for secret in secrets:
            self.assertEqual([one for one in self.frames if secret in one], [])

    async def test_the_handle_of_a_vault_does_not_travel(self) -> None:
        access = await self.enter()
        await self.store.folders(access)
        self.front.lose()
        await self.front.up()
        for frame in self.frames:
            self.assertNotIn(access.key.encode(), frame)
            decoded = decode_frame(frame)
            if isinstance(decoded, Answer):
                self.assertNotRegex(decoded.body, rb"\xa3key\xd9")

    async def test_a_key_is_lent_once_in_a_lease(self) -> None:
        access = await self.enter()
        end = time.monotonic() + 0.9  # three leases, in which it is used all the time
        while time.monotonic() < end:
            await self.store.folders(access)
        self.assertTrue(len([call for call in self.calls() if call.lent]) <= 1)

    async def test_the_primary_forgets_it_and_gets_it_again(self) -> None:
        access = await self.enter()
        local = self.world.primary.store
        assert local is not None
        for _ in range(2):
            await until(lambda: len(local._vault) == 0)
            self.assertTrue(await self.store.folders(access))
            self.assertEqual(len(local._vault), 1)
        self.assertEqual(len(self.front.vault), 1)

    async def test_a_lease_that_ended_too_soon_is_nobodys_business(self) -> None:
        access = await self.enter()
        held = self.store.session(access)
        assert held is not None
        await pause(0.6)
        held.lease.until = 1e12  # as if the clock had stood still
        self.assertTrue(await self.store.folders(access))
        local = self.world.primary.store
        assert local is not None
        await until(lambda: len(local._vault) == 0)
        held.lease.until = 1e12
        many = [self.store.folders(access) for _ in range(20)]
        for one in many:
            self.assertTrue(await one)
        self.assertTrue(len([call for call in self.calls() if call.lent]) <= 4)

    async def test_quota_needs_no_key(self) -> None:
        access = await self.enter()
        await pause(0.6)
        await self.store.quota(access)
        self.assertEqual([call.lent for call in self.calls()][1:], [None])


class TestWithoutALink(RemoteCase):
    async def test_requests_of_all_kinds_wait_for_the_primary(self) -> None:
        access = await self.enter()
        await self.world.primary.stop()
        waiting: list[Any] = [
            self.store.folders(access),
            self.store.append(access, "INBOX", [new("a")], None),
            self.store.resolve(ADDRESS),
            self.store.deliver(self.alias, delivery("d")),
            self.store.scram_challenge(ADDRESS),
            self.store.login(ADDRESS, self.password, "imap", None),
        ]
        await pause(0.1)
        self.world.primary.start()
        for one in waiting:
            self.assertTrue(await one)
        await self.store.poll(access)
        self.assertEqual(len(await self.contents(access)), 2)

    async def test_a_session_lives_through_restarts(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        for number in range(3):
            await self.world.primary.stop()
            self.world.primary.start()
            await self.store.append(access, "INBOX", [new(f"m{number}")], None)
        self.assertEqual(len(await self.contents(access)), 3)
        self.assertEqual(listener.reasons, [])
        self.assertEqual(len(self.front.vault), 1)

    async def test_what_was_missed_is_told(self) -> None:
        listener, quiet = Listener(), Listener()
        access, other = await self.enter(listener), await self.enter(quiet)
        selected = await self.store.select(access, "INBOX", True)
        archive = await self.store.select(other, "Archive", True)
        await self.world.primary.deaf()
        local = self.world.primary.store
        assert local is not None
        theirs = await local.login(ADDRESS, self.password, "imap", None)
        appended = await local.append(theirs, "INBOX", [new("a")], None)
        self.world.primary.listen()
        await until(lambda: listener.highest(selected.folder.id) >= appended.modseq)
        await until(lambda: quiet.highest(0) == 0 == listener.highest(0))
        await pause(0.05)
        self.assertEqual(quiet.highest(archive.folder.id), -1)

    async def test_a_folder_that_was_deleted_meanwhile_is_told(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        made = await self.store.create_folder(access, "Old", None, None)
        changes = await self.store.changes(access, made.id, 0, True)
        await self.world.primary.deaf()
        local = self.world.primary.store
        assert local is not None
        theirs = await local.login(ADDRESS, self.password, "imap", None)
        await local.delete_folder(theirs, "Old", None)
        self.world.primary.listen()
        await until(lambda: listener.highest(made.id) > changes.modseq)

    async def test_logged_out_while_it_was_away(self) -> None:
        access, stays = await self.enter(), await self.enter()
        await self.world.primary.deaf()
        self.store.logout(access)
        local = self.world.primary.store
        assert local is not None
        self.world.primary.listen()
        await self.front.up()
        await until(
            lambda: [one.access.session for one in local._sessions.all()] == [stays.session]
        )
        self.assertEqual(len(self.front.vault), 1)

    async def test_logged_out_while_sessions_are_entered_again(self) -> None:
        access = await self.enter()
        local = self.world.primary.store
        assert local is not None

        def at_resume(way: str, data: bytes) -> bool:
            if way == "out" and b"resume" in data:
                reactor.callLater(0, self.store.logout, access)  # type: ignore[attr-defined]
            return False

        self.front.cut = at_resume
        self.front.lose()
        await until(lambda: not self.store.ready)
        await self.front.up()
        await until(lambda: len(local._sessions) == 0)
        self.assertEqual(len(self.front.vault), 0)

    async def test_patience_ends_with_unavailable(self) -> None:
        front = await self.world.frontend(ClientLimits(patience=0.3, first_delay=0.01))
        access = await self.enter(front=front)
        await self.world.primary.stop()
        for asked in (
            front.store.folders(access),
            front.store.deliver(self.alias, delivery("d")),
            front.store.login(ADDRESS, self.password, "imap", None),
        ):
            await self.assertFailure(asked, Unavailable)
        self.world.primary.start()
        await front.up()
        self.assertTrue(await front.store.folders(access))

    async def test_stop_fails_what_waits(self) -> None:
        access = await self.enter()
        await self.world.primary.stop()
        waiting = [
            self.assertFailure(one, Unavailable)
            for one in (
                self.store.folders(access),
                self.store.deliver(self.alias, delivery("d")),
                self.store.login(ADDRESS, self.password, "imap", None),
            )
        ]
        await self.store.stop()
        for one in waiting:
            await one
        await self.assertFailure(self.store.folders(access), Unavailable)
        self.store.logout(access)
        self.assertEqual(len(self.front.vault), 0)


class TestEnds(RemoteCase):
    async def entered_with_app_password(self) -> tuple[Any, str, Listener]:
        lifecycle, listener = self.world.world.lifecycle, Listener()
        password = lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        access = await self.store.login(ADDRESS, password, "imap", listener)
        return access, access.credential, listener

    async def test_a_revoked_session_hears_of_it_once(self) -> None:
        access, credential, listener = await self.entered_with_app_password()
        self.world.world.directory.revoke_credential(self.alias, credential)
        await until(lambda: listener.reasons)
        await self.assertFailure(self.store.folders(access), KeyGone)
        self.front.lose()
        await self.front.up()
        await pause(0.1)
        self.assertEqual(listener.reasons, [CREDENTIAL_GONE])
        self.assertEqual(len(self.front.vault), 0)

    async def test_revoked_while_the_link_was_away(self) -> None:
        access, credential, listener = await self.entered_with_app_password()
        await self.world.primary.deaf()
        self.world.world.directory.revoke_credential(self.alias, credential)
        waiting = self.store.folders(access)
        self.world.primary.listen()
        await self.assertFailure(waiting, KeyGone)
        self.assertEqual(listener.reasons, [CREDENTIAL_GONE])
        self.assertEqual(len(self.front.vault), 0)

    async def test_a_cancelled_login_opens_nothing(self) -> None:
        local = self.world.primary.store
        assert local is not None
        for seconds in (0, 0.001, 0.005, 0.01, 0.02, 0.04, 0.08):
            asked = self.store.login(ADDRESS, self.password, "imap", Listener())
            await pause(seconds)
            if asked.called:
                self.store.logout(await asked)
            else:
                asked.cancel()
                await self.assertFailure(asked, CancelledError)
        await until(lambda: len(local._sessions) == 0)
        await pause(0.2)
        self.assertEqual((len(local._sessions), len(self.front.vault)), (0, 0))

    async def test_one_cancelled_while_the_answer_is_on_its_way_opens_nothing(self) -> None:
        local = self.world.primary.store
        assert local is not None
        asked: list[Any] = []

        def at_answer(way: str, data: bytes) -> bool:
            if way == "in" and isinstance(decode_frame(data), Answer) and asked:
                asked.pop().cancel()
            return False

        self.front.cut = at_answer
        login = self.store.login(ADDRESS, self.password, "imap", Listener())
        asked.append(login)
        await self.assertFailure(login, CancelledError)
        await until(lambda: len(local._sessions) == 0)
        self.assertEqual(len(self.front.vault), 0)

    async def test_sessions_end_with_their_front_end(self) -> None:
        await self.enter()
        local = self.world.primary.store
        assert local is not None
        await self.store.stop()
        await until(lambda: len(local._sessions) == 0)
        self.assertEqual(len(local._vault), 0)

    async def test_too_large_for_the_link_is_told(self) -> None:
        access = await self.enter()
        large = NewMessage(b"x" * 33 * 2**20)
        asked = self.store.append(access, "INBOX", [large, large], None)
        await self.assertFailure(asked, InvalidInput)
        self.assertTrue(await self.store.folders(access))
