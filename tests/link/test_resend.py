"""Whatever breaks while a request is under way, it is done once and its answer is the true one."""

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from mailsrv.link.wire.frames import Hello, Welcome, decode_frame
from mailsrv.store.values import (
    ALL_UIDS,
    DELETED,
    FLAGGED,
    Access,
    Delivery,
    Flags,
    NewMessage,
    StoreFlags,
)
from tests.link.cases import RemoteCase
from tests.store.conformance import ADDRESS, RECEIVED, Client, Listener, delivery, message, new
from tests.waiting import until

SOAK = bool(os.environ.get("MAILSRV_SOAK"))


@attrs.define
class Cut:
    """Cuts before a frame: the nth after the greetings, from when it is set."""

    at: int
    seen: int = 0
    done: bool = False

    def __call__(self, _way: str, data: bytes) -> bool:
        if self.done or isinstance(decode_frame(data), Hello | Welcome):
            return False
        self.seen += 1
        self.done = self.seen > self.at
        return self.done


Write = Callable[[Access], Awaitable[Any]]


class TestCutAtEveryFrame(RemoteCase):
    async def at_every_frame(
        self, prepare: Write, write: Callable[[Access, Any], Awaitable[Any]], check: Any
    ) -> None:
        """``write`` with the link cut before its first frame, its second ... till none is left."""
        for at in range(60):
            access = await self.enter(Listener())
            before = await prepare(access)
            cut = self.front.cut = Cut(at)
            answer = await write(access, before)
            self.front.cut = None
            await self.front.up()
            await check(access, before, answer)
            self.store.logout(access)
            if not cut.done:
                self.assertTrue(at >= 2, "no frame was cut")
                return
        self.fail("the frames never end")

    async def inbox(self, access: Access) -> Any:
        return (await self.store.select(access, "INBOX", True)).folder

    async def test_append(self) -> None:
        async def write(access: Access, _: Any) -> Any:
            return await self.store.append(access, "INBOX", [new("a"), new("b")], None)

        async def check(access: Access, before: Any, appended: Any) -> None:
            after = await self.inbox(access)
            self.assertEqual(after.messages, before.messages + 2)
            self.assertEqual(appended.uids, (before.uidnext, before.uidnext + 1))
            self.assertEqual(appended.modseq, after.highestmodseq)

        await self.at_every_frame(self.inbox, write, check)

    async def test_a_long_append(self) -> None:
        octets = message("long", "x" * 400_000)

        async def write(access: Access, _: Any) -> Any:
            given = [NewMessage(octets)]
            return await self.store.append(access, "INBOX", given, None)

        async def check(access: Access, before: Any, _: Any) -> None:
            self.assertEqual((await self.inbox(access)).messages, before.messages + 1)

        await self.at_every_frame(self.inbox, write, check)

    async def filled(self, access: Access) -> Any:
        """Three fresh messages and what INBOX is then."""
        appended = await self.store.append(
            access, "INBOX", [new("x"), new("y", Flags(DELETED)), new("z")], None
        )
        return appended, await self.inbox(access)

    async def test_copy(self) -> None:
        async def write(access: Access, before: Any) -> Any:
            uids = ((before[0].uids[0], before[0].uids[2]),)
            return await self.store.copy(access, before[0].folder_id, uids, "Archive", None)

        counted: list[int] = [0]

        async def check(access: Access, before: Any, copied: Any) -> None:
            counted[0] += 3
            self.assertEqual(copied.source, before[0].uids)
            there = (await self.store.select(access, "Archive", False)).folder
            self.assertEqual(there.messages, counted[0])
            self.assertEqual(copied.destination[-1] + 1, there.uidnext)

        await self.at_every_frame(self.filled, write, check)

    async def test_move(self) -> None:
        async def write(access: Access, before: Any) -> Any:
            uids = ((before[0].uids[0], before[0].uids[2]),)
            return await self.store.move(access, before[0].folder_id, uids, "Trash", None)

        counted: list[int] = [0]

        async def check(access: Access, before: Any, moved: Any) -> None:
            counted[0] += 3
            self.assertEqual(moved.source, before[0].uids)
            there = (await self.store.select(access, "Trash", False)).folder
            self.assertEqual(there.messages, counted[0])
            self.assertEqual(moved.destination[-1] + 1, there.uidnext)
            self.assertEqual((await self.inbox(access)).messages, before[1].messages - 3)

        await self.at_every_frame(self.filled, write, check)

    async def test_store_flags(self) -> None:
        async def write(access: Access, before: Any) -> Any:
            uids = ((before[0].uids[0],) * 2,)
            change = StoreFlags(uids, "add", Flags(FLAGGED), before[1].highestmodseq)
            return await self.store.store_flags(access, before[0].folder_id, change, None)

        async def check(access: Access, before: Any, result: Any) -> None:
            # with unchanged_since a second effect would be refused
            self.assertEqual((result.refused, result.base), ((), before[1].highestmodseq))
            self.assertEqual(result.modseq, (await self.inbox(access)).highestmodseq)

        await self.at_every_frame(self.filled, write, check)

    async def test_expunge(self) -> None:
        async def write(access: Access, before: Any) -> Any:
            return await self.store.expunge(access, before[0].folder_id, ALL_UIDS, None)

        async def check(access: Access, before: Any, expunged: Any) -> None:
            gone = before[0].uids[1]
            self.assertEqual(expunged.uids, ((gone, gone),))
            after = await self.inbox(access)
            self.assertEqual(after.messages, before[1].messages - 1)
            self.assertEqual(after.highestmodseq, expunged.modseq)

        await self.at_every_frame(self.filled, write, check)

    async def test_deliver(self) -> None:
        names = iter(range(100))

        async def write(_: Access, __: Any) -> Any:
            return await self.store.deliver(self.alias, delivery(f"d{next(names)}"))

        async def check(access: Access, before: Any, _: Any) -> None:
            async def arrived() -> bool:
                await self.store.poll(access)
                return (await self.inbox(access)).messages > before.messages

            for _ in range(50):
                if await arrived():
                    break
            self.assertEqual((await self.inbox(access)).messages, before.messages + 1)

        await self.at_every_frame(self.inbox, write, check)

    async def test_folders(self) -> None:
        names = iter(range(100))

        async def prepare(_: Access) -> str:
            return f"New{next(names)}"

        async def write(access: Access, name: str) -> None:
            made = await self.store.create_folder(access, name, None, None)
            self.assertEqual(made.name, name)
            await self.store.rename_folder(access, name, f"{name}-renamed", None)
            await self.store.subscribe(access, f"{name}-renamed", True, None)
            await self.store.delete_folder(access, f"{name}-renamed", None)

        async def check(access: Access, name: str, _: Any) -> None:
            left = [one.name for one in await self.store.folders(access)]
            self.assertEqual([one for one in left if one.startswith("New")], [])
            self.assertIn(f"{name}-renamed", await self.store.subscriptions(access))

        await self.at_every_frame(prepare, write, check)

    async def test_login_leaves_one_session(self) -> None:
        assert self.world.primary.store is not None
        sessions = self.world.primary.store._sessions
        for at in range(20):
            cut = self.front.cut = Cut(at)
            access = await self.enter(Listener())
            self.front.cut = None
            await until(lambda: len(sessions) == 1)
            self.assertEqual(sessions.all()[0].access.session, access.session)
            self.assertTrue(await self.store.folders(access))
            self.store.logout(access)
            await until(lambda: len(sessions) == 0)
            self.assertEqual(len(self.front.vault), 0)
            if not cut.done:
                return
        self.fail("the frames never end")

    async def test_login_by_proof_leaves_one_session(self) -> None:
        assert self.world.primary.store is not None
        sessions = self.world.primary.store._sessions
        client = Client(self.password, await self.store.scram_challenge(ADDRESS))
        for at in range(3):
            self.front.cut = Cut(at)
            accepted = await self.store.login_scram(ADDRESS, client.proof(), "imap", None)
            self.front.cut = None
            self.assertEqual(accepted.server_signature, client.expects())
            await until(lambda: len(sessions) == 1)
            self.assertTrue(await self.store.folders(accepted.access))
            self.store.logout(accepted.access)
            await until(lambda: len(sessions) == 0)


class TestCutAtRandom(RemoteCase):
    """Two front ends, a link that breaks at any frame, leases that end, a primary that restarts."""

    timeout = 120
    lease_seconds = 0.05

    async def setUp(self) -> None:
        await super().setUp()
        self.other = await self.world.frontend()

    async def run_with(self, choice: random.Random) -> None:
        access = await self.enter(Listener())
        inbox = (await self.store.select(access, "INBOX", True)).folder
        wanted = {"INBOX": await self.contents(access), "Archive": []}
        wanted["Archive"] = await self.contents(access, "Archive")
        self.front.cut = lambda _way, _data: choice.random() < 0.12
        for number in range(40):
            octets, kind = message(f"{inbox.uidnext}-{number}"), choice.randrange(5)
            if kind <= 1:
                appended = await self.store.append(access, "INBOX", [NewMessage(octets)], None)
                wanted["INBOX"].append(octets)
            elif kind == 2:
                store = choice.choice((self.store, self.other.store))
                name = f"delivery-{octets!r}"
                await store.deliver(self.alias, Delivery(octets, name, RECEIVED))
                wanted["INBOX"].append(octets)
            elif kind == 3 and wanted["INBOX"]:
                appended = await self.store.append(access, "INBOX", [NewMessage(octets)], None)
                uids = ((appended.uids[0],) * 2,)
                moved = await self.store.move(access, inbox.id, uids, "Archive", None)
                self.assertEqual(moved.source, appended.uids)
                wanted["Archive"].append(octets)
            elif choice.random() < 0.2:
                await self.world.primary.stop()
                self.world.primary.start()
        self.front.cut = None
        await self.front.up()
        for _ in range(100):
            await self.store.poll(access)
            if len(await self.contents(access)) >= len(wanted["INBOX"]):
                break
        for name, contents in wanted.items():
            self.assertEqual(sorted(await self.contents(access, name)), sorted(contents))
        self.store.logout(access)

    async def test_all_is_there_once(self) -> None:
        for seed in range(30 if SOAK else 2):
            await self.run_with(random.Random(seed))
        self.assertTrue(len(self.front.connections) > 5)
