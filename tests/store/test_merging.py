"""Who joins a merge under way misses nothing, whatever becomes of the one who began it."""

import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from mailsrv.store.merge import Merged
from mailsrv.store.values import Access
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import delivery, message
from tests.waiting import until


class TestJoining(StoreCase):
    def hold_first_batch(self) -> tuple[threading.Event, list[Access]]:
        """Let the first batch look, then stand still until the event."""
        gate, seen = threading.Event(), list[Access]()
        real: Callable[[Access], Merged] = self.store._merging._batch

        def batch(access: Access) -> Merged:
            seen.append(access)
            if len(seen) > 1:
                return real(access)
            try:
                return real(access)
            finally:
                gate.wait(10)

        patch = mock.patch.object(self.store._merging, "_batch", batch)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(gate.set)
        return gate, seen

    async def waiting(self, name: str) -> None:
        """Seal a message as if nobody were there to take it."""
        deliveries = self.store._deliveries
        with (
            mock.patch.object(deliveries, "_key_holder", return_value=None),
            mock.patch.object(deliveries, "_arrived"),
        ):
            await self.store.deliver(self.alias, delivery(name))

    async def test_what_came_after_the_last_look_comes_along(self) -> None:
        access = await self.enter()
        gate, seen = self.hold_first_batch()
        began = ensureDeferred(self.store._merging.merge(access))
        await until(lambda: seen)
        await self.waiting("late")
        joined = self.store.poll(access)
        await until(lambda: self.store._merging._running[self.alias].again)
        gate.set()
        await began
        await joined
        self.assertEqual(await self.stored(access), [message("late")])

    async def test_who_began_it_logs_out(self) -> None:
        access, other = await self.enter(), await self.enter()
        gate, seen = self.hold_first_batch()
        await self.waiting("kept")
        began = self.store.poll(access)
        await until(lambda: seen)
        self.store._connections.close()
        await self.waiting("late")
        joined = self.store.poll(other)
        await until(lambda: self.store._merging._running[self.alias].again)
        self.store.logout(access)
        gate.set()
        await began
        await joined
        self.assertEqual(await self.stored(other), [message("kept"), message("late")])

    async def test_it_fills_the_mailbox_before_a_new_start(self) -> None:
        access = await self.enter()
        gate, seen = self.hold_first_batch()
        await self.waiting("old")
        began = self.store.poll(access)
        await until(lambda: seen)
        self.password = await deferToThread(self.world.lifecycle.start_over, ADDRESS)
        await self.waiting("new")
        entering: Any = self.store.login(ADDRESS, self.password, "imap", None)
        await until(lambda: self.store._merging._running[self.alias].again)
        gate.set()
        await began
        self.assertEqual(await self.stored(await entering), [message("new")])
