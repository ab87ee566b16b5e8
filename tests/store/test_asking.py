"""Mail for an owner who is connected far away: the key is asked for, and brought."""

from unittest import mock

from twisted.internet.defer import gatherResults

from mailsrv.errors import KeyGone, MailboxNotReady, NoSuchAlias
from tests.store.conformance import Listener, delivery, message
from tests.store.leased import LeasedCase, Secondary


class TestAsking(LeasedCase):
    def setUp(self) -> None:
        super().setUp()
        self.store.add_keeper(self.far)

    async def lapse(self) -> None:
        await self.pass_time(7)
        self.assertEqual((self.keys(), self.open()), (0, 0))

    async def test_who_has_the_key_brings_it_and_the_message_is_live(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        await self.lapse()
        other = Secondary(self.store)
        self.store.add_keeper(other)
        delivered = await self.store.deliver(self.alias, delivery("one"))
        self.assertEqual(delivered.where, "live")
        self.assertEqual(self.far.asked, [(self.alias, access.mailbox)])
        self.assertEqual(other.asked, self.far.asked)
        await self.until(lambda: listener.heard)
        self.assertEqual((await self.store.deliver(self.alias, delivery("two"))).where, "live")
        self.assertEqual(len(self.far.asked), 1)  # the key is here still
        await self.lapse()
        self.far.lend()
        self.assertEqual(await self.stored(access), [message("one"), message("two")])

    async def test_what_arrives_together_is_asked_for_once(self) -> None:
        await self.far.enter(self.password)
        await self.lapse()
        answers = await gatherResults(
            [self.store.deliver(self.alias, delivery(f"m{n}")) for n in range(30)]
        )
        self.assertEqual({answer.where for answer in answers}, {"live"})
        self.assertEqual(len(self.far.asked), 1)

    async def test_without_a_session_mail_waits(self) -> None:
        self.assertEqual((await self.store.deliver(self.alias, delivery("x"))).where, "waiting")
        self.assertEqual(len(self.far.asked), 1)
        await self.at_rest()
        self.assertEqual(len(self.far.asked), 1)

    async def test_a_key_that_is_here_is_asked_of_nobody(self) -> None:
        await self.enter()
        await self.store.deliver(self.alias, delivery("x"))
        self.assertEqual(self.far.asked, [])

    async def test_two_secondaries_with_sessions_of_one_alias(self) -> None:
        other = Secondary(self.store)
        self.store.add_keeper(other)
        listeners = Listener(), Listener()
        await self.far.enter(self.password, "one", listeners[0])
        access = await other.enter(self.password, "two", listeners[1])
        await self.lapse()
        self.far.silent = True
        self.assertEqual((await self.store.deliver(self.alias, delivery("x"))).where, "live")
        await self.until(lambda: all(listener.heard for listener in listeners))
        self.store.logout(access)
        await self.at_rest()
        self.assertEqual((self.keys(), self.open()), (0, 0))

    async def test_a_slow_keeper_delays_mail_once_and_brings_it_in_when_it_answers(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        await self.lapse()
        self.far.silent = True
        first = self.store.deliver(self.alias, delivery("one"))
        await self.until(lambda: self.far.asked)
        self.assertFalse(first.called)
        self.hours.advance(1.0)
        self.assertEqual((await first).where, "waiting")
        self.assertEqual((await self.store.deliver(self.alias, delivery("two"))).where, "waiting")
        await self.at_rest()
        self.assertEqual(len(self.far.asked), 1)
        self.far.answer()
        await self.until(lambda: listener.heard)
        self.assertEqual(await self.stored(access), [message("one"), message("two")])
        await self.lapse()
        self.far.silent = False
        self.assertEqual((await self.store.deliver(self.alias, delivery("three"))).where, "live")

    async def test_a_keeper_that_goes_while_it_is_asked(self) -> None:
        await self.far.enter(self.password)
        await self.lapse()
        self.far.silent = True
        asked = self.store.deliver(self.alias, delivery("x"))
        await self.until(lambda: self.far.asked)
        self.store.remove_keeper(self.far)
        self.assertEqual((await asked).where, "waiting")

    async def test_a_stop_waits_for_no_keeper(self) -> None:
        await self.far.enter(self.password)
        await self.lapse()
        self.far.silent = True
        asked = self.store.deliver(self.alias, delivery("x"))
        await self.until(lambda: self.far.asked)
        closed = self.store.close()
        self.assertEqual((await asked).where, "waiting")
        await closed

    async def test_a_keeper_that_brings_a_wrong_key_loses_no_mail(self) -> None:
        access = await self.far.enter(self.password)
        await self.lapse()
        self.far.sessions["one"] = (access, bytes(48))
        self.assertEqual((await self.store.deliver(self.alias, delivery("x"))).where, "waiting")
        await self.fails(KeyGone, self.store.poll(access))
        again = await self.far.enter(self.password)
        self.assertEqual(await self.stored(again), [message("x")])

    async def test_errors_are_those_of_a_delivery(self) -> None:
        alias = self.world.alias("new@example.com")
        await self.fails(MailboxNotReady, self.store.deliver(alias, delivery("x")))
        await self.fails(NoSuchAlias, self.store.deliver("0" * 24, delivery("x")))
        self.assertEqual(self.far.asked, [])

    async def test_a_busy_mailbox_is_asked_for_nowhere(self) -> None:
        await self.far.enter(self.password)
        await self.lapse()
        self.store._deliveries._avoided[self.alias] = self.hours.seconds() + 5
        with mock.patch.object(self.store._deliveries, "_arrived"):
            await self.store.deliver(self.alias, delivery("x"))
        self.assertEqual(self.far.asked, [])

    async def test_a_merge_asks_too(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        await self.lapse()
        with mock.patch.object(self.store._deliveries, "_key_holder", return_value=None):
            await self.store.deliver(self.alias, delivery("x"))
        await self.until(lambda: listener.heard)
        self.assertEqual(await self.stored(access), [message("x")])
        self.assertEqual(len(self.far.asked), 1)

    async def test_an_owner_who_logs_out_meanwhile(self) -> None:
        access = await self.far.enter(self.password)
        await self.lapse()
        asked = self.store.deliver(self.alias, delivery("x"))
        self.store.logout(access)
        self.far.sessions.clear()
        self.assertEqual((await asked).where, "waiting")
        await self.at_rest()
        self.assertEqual(self.keys(), 0)
