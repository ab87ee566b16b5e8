"""A small world with a store of backups, and copies as the daily backup makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.copies import put_copy
from mailsrv.backup.layout import CopyManifest, iso
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.snapshot import take
from mailsrv.mailbox.values import ALL_UIDS, FetchRequest, NewMessage, Section
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.merge import Merger
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from mailsrv.store.waiting import WaitingFiles
from tests.store.world import World, now

ADDRESS = "hello@example.com"
CHOSEN = "seven quiet herons cross the marsh"


class Keeping:
    """A data directory, and a folder beside it where backups are kept."""

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self.world = World(base / "data")
        self.folder = base / "backups"
        self.store = FolderStore(self.folder)

    @property
    def files(self) -> WaitingFiles:
        return WaitingFiles(self.world.volume, ServerSecret(self.world.volume.server_key()))

    def opened(self, address: str, password: str, scope: str | None = "imap") -> Opened:
        secret = ServerSecret(self.world.volume.server_key())
        return Authentication(self.world.directory, secret).with_password(address, password, scope)

    @contextmanager
    def mailbox(self, address: str, password: str) -> Iterator[Mailbox]:
        opened = self.opened(address, password)
        with Mailbox.open(self.world.volume.mailbox(opened.mailbox), opened.key, now) as mailbox:
            yield mailbox

    def append(self, address: str, password: str, *texts: str, folder: str = "INBOX") -> None:
        with self.mailbox(address, password) as mailbox:
            mailbox.append(folder, [NewMessage(text.encode()) for text in texts], None)

    def wait(self, address: str, public_key: bytes, *texts: str) -> None:
        """Let messages wait for the pair of this key."""
        alias = self.world.directory.alias(address).id
        received = "2026-11-23T10:00:00Z"
        self.files.add(
            public_key, alias, [Delivery(text.encode(), text, received) for text in texts]
        )

    def read(self, address: str, password: str, folder: str = "INBOX") -> list[str]:
        """What the owner finds after logging in: what waits is merged first."""
        alias = self.world.directory.alias(address).id
        with self.mailbox(address, password) as mailbox:
            merger = Merger(self.files, 100, 1 << 20)
            while merger.merge_batch(mailbox, alias).more:
                pass
            mailbox.check()
            return contents(mailbox, folder)

    def uidvalidities(self, address: str, password: str) -> dict[str, int]:
        with self.mailbox(address, password) as mailbox:
            return {one.name: one.uidvalidity for one in mailbox.folders()}

    def back_up(self, address: str, password: str, taken: datetime | None = None) -> CopyManifest:
        """A copy in the store."""
        opened = self.opened(address, password)
        path = self.folder.parent / "copy.sqlite"
        with self.mailbox(address, password) as mailbox:
            snapshot = take(mailbox, opened.key, path)
        manifest = CopyManifest(
            alias=opened.alias,
            mailbox=opened.mailbox,
            taken=iso(taken or now()),
            octets=snapshot.octets,
            sha256=snapshot.sha256.hex(),
            digest=snapshot.digest.hex(),
            messages=snapshot.messages,
        )
        put_copy(self.store, path, manifest)
        path.unlink()
        return manifest


def contents(mailbox: Mailbox, folder: str = "INBOX") -> list[str]:
    """The octets of all messages, in the order of their UIDs."""
    selected = mailbox.select(folder, writable=False).folder
    request = FetchRequest(uids=ALL_UIDS, sections=(Section(),), max_rows=10_000)
    return [row[1].decode() for row in mailbox.fetch(selected.id, request).rows]


class KeepingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.keeping = Keeping(Path(self.mktemp()).absolute())
        self.world = self.keeping.world
        self.addCleanup(self.world.directory.close)
        self.alias, self.password = self.world.mailbox(ADDRESS)
        self.keeping.append(ADDRESS, self.password, "one", "two")

    def current(self) -> str:
        record = self.world.directory.mailbox(self.alias)
        assert record is not None
        return record.id

    def read(self, password: str | None = None) -> list[str]:
        return self.keeping.read(ADDRESS, password or self.password)
