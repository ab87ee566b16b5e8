"""A small world for tests: a directory, a volume, a store over both, all real."""

import contextlib
import shutil
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.python.threadpool import ThreadPool

from mailsrv.directory.directory import Directory
from mailsrv.errors import AlreadyExists
from mailsrv.keys.vault import Vault
from mailsrv.store.lifecycle import Lifecycle
from mailsrv.store.limits import Limits
from mailsrv.store.local import LocalStore
from mailsrv.store.volume import Volume


def now() -> datetime:
    return datetime.now(UTC)


@cache
def _empty_directory() -> bytes:
    """A migrated directory without a row: migrating takes longer than most tests."""
    with TemporaryDirectory() as folder:
        directory = Directory(f"sqlite:///{folder}/directory.sqlite", now)
        directory.migrate()
        directory.close()
        return (Path(folder) / "directory.sqlite").read_bytes()


def open_directory(base: Path) -> Directory:
    path = base / "directory.sqlite"
    if not path.exists():
        path.write_bytes(_empty_directory())
    return Directory(f"sqlite:///{path}", now)


@attrs.define
class World:
    """One data directory. ``limits`` are short, so that nothing in a test waits for long."""

    base: Path
    limits: Limits = attrs.field(
        factory=lambda: Limits(
            poll_seconds=0.05, index_delay=0.01, avoid_seconds=0.2, undelete_days=7.0
        )
    )
    directory: Directory = attrs.field(init=False)
    volume: Volume = attrs.field(init=False)
    lifecycle: Lifecycle = attrs.field(init=False)
    stores: list[LocalStore] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.base.mkdir(exist_ok=True)
        self.directory = open_directory(self.base)
        self.volume = Volume(self.base)
        self.lifecycle = Lifecycle(self.directory, self.volume, now)

    def store(self, the_reactor: Any = reactor, name: str = "primary") -> LocalStore:
        """A started store. Close it before another one starts."""
        store = LocalStore(
            self.directory,
            self.volume,
            Vault(),
            the_reactor,
            ThreadPool(1, 8, name="mailboxes"),
            now,
            self.limits,
            name,
        )
        store.start()
        self.stores.append(store)
        return store

    def alias(self, address: str, quota: int | None = None) -> str:
        """A new alias without a password; answers its id."""
        with contextlib.suppress(AlreadyExists):
            self.directory.add_domain(address.rpartition("@")[2])
        return self.directory.add_alias(address, quota=quota).id

    def mailbox(self, address: str, quota: int | None = None) -> tuple[str, str]:
        """A new alias with a mailbox: its id and its password."""
        alias = self.alias(address, quota)
        return alias, self.lifecycle.set_first_password(address)

    def files(self, pattern: str = "*") -> list[str]:
        """Names in the folder of the mailboxes."""
        return sorted(path.name for path in self.volume.mailboxes.glob(pattern))

    async def end(self) -> None:
        """Close what is open."""
        for store in self.stores:
            await store.close()
        self.directory.close()
        shutil.rmtree(self.base)
