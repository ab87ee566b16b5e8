"""Kill a restore at one line after another of what it does, then look at what is left.

``python -m tests.backup.restore_crashes SCENARIO BASE STRIDE``, as ``tests.store.crashes``.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailsrv.backup.machine import Machine
from mailsrv.backup.restore import Restore
from mailsrv.backup.restore_sources import Backups, FromStore
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Authentication
from mailsrv.store.orphans import remove_orphans
from mailsrv.store.restored import settle
from mailsrv.store.secret import ServerSecret
from tests.backup.world import ADDRESS, Keeping
from tests.store.crashes import forked
from tests.store.world import World, now

MODULES = (
    "mailsrv.backup.restore",
    "mailsrv.backup.machine",
    "mailsrv.backup.restore_sources",
    "mailsrv.backup.copies",
    "mailsrv.store.changing",
    "mailsrv.store.merge",
    "mailsrv.store.restored",
    "mailsrv.store.volume",
    "mailsrv.mailbox.rekey",
    "mailsrv.mailbox.restored",
    "mailsrv.directory.mailboxes",
    "mailsrv.directory.restores",
)

Run = Callable[[Callable[[World], Any]], bool]


class Scene:
    """A mailbox with a backup of an earlier password and key pair, and one of today's."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.rounds = 0
        with self.keeping() as keeping:
            self.alias, self.old = keeping.world.mailbox(ADDRESS)
            keeping.append(ADDRESS, self.old, "old")
            keeping.back_up(ADDRESS, self.old)
            self.password = keeping.world.lifecycle.start_over(ADDRESS)
            keeping.append(ADDRESS, self.password, "new")
            keeping.back_up(ADDRESS, self.password, now() + timedelta(days=1))

    @contextmanager
    def keeping(self) -> Iterator[Keeping]:
        # opened anew each time: a child must not share a connection with its parent
        keeping = Keeping(self.base)
        try:
            yield keeping
        finally:
            keeping.world.directory.close()

    @contextmanager
    def world(self) -> Iterator[World]:
        with self.keeping() as keeping:
            yield keeping.world

    def uidvalidity(self, keeping: Keeping) -> int:
        return keeping.uidvalidities(ADDRESS, self.password)["INBOX"]

    def check_files(self, keeping: Keeping) -> int:
        """After a later start only files that the directory knows are left; how many."""
        world = keeping.world
        remove_orphans(world.directory, world.volume, lambda: now() + timedelta(hours=2))
        left = set(world.files())
        known = {f"{one.id}.sqlite" for one in world.directory.mailbox_files(self.alias)}
        assert left <= known, left - known
        return len(left)


def restore_round(scene: Scene, run: Run) -> bool:
    """By its owner, while mail waits: the old mailbox or the restored one, and what waits."""
    scene.rounds += 1
    mark = f"waits {scene.rounds}"
    with scene.keeping() as keeping:
        before = keeping.read(ADDRESS, scene.password)
        files = scene.check_files(keeping)
        number = scene.uidvalidity(keeping)
        keeping.wait(ADDRESS, keeping.opened(ADDRESS, scene.password).public_key, mark)
        store = keeping.store

    def work(world: World) -> None:
        source = FromStore(Backups.of([store], scene.alias, now()))
        restorer = Restore(world.directory, world.volume, now)
        restorer.restore(ADDRESS, source, scene.old, lambda: scene.password)

    died = run(work)
    with scene.keeping() as keeping:
        restored = scene.uidvalidity(keeping) != number
        assert died or restored
        found = keeping.read(ADDRESS, scene.password)
        assert found == (["old", mark] if restored else [*before, mark]), found
        assert scene.check_files(keeping) == files + restored
        assert keeping.read(ADDRESS, scene.password) == found
    return died


def machine_round(scene: Scene, run: Run) -> bool:
    """The file is lost; it is put back, and its owner logs in; both again where it was killed."""
    with scene.keeping() as keeping:
        number = scene.uidvalidity(keeping)
        shutil.rmtree(keeping.folder)  # what is listed must not grow from round to round
        lost = keeping.back_up(ADDRESS, scene.password).mailbox
        keeping.world.volume.remove_mailbox(lost)
        store = keeping.store

    def work(world: World) -> None:
        machine = Machine(world.directory, world.volume, now, lambda _: [store])
        outcome = machine.restore(world.directory.alias(ADDRESS))
        assert outcome.state in ("restored", "here"), outcome
        secret = ServerSecret(world.volume.server_key())
        authentication = Authentication(world.directory, secret)
        opened = authentication.with_password(ADDRESS, scene.password, "imap")
        with Mailbox.open(world.volume.mailbox(opened.mailbox), opened.key, now) as mailbox:
            settle(world.directory, opened, mailbox)

    died = run(work)
    with scene.world() as world:
        work(world)
    with scene.keeping() as keeping:
        assert scene.uidvalidity(keeping) > number
        assert keeping.read(ADDRESS, scene.password) == ["new"]
        record = keeping.world.directory.mailbox(scene.alias)
        assert record is not None
        assert record.restored is None
        assert scene.check_files(keeping) == 2  # with the one that was started over
    return died


ROUNDS = {"restore": restore_round, "machine": machine_round}


def main(scenario: str, base: str, stride: str) -> None:
    scene = Scene(Path(base))
    fatal, deaths = 1, 0
    while ROUNDS[scenario](scene, forked(scene, MODULES, fatal)):
        deaths += 1
        fatal += int(stride)
    print(deaths)


if __name__ == "__main__":
    main(*sys.argv[1:])
