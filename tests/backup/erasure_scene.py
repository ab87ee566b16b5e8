"""An alias of which there is something everywhere, and another one that must stay as it is.

``python -m tests.backup.erasure_scene BASE STRIDE`` erases copies of it in children that end, as by
kill -9, at every STRIDE-th line that runs in the modules concerned, has what was begun finished,
and checks what is left. Prints how many children died.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailsrv.backup.erasing import Erased, Erasing
from mailsrv.backup.interfaces import StoredObject
from mailsrv.backup.layout import copies_of, logs_of
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.directory.directory import Erasure
from mailsrv.errors import BackupStoreFailed
from mailsrv.keys.vault import Vault
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from mailsrv.store.waiting import WaitingFiles
from tests.store.crashes import KILLED, die_at_line, receiver
from tests.store.world import World, now

ADDRESS, OTHER = "hello@example.com", "other@example.com"
MODULES = (
    "mailsrv.backup.erasing",
    "mailsrv.directory.erasures",
    "mailsrv.directory.mailboxes",
    "mailsrv.store.volume",
    "mailsrv.store.waiting",
    "mailsrv.backup.objects.folder",
)


def waiting_files(world: World) -> WaitingFiles:
    return WaitingFiles(world.volume, ServerSecret(world.volume.server_key()))


def traces(base: Path, names: list[str]) -> list[str]:
    """Paths that have one of these names in them, or in their content."""
    found: list[str] = []
    for path in base.rglob("*"):
        where, content = str(path.relative_to(base)), b""
        with suppress(FileNotFoundError):  # a server at work may take one away meanwhile
            content = path.read_bytes() if path.is_file() else b""
        found += [where for one in names if one in where or one.encode() in content]
    return found


class UnwillingStore(FolderStore):
    """``refuses`` are names of methods that fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.name = root.name
        self.refuses: set[str] = set()

    def __str__(self) -> str:
        return self.name

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._check("list")
        return super().list(prefix)

    def remove(self, names: Iterable[str]) -> int:
        self._check("remove")
        return super().remove(names)

    def _check(self, method: str) -> None:
        if method in self.refuses:
            raise BackupStoreFailed(f"{self}: refuses to {method}")


class Scene:
    """A data directory at ``base``, with a bucket and a folder of backups in it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.bucket = UnwillingStore(base / "bucket")
        self.folder = UnwillingStore(base / "backups")

    @contextmanager
    def world(self) -> Iterator[World]:
        # opened anew each time: a child must not share a connection with its parent
        world = World(self.base)
        try:
            yield world
        finally:
            world.directory.close()

    def make(self) -> None:
        """Two aliases, each with all that an alias can have."""
        with self.world() as world:
            for address in (ADDRESS, OTHER):
                alias, _ = world.mailbox(address)
                self._deliver(world, alias, "old 1", "old 2")
                world.lifecycle.start_over(address)
                self._deliver(world, alias, "new")
                self._set_aside(world, alias)
                self._back_up(world, alias)

    def ids(self, world: World, address: str) -> list[str]:
        """Of an alias, its files, and its waiting mail."""
        alias = world.directory.alias(address).id
        current = world.directory.mailbox(alias)
        assert current is not None
        records = [current, *world.directory.archived_mailboxes(alias)]
        waiting = [world.volume.waiting(one.public_key).name[:24] for one in records]
        return [alias, *(one.id for one in records), *waiting]

    def files_of(self, ids: list[str]) -> dict[str, bytes]:
        """All files in whose paths one of these ids is."""
        return {
            str(path.relative_to(self.base)): path.read_bytes()
            for path in self.base.rglob("*")
            if path.is_file() and any(one in str(path.relative_to(self.base)) for one in ids)
        }

    def erasing(self, world: World, primary: str = "primary") -> Erasing:
        return Erasing(
            world.directory, world.volume, waiting_files(world), self.stores, now, primary
        )

    def stores(self, erasure: Erasure) -> list["UnwillingStore"]:
        assert erasure.address == ADDRESS
        assert erasure.domain_id
        return [self.bucket, self.folder]

    def erase(self, world: World) -> Erased:
        alias = world.directory.alias(ADDRESS).id
        return self.erasing(world).erase_now(alias, 0)

    def finish(self, world: World) -> None:
        """What the server does after a start."""
        for erasure in world.directory.erasures("primary"):
            erased = self.erasing(world).resume(erasure, 0)
            assert erased is None or erased.finished, erased
        if ADDRESS in {one.address for one in world.directory.aliases()}:
            assert self.erase(world).finished

    def _deliver(self, world: World, alias: str, *names: str) -> None:
        deliveries = [Delivery(one.encode(), one, "2026-11-23T10:00:00Z") for one in names]
        receiving = receiver(world, Vault())
        receiving.receive(alias, None, deliveries)
        receiving._files.close_kept(0)

    def _set_aside(self, world: World, alias: str) -> None:
        record = world.directory.mailbox(alias)
        assert record is not None
        with waiting_files(world).open_aside(record.public_key) as aside:
            aside.add([("aside", b"sealed", "2026-11-23T10:00:00Z", 6)])

    def _back_up(self, world: World, alias: str) -> None:
        for record in world.directory.mailbox_files(alias):
            spool = world.volume.base / "shipping" / record.id
            spool.mkdir(parents=True)
            (spool / "0000000001.frames").write_bytes(b"frames")
            for store in (self.bucket, self.folder):
                stem = f"{copies_of(alias)}20261123T101500Z-{record.id}"
                store.write(f"{stem}.sqlite", b"copy")
                store.write(f"{stem}.json", b"{}")
        chain = f"{logs_of(alias)}{record.id}/20261123T101500Z-1a2b3c4d"
        for name in ("base.sqlite", "base.json", "0000000001.frames"):
            self.folder.write(f"{chain}/{name}", b"chain")


def _dies(scene: Scene, fatal: int) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with scene.world() as world:
                die_at_line(MODULES, fatal)
                scene.erase(world)
                sys.settrace(None)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), f"the child failed with {code} at line {fatal}"
    return code == KILLED


def main(base: str, stride: str) -> None:
    model = Scene(Path(base) / "model")
    model.base.mkdir(parents=True)
    model.make()
    with model.world() as world:
        gone, kept = model.ids(world, ADDRESS), model.ids(world, OTHER)
    before = model.files_of(kept)
    fatal, deaths = 1, 0
    while True:
        scene = Scene(Path(base) / str(fatal))
        shutil.copytree(model.base, scene.base)
        died = _dies(scene, fatal)
        with scene.world() as world:
            scene.finish(world)
            assert scene.ids(world, OTHER) == kept
        left = traces(scene.base, [*gone, ADDRESS])
        assert not left, f"killed at line {fatal}: {left}"
        assert scene.files_of(kept) == before, f"killed at line {fatal}: another alias suffered"
        if not died:
            break
        deaths += 1
        fatal += int(stride)
        shutil.rmtree(scene.base)
    print(deaths)


if __name__ == "__main__":
    main(*sys.argv[1:])
