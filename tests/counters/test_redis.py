"""Counters in a real Redis: shared, forgotten in time, and there whether Redis is or not."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailsrv.counters.make import make_counters
from mailsrv.imap.addresses import Addresses
from tests import redis
from tests.running import free_port_base
from tests.waiting import until

OTHER_PROCESS = """
import sys
from twisted.internet import reactor
from twisted.internet.task import deferLater
from mailsrv.counters.make import make_counters

async def main():
    counters = make_counters(sys.argv[1], reactor)
    while not counters.shared:
        await deferLater(reactor, 0.01)
    for _ in range(int(sys.argv[2])):
        last = await counters.add("both", 1, 60)
    await counters.close()
    print(last)

from twisted.internet.defer import Deferred
from twisted.internet.task import react
react(lambda _: Deferred.fromCoroutine(main()))
"""


class RedisTests(TestCase):
    skip = redis.missing()
    timeout = 30

    def setUp(self) -> None:
        self.server = redis.Server()
        self.addCleanup(self.server.remove)
        self.server.start()

    async def counters(self, url: str = "") -> Any:
        counters: Any = make_counters(url or self.server.url, reactor)
        self.addCleanup(counters.close)
        await until(lambda: counters.shared)
        return counters

    async def test_two_processes_share_a_count_and_lose_none(self) -> None:
        counters = await self.counters()
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, self.server.url, "500"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        answers = []
        while other.poll() is None:
            answers += await gatherResults([counters.add("both", 1, 60) for _ in range(20)])
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        said, complaints = other.communicate()
        self.assertEqual(other.returncode, 0, complaints.decode())
        total = len(answers) + 500
        self.assertEqual(await counters.read("both"), total)
        self.assertEqual(len({*answers, int(said)}), len(answers) + 1)

    async def test_windows(self) -> None:
        counters = await self.counters()
        self.assertEqual(await counters.add("fixed", 2, 1), 2)
        self.assertEqual(await counters.add("renewed", 1, 1, renew=True), 1)
        await deferLater(reactor, 0.6)  # type: ignore[arg-type]
        self.assertEqual(await counters.add("fixed", 1, 1), 3)
        self.assertEqual(await counters.add("renewed", 1, 1, renew=True), 2)
        await deferLater(reactor, 0.6)  # type: ignore[arg-type]
        self.assertEqual(await counters.read("fixed"), 0)
        self.assertEqual(await counters.read("renewed"), 2)
        await counters.clear("renewed")
        self.assertEqual(await counters.read("renewed"), 0)

    async def test_no_counter_is_immortal_and_none_is_readable(self) -> None:
        counters = await self.counters()
        await counters.add("login account alice@example.com", 1, 900)
        names = self.server.ask("KEYS", "*").split()
        self.assertTrue(names)
        for name in names:
            self.assertRegex(name, r"^mailsrv:[0-9a-f]{32}$")
            self.assertGreater(int(self.server.ask("PTTL", name)), 0)
            # as left behind by something that knows no end
            self.server.ask("PERSIST", name)
        await counters.add("login account alice@example.com", 1, 900)
        longest = max(int(self.server.ask("PTTL", name)) for name in names)
        self.assertTrue(800_000 < longest <= 900_000, longest)

    async def test_killed_in_the_middle_and_started_again(self) -> None:
        first, second = await self.counters(), await self.counters()
        for expected in (1, 2, 3):
            self.assertEqual(await first.add("a", 1, 60), expected)
        pending = [first.add("a", 1, 60) for _ in range(50)]
        self.server.kill()
        await gatherResults(pending)
        alone = [await first.add("a", 1, 60), await second.add("a", 1, 60)]
        self.assertEqual(alone, [54, 1])
        await until(lambda: not first.shared and not second.shared)
        self.server.start()
        await until(lambda: first.shared and second.shared)
        self.assertEqual([await first.add("a", 1, 60), await second.add("a", 1, 60)], [1, 2])

    async def test_stopped_server_costs_half_a_second_once(self) -> None:
        counters = await self.counters()
        self.server.signal(signal.SIGSTOP)
        began = time.monotonic()
        self.assertEqual(await gatherResults([counters.add("a", 1, 60) for _ in range(9)]),
                         list(range(1, 10)))  # fmt: skip
        self.assertLess(time.monotonic() - began, 4)
        began = time.monotonic()
        for _ in range(100):
            await counters.add("a", 1, 60)
        self.assertLess(time.monotonic() - began, 4)
        self.server.signal(signal.SIGCONT)
        await until(lambda: counters.shared)

    async def test_scripts_forgotten_by_the_server(self) -> None:
        counters = await self.counters()
        await counters.add("a", 1, 60)
        self.server.ask("SCRIPT", "FLUSH")
        self.assertEqual(await counters.add("a", 1, 60), 2)
        self.assertTrue(counters.shared)

    async def test_a_server_that_takes_no_writes_is_away(self) -> None:
        counters = await self.counters()
        self.server.ask("REPLICAOF", "127.0.0.1", "1")
        self.assertEqual(await counters.add("a", 1, 60), 1)
        self.assertEqual(await counters.add("a", 1, 60), 2)
        self.assertFalse(counters.shared)
        self.server.ask("REPLICAOF", "NO", "ONE")
        await until(lambda: counters.shared)

    async def test_password_database_and_tcp(self) -> None:
        port = free_port_base()
        server = redis.Server(password="s@crt", port=port)
        self.addCleanup(server.remove)
        server.start()
        plain = await self.counters(f"redis://:s%40crt@127.0.0.1:{port}/0")
        other = await self.counters(f"unix://default:s%40crt@{server.path}?db=5")
        self.assertEqual([await plain.add("a", 1, 60), await other.add("a", 1, 60)], [1, 1])
        self.assertEqual(server.ask("-n", "5", "DBSIZE"), "2")
        wrong: Any = make_counters(f"redis://:wrong@127.0.0.1:{port}/0", reactor)
        self.addCleanup(wrong.close)
        await deferLater(reactor, 0.3)  # type: ignore[arg-type]
        self.assertFalse(wrong.shared)
        self.assertEqual(await wrong.add("a", 1, 60), 1)

    async def test_failed_logins_at_two_machines(self) -> None:
        counters = await self.counters()
        here, there = Addresses(counters, 10, 2), Addresses(await self.counters(), 10, 2)
        delays = [
            await machine.failed("192.0.2.1", "alice@example.com")
            for machine in (here, there, here, there)
        ]
        self.assertEqual(delays, [2, 4, 8, 15])
        there.succeeded("192.0.2.1")
        while await counters.read("login network 192.0.2.1"):
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.assertEqual(await here.failed("192.0.2.1", "bob@example.com"), 2)
