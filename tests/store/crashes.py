"""Kill a process at one line after another of what it does, then look at what is left.

``python -m tests.store.crashes SCENARIO BASE STRIDE`` forks a child for every STRIDE-th line
that runs in the scenario's modules, ends it there as kill -9 would (``os._exit`` runs no cleanup,
closes no database), and checks the data directory. Prints how many children died. Each round
goes on from what the one before has left.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from mailsrv.errors import AuthenticationFailed
from mailsrv.keys.vault import Vault
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DELETED,
    ExpungedQuery,
    FetchRequest,
    Flags,
    NewMessage,
    Section,
    StoreFlags,
)
from mailsrv.store.authentication import Authentication
from mailsrv.store.connections import Connections
from mailsrv.store.home import Home
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.merge import Merger
from mailsrv.store.orphans import remove_orphans
from mailsrv.store.receive import Receiver
from mailsrv.store.secret import ServerSecret
from mailsrv.store.usage import Usages
from mailsrv.store.values import Access, Delivery
from mailsrv.store.waiting import WaitingFiles
from tests.store.world import World, now

ADDRESS = "hello@example.com"
KILLED = 9

MODULES = {
    "change": (
        "mailsrv.store.changing",
        "mailsrv.store.lifecycle",
        "mailsrv.store.volume",
        "mailsrv.mailbox.rekey",
        "mailsrv.directory.mailboxes",
    ),
    "merge": ("mailsrv.store.merge", "mailsrv.store.waiting", "mailsrv.mailbox.waiting"),
    "deliver": (
        "mailsrv.store.receive",
        "mailsrv.store.waiting",
        "mailsrv.mailbox.waiting",
        "mailsrv.mailbox.mailbox",
    ),
    "undelete": (
        "mailsrv.mailbox.messages",
        "mailsrv.mailbox.recoverable",
        "mailsrv.mailbox.recovery",
        "mailsrv.mailbox.undelete",
        "mailsrv.mailbox.transaction",
    ),
}


class Scene:
    """The world between two crashes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        world = World(base)
        self.alias, self.password = world.mailbox(ADDRESS)
        world.directory.close()
        self.acknowledged: set[str] = set()
        self.attempted: set[str] = set()
        self.count = 0

    @contextmanager
    def world(self) -> Iterator[World]:
        # opened anew each time: a child must not share a connection with its parent
        world = World(self.base)
        try:
            yield world
        finally:
            world.directory.close()

    @contextmanager
    def mailbox(self, world: World, password: str) -> Iterator[Mailbox]:
        secret = ServerSecret(world.volume.server_key())
        opened = Authentication(world.directory, secret).with_password(ADDRESS, password, "imap")
        path = world.volume.mailbox(opened.mailbox)
        with Mailbox.open(path, opened.key, now, keep_expunged=timedelta(days=7)) as mailbox:
            yield mailbox

    def name(self) -> str:
        self.count += 1
        return f"message-{self.count}"

    def works(self, world: World, password: str) -> bool:
        try:
            with self.mailbox(world, password):
                return True
        except AuthenticationFailed:
            return False

    def check_mail(self, world: World) -> None:
        """Everything acknowledged is there, once; nothing that nobody sent."""
        with self.mailbox(world, self.password) as mailbox:
            self.merge(world, mailbox)
            mailbox.check()
            inbox = mailbox.select("INBOX", writable=False).folder
            page = mailbox.fetch(
                inbox.id, FetchRequest(uids=ALL_UIDS, sections=(Section(),), max_rows=100_000)
            )
        found = Counter(row[1].decode() for row in page.rows)
        assert not [one for one, times in found.items() if times > 1], "something is there twice"
        assert self.acknowledged <= set(found), f"lost {self.acknowledged - set(found)}"
        assert set(found) <= self.attempted, "something is there that nobody sent"

    def merge(self, world: World, mailbox: Mailbox) -> None:
        files = WaitingFiles(world.volume, ServerSecret(world.volume.server_key()))
        merger = Merger(files, 3, 1 << 20)
        while merger.merge_batch(mailbox, self.alias).more:
            pass


def receiver(world: World, vault: Vault) -> Receiver:
    files = WaitingFiles(world.volume, ServerSecret(world.volume.server_key()))
    connections = Connections(lambda: 0.0, now, most=4, idle_seconds=5)
    home = Home(world.directory, "primary")
    mailboxes = Mailboxes(home, world.volume, vault, connections)
    return Receiver(home, files, Usages(world.directory, files), mailboxes.of)


def deliver(world: World, scene: Scene, names: list[str], live: bool) -> None:
    vault, access = Vault(), None
    if live:
        secret = ServerSecret(world.volume.server_key())
        opened = Authentication(world.directory, secret).with_password(
            ADDRESS, scene.password, "imap"
        )
        access = Access(
            "s", scene.alias, ADDRESS, opened.mailbox, "c", vault.put(opened.key.pack())
        )
    deliveries = [Delivery(name.encode(), name, "2026-11-23T10:00:00Z") for name in names]
    outcomes = receiver(world, vault).receive(scene.alias, access, deliveries).outcomes
    assert all(hasattr(one, "where") for one in outcomes), outcomes


# One round of each scenario: what the child does, and what must hold afterwards.


def change_round(scene: Scene, run: Callable[[Callable[[World], Any]], bool]) -> bool:
    old, new = scene.password, f"a {scene.count} wholly unlikely thing {os.getpid()} to say"
    name = scene.name()
    scene.attempted.add(name)
    with scene.world() as world, scene.mailbox(world, old) as mailbox:
        mailbox.append("INBOX", [NewMessage(name.encode())], None)
    scene.acknowledged.add(name)
    died = run(lambda world: world.lifecycle.change_password(ADDRESS, old, new))
    with scene.world() as world:
        working = [one for one in (old, new) if scene.works(world, one)]
        assert len(working) == 1, f"{len(working)} passwords work"
        assert died or working == [new]
        scene.password = working[0]
        scene.check_mail(world)
        remove_orphans(world.directory, world.volume, lambda: now() + timedelta(hours=2))
        left = [one for one in world.files() if one.endswith((".sqlite", ".lock"))]
        assert len(left) == 1, left
        scene.check_mail(world)
    return died


def merge_round(scene: Scene, run: Callable[[Callable[[World], Any]], bool]) -> bool:
    names = [scene.name() for _ in range(5)]
    scene.attempted.update(names)
    with scene.world() as world:
        deliver(world, scene, names, live=False)
    scene.acknowledged.update(names)

    def work(world: World) -> None:
        with scene.mailbox(world, scene.password) as mailbox:
            scene.merge(world, mailbox)

    died = run(work)
    with scene.world() as world:
        scene.check_mail(world)
        assert not world.files("*.waiting.*"), world.files()
    return died


def deliver_round(scene: Scene, run: Callable[[Callable[[World], Any]], bool]) -> bool:
    names = [scene.name() for _ in range(3)]
    scene.attempted.update(names)
    live = scene.count % 2 == 0
    died = run(lambda world: deliver(world, scene, names, live))
    if not died:
        scene.acknowledged.update(names)
    with scene.world() as world:
        deliver(world, scene, names, live=not live)  # the sender tries again
        scene.acknowledged.update(names)
        scene.check_mail(world)
    return died


def undelete_round(scene: Scene, run: Callable[[Callable[[World], Any]], bool]) -> bool:
    names = [scene.name() for _ in range(3)]
    scene.attempted.update(names)
    deleted = [NewMessage(name.encode(), Flags(DELETED)) for name in names]
    with scene.world() as world, scene.mailbox(world, scene.password) as mailbox:
        inbox = mailbox.append("INBOX", deleted).folder_id
    scene.acknowledged.update(names)

    def work(world: World) -> None:
        with scene.mailbox(world, scene.password) as mailbox:
            mailbox.expunge(inbox, ALL_UIDS)
            mailbox.undelete(ExpungedQuery())

    died = run(work)
    with scene.world() as world:
        with scene.mailbox(world, scene.password) as mailbox:
            mailbox.undelete(ExpungedQuery())  # what the child had expunged and not put back
            assert mailbox.expunged().messages == []
            # what it had not expunged stays, or each round would have more to do than the last
            mailbox.store_flags(inbox, StoreFlags(ALL_UIDS, "remove", Flags(DELETED)))
        scene.check_mail(world)
    return died


ROUNDS = {
    "change": change_round,
    "merge": merge_round,
    "deliver": deliver_round,
    "undelete": undelete_round,
}


def forked(scene: Any, modules: tuple[str, ...], fatal: int) -> Callable[..., bool]:
    """Run in a child that dies at the ``fatal``-th line of these modules; whether it died."""

    def run(work: Callable[[World], Any]) -> bool:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with scene.world() as world:
                    die_at_line(modules, fatal)
                    work(world)
                    sys.settrace(None)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, KILLED), f"the child failed with {code} at line {fatal}"
        return code == KILLED

    return run


def die_at_line(modules: tuple[str, ...], fatal: int) -> None:
    """End this process at the ``fatal``-th line that runs in these modules from now on."""
    lines = 0

    def in_module(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines >= fatal:
                os._exit(KILLED)
        return in_module

    def tracer(frame: FrameType, _event: str, _: Any) -> Any:
        return in_module if frame.f_globals.get("__name__") in modules else None

    sys.settrace(tracer)


def main(scenario: str, base: str, stride: str) -> None:
    scene = Scene(Path(base))
    fatal, deaths = 1, 0
    while ROUNDS[scenario](scene, forked(scene, MODULES[scenario], fatal)):
        deaths += 1
        fatal += int(stride)
    print(deaths)


if __name__ == "__main__":
    main(*sys.argv[1:])
