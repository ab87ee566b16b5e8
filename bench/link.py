"""The store over a link, and beside it the same store in this process.

The link is a unix socket to a primary in a process of its own, as workers have it: "link" sends
every request there, "link and files" reads the files of that primary itself, as workers do.
``python -m bench.link`` is the front end's process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from rich.table import Table
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from bench import corpus
from mailsrv.service.far import FarStore
from mailsrv.settings import load
from mailsrv.store.interfaces import IStore
from mailsrv.store.limits import Limits
from mailsrv.store.values import (
    ALL_UIDS,
    Access,
    ColumnName,
    Delivery,
    FetchRequest,
    Flags,
    NewMessage,
    Section,
)
from tests.running import RunningServer
from tests.store.world import World
from tests.waiting import until

ADDRESS = "link@example.com"
MESSAGES = 1000
BATCH = 50
LARGE = 1 << 20
AT_ONCE = 16
STORES = ("here", "link", "link and files")


@attrs.define
class Session:
    """One store, with somebody logged in."""

    store: IStore
    access: Access
    inbox: int = 0
    large: int = 0
    """UID of a message of ``LARGE`` octets."""

    async def folders(self) -> None:
        await self.store.folders(self.access)

    async def rows(self, *columns: ColumnName) -> None:
        uid: int | None = 1
        while uid is not None:
            request = FetchRequest(((uid, ALL_UIDS[0][1]),), columns=columns)
            page = await self.store.fetch(self.access, self.inbox, request)
            uid = page.next_uid

    async def flags(self) -> None:
        await self.rows("flags", "modseq")

    async def envelopes(self) -> None:
        await self.rows("envelope", "bodystructure", "size")

    async def body(self) -> None:
        found = await self.store.read(self.access, self.inbox, self.large, Section())
        if found is None or len(found) < LARGE:
            raise RuntimeError("the large message is not there")

    async def append(self) -> None:
        await self.store.append(self.access, "Trash", [NewMessage(_message(), Flags())], None)

    async def deliver(self) -> None:
        name = os.urandom(12).hex()
        received = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self.store.deliver(self.access.alias, Delivery(_message(), name, received))

    async def fill(self) -> None:
        messages = corpus.messages(MESSAGES - 1)
        for start in range(0, MESSAGES, BATCH):
            new = [NewMessage(one, Flags()) for one in messages[start : start + BATCH]]
            await self.store.append(self.access, "INBOX", new, None)
        large = b"Subject: large\r\n\r\n" + os.urandom(LARGE)
        await self.store.append(self.access, "INBOX", [NewMessage(large, Flags())], None)

    async def find(self) -> None:
        selected = await self.store.select(self.access, "INBOX", True)
        self.inbox, self.large = selected.folder.id, selected.folder.uidnext - 1


def _message() -> bytes:
    return b"Subject: %s\r\n\r\n" % os.urandom(8).hex().encode() + b"x" * corpus.SIZE


TASKS: dict[str, tuple[Callable[[Session], Awaitable[None]], int]] = {
    "folders()": (Session.folders, 100),
    f"flags of {MESSAGES:,} messages": (Session.flags, 30),
    f"envelopes and structures of {MESSAGES:,}": (Session.envelopes, 20),
    "1 MiB body": (Session.body, 20),
    "append of 10 KB": (Session.append, 30),
    "delivery of 10 KB": (Session.deliver, 30),
}


async def one_by_one(task: Callable[[], Awaitable[None]], repeat: int) -> list[float]:
    """Seconds of each."""
    taken = []
    for _ in range(repeat):
        begin = time.perf_counter()
        await task()
        taken.append(time.perf_counter() - begin)
    return taken


async def together(task: Callable[[], Awaitable[None]], repeat: int) -> float:
    """How many a second, of ``AT_ONCE`` at a time."""

    async def some() -> None:
        for _ in range(max(1, repeat // AT_ONCE)):
            await task()

    begin = time.perf_counter()
    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_ONCE)])
    return max(1, repeat // AT_ONCE) * AT_ONCE / (time.perf_counter() - begin)


async def measure(sessions: dict[str, Session], rounds: int) -> dict[str, dict[str, list[float]]]:
    """For each task and store the median seconds of one, and how many a second together."""
    found: dict[str, dict[str, list[float]]] = {}
    for what, (task, repeat) in TASKS.items():
        alone: dict[str, list[float]] = {name: [] for name in sessions}
        crowd: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, session in sessions.items():
                once = partial(task, session)
                alone[name] += await one_by_one(once, repeat)
                crowd[name].append(await together(once, repeat * 4))
        found[what] = {
            name: [statistics.median(alone[name]), statistics.median(crowd[name])]
            for name in sessions
        }
    return found


async def front_end(reactor: Any, order: dict[str, Any]) -> None:
    """Everything that happens in the process of the front end."""
    world = World(Path(order["folder"]), Limits())
    _, password = world.mailbox(ADDRESS)
    settings = load(Path(order["config"]))
    far = [
        FarStore(settings, f"bench.{near:d}", reactor, reads_files=near) for near in (False, True)
    ]
    for one in far:
        one.startService()
    await until(lambda: not any(one.missing() for one in far), 30.0)
    stores = dict(zip(STORES, [world.store(), *(one.store for one in far)], strict=True))
    sessions = {
        name: Session(
            store,
            await store.login(
                ADDRESS, password if name == "here" else order["password"], "imap", None
            ),
        )
        for name, store in stores.items()
    }
    await sessions["here"].fill()
    await sessions["link"].fill()
    for session in sessions.values():
        await session.find()
    print(json.dumps(await measure(sessions, order["rounds"])))
    for one in far:
        await one.stopService()
    await world.end()


def run(options: argparse.Namespace) -> Table:
    """Measure, and answer the table of it."""
    server = RunningServer("workers = 1")
    try:
        password = server.add(ADDRESS)
        server.start()
        server.await_ready()
        order = {
            "folder": str(server.root / "here"),
            "config": str(server.config),
            "password": password,
            "rounds": options.rounds,
        }
        done = subprocess.run(
            [sys.executable, "-m", "bench.link"],
            input=json.dumps(order),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
        )
    finally:
        server.stop()
    return _table(json.loads(done.stdout))


def _table(found: dict[str, dict[str, list[float]]]) -> Table:
    table = Table(f"a store, one and {AT_ONCE} at once", *STORES, "link to here", box=None)
    for what, stores in found.items():
        alone, crowd = ([stores[name][at] for name in STORES] for at in (0, 1))
        table.add_row(
            what,
            *(f"{one * 1e3:.2f} ms, {many:,.0f}/s" for one, many in zip(alone, crowd, strict=True)),
            f"{alone[1] / alone[0]:.2f} of the time, {crowd[1] / crowd[0]:.2f} of the rate",
        )
    return table


if __name__ == "__main__":
    ordered = json.loads(sys.stdin.readline())
    react(lambda reactor: Deferred.fromCoroutine(front_end(reactor, ordered)))
