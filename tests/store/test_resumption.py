"""Sessions that a secondary brings back after the primary, or the link, was away."""

from unittest import mock

import msgspec
from twisted.internet.threads import deferToThread

from mailsrv.errors import Elsewhere, InvalidInput, KeyGone, LeaseEnded
from mailsrv.store.revocation import ALIAS_GONE, CREDENTIAL_GONE, PASSWORD_CHANGED
from mailsrv.store.values import Access
from tests.store.cases import ADDRESS
from tests.store.conformance import Listener, delivery, message, new
from tests.store.leased import LeasedCase


class TestResumption(LeasedCase):
    async def restart(self) -> None:
        await self.store.close()
        self.store = self.world.store(self.hours)
        self.far.store = self.store

    async def resume(self, access: Access, listener: Listener | None = None) -> Access:
        """Resume one session, and let the secondary remember it."""
        (resumed,) = await self.store.resume([access], [listener])
        assert isinstance(resumed, Access), resumed
        self.far.sessions[access.session] = (resumed, self.far.sessions[access.session][1])
        return resumed

    async def test_a_session_goes_on_after_a_restart(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password)
        await self.store.append(access, "INBOX", [new("before")], "write")
        await self.restart()
        await self.fails(KeyGone, self.store.folders(access))
        resumed = await self.resume(access, listener)
        self.assertEqual(self.keys(), 0)
        self.assertEqual(
            msgspec.structs.replace(resumed, key=""), msgspec.structs.replace(access, key="")
        )
        await self.fails(LeaseEnded, self.store.folders(resumed))
        self.far.lend()
        await self.store.append(resumed, "INBOX", [new("before")], "write")
        self.assertEqual(await self.stored(resumed), [message("before")])
        await self.store.append(resumed, "INBOX", [new("after")], None)
        self.hours.advance(0)
        self.assertTrue(listener.heard)
        await self.fails(KeyGone, self.store.folders(access))

    async def test_each_gets_its_own_answer(self) -> None:
        lifecycle, directory = self.world.lifecycle, self.world.directory
        app = lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        main = await self.far.enter(self.password, "main")
        phone, _ = await self.store.login_leased(ADDRESS, app, "imap", None, "phone")
        others = []
        for address in ("gone@example.com", "disabled@example.com"):
            _, password = self.world.mailbox(address)
            access, _ = await self.store.login_leased(address, password, "imap", None, address)
            others.append(access)
        directory.delete_alias(others[0].alias)
        directory.set_alias_enabled(others[1].alias, False)
        lifecycle.revoke_credential(ADDRESS, lifecycle.credentials(ADDRESS)[1].id)
        unknown = msgspec.structs.replace(main, session="x", alias="no id at all")
        await self.restart()
        answers = await self.store.resume([main, phone, *others, unknown], [None] * 5)
        self.assertIsInstance(answers[0], Access)
        self.assertEqual(answers[1:], [CREDENTIAL_GONE, ALIAS_GONE, ALIAS_GONE, ALIAS_GONE])
        self.assertEqual(len(self.store._sessions), 1)
        await self.fails(InvalidInput, self.store.resume([main], []))

    async def test_after_a_password_change_nobody_goes_on(self) -> None:
        app = self.world.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        main = await self.far.enter(self.password)
        listener = Listener()
        phone = await self.far.enter(app, "phone", listener)
        await self.store.close()
        await deferToThread(self.world.lifecycle.change_password, ADDRESS, self.password)
        await self.restart()
        self.assertEqual(await self.store.resume([main], [None]), [PASSWORD_CHANGED])
        # its password holds, but the key that its session has is that of the former file
        await self.resume(phone, listener)
        self.assertRaises(KeyGone, self.far.lend, "phone")
        self.assertEqual(listener.reasons, [PASSWORD_CHANGED])
        self.assertEqual((self.keys(), len(self.store._sessions)), (0, 0))

    async def test_a_file_of_another_name_and_the_same_key_is_adopted(self) -> None:
        access = await self.far.enter(self.password)
        resumed = await self.resume(msgspec.structs.replace(access, mailbox="0" * 24))
        self.assertEqual(resumed.mailbox, access.mailbox)
        self.far.lend()
        self.assertEqual(await self.stored(resumed), [])

    async def test_a_session_that_is_here_still_is_replaced(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        await self.store.folders(access)
        resumed = await self.resume(access)
        await self.fails(KeyGone, self.store.folders(access))
        self.store.logout(access)  # of a link that was found dead only now
        self.assertEqual((self.keys(), len(self.store._sessions)), (0, 1))
        await self.at_rest()
        self.assertEqual(self.open(), 0)
        self.far.lend()
        self.assertTrue(await self.store.folders(resumed))
        self.assertEqual(listener.reasons, [])

    async def test_resumed_twice_at_once_the_later_stays(self) -> None:
        access = await self.far.enter(self.password)
        asked = [self.store.resume([access], [None]) for _ in range(2)]
        answers = [(await one)[0] for one in asked]
        here = self.store._sessions.with_id("one")
        assert here is not None
        self.assertEqual(here.access, answers[1])
        self.assertEqual(len(self.store._sessions), 1)

    async def test_mail_that_came_meanwhile_is_brought_in_by_asking(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password)
        await self.restart()
        self.assertEqual((await self.store.deliver(self.alias, delivery("x"))).where, "waiting")
        self.store.add_keeper(self.far)
        resumed = await self.resume(access, listener)
        self.assertEqual(self.far.asked, [])  # the answer goes first
        await self.until(lambda: listener.heard)
        self.assertEqual(await self.stored(resumed), [message("x")])

    async def test_mail_that_came_meanwhile_is_brought_in_with_the_next_key(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password)
        await self.restart()
        await self.store.deliver(self.alias, delivery("x"))
        resumed = await self.resume(access, listener)
        self.hours.advance(0)
        await self.at_rest()
        self.far.lend()
        await self.until(lambda: listener.heard)
        self.assertEqual(await self.stored(resumed), [message("x")])

    async def test_who_was_resumed_by_what_held_before_is_looked_at_again(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password)
        real = self.store._resumption._look

        def look(accesses: object) -> object:
            answer = real(accesses)
            self.world.directory.set_alias_enabled(self.alias, False)
            return answer

        with mock.patch.object(self.store._resumption, "_look", look):
            await self.resume(access, listener)
        self.hours.advance(1)
        await self.until(lambda: listener.reasons)

    async def test_the_sentence_of_elsewhere_names_the_primary(self) -> None:
        said = Elsewhere.said(str(Elsewhere("b")))
        assert said is not None
        self.assertEqual(said.primary, "b")
        for other in ("", PASSWORD_CHANGED, "served by primary "):
            self.assertIsNone(Elsewhere.said(other))
