"""Two primaries, a and b, over one directory, without a server around them: for tests of moves."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from mailsrv.directory.directory import Directory, MailboxRecord
from mailsrv.errors import MailboxBusy, Unavailable
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, FetchRequest, NewMessage, Section
from mailsrv.store.authentication import Authentication
from mailsrv.store.lifecycle import Lifecycle
from mailsrv.store.merge import Merger
from mailsrv.store.moving import Moves, Place
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles
from tests.store.world import now, open_directory

ADDRESS = "hello@example.com"


@attrs.define(eq=False)
class Hold:
    """A stand-in for ``IFrozen`` that runs everything at once."""

    holds: bool = True

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        if not self.holds:
            return fail(Unavailable("the hold on this mailbox has ended"))
        return maybeDeferred(function, *arguments)

    def thaw(self) -> Deferred[None]:
        self.holds = False
        return succeed(None)


@attrs.define(eq=False)
class Primary:
    """One volume and what a running process has in memory of it."""

    name: str
    directory: Directory
    base: Path
    volume: Volume = attrs.field(init=False)
    files: WaitingFiles = attrs.field(init=False)
    place: Place = attrs.field(init=False)
    holds: list[Hold] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.base.mkdir(exist_ok=True)
        self.volume = Volume(self.base)
        self.volume.prepare()
        self.restart()

    def restart(self) -> None:
        """What a new process begins with."""
        secret = ServerSecret(self.volume.server_key())
        self.files = WaitingFiles(self.volume, secret)
        self.place = Place(self.directory, self.volume, self.files, self.name)
        self.holds = []

    @property
    def frozen(self) -> bool:
        return any(hold.holds for hold in self.holds)

    def moves(self) -> Moves:
        return Moves(self.place, maybeDeferred, self._freeze)

    def _freeze(self, _alias: str, _patience: float) -> Deferred[Any]:
        if self.frozen:
            return fail(MailboxBusy("this mailbox is being moved already"))
        self.files.close_kept(0)
        self.holds.append(Hold())
        return succeed(self.holds[-1])

    def listing(self) -> list[str]:
        """Names of the files of mailboxes and waiting mail."""
        return sorted(path.name for path in self.volume.mailboxes.iterdir())


class TwoVolumes:
    """One alias whose mailbox is on a, some messages in it, some waiting for it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        base.mkdir(exist_ok=True)
        self.directory = open_directory(base)
        self.a = Primary("a", self.directory, base / "a")
        self.b = Primary("b", self.directory, base / "b")
        self.acknowledged: list[bytes] = []
        self.alias = self.password = ""
        self.key: FileKey | None = None

    def fill(self) -> "TwoVolumes":
        self.directory.add_domain("example.com")
        self.alias = self.directory.add_alias(ADDRESS, primary="a").id
        lifecycle = Lifecycle(self.directory, self.a.volume, now, "a")
        self.password = lifecycle.set_first_password(ADDRESS)
        secret = ServerSecret(self.a.volume.server_key())
        authentication = Authentication(self.directory, secret)
        self.key = authentication.with_password(ADDRESS, self.password, "imap").key
        for _ in range(3):
            self.append()
            self.wait()
        self.wait(aside=True)
        return self

    def copy(self, base: Path) -> "TwoVolumes":
        """The same on other paths; nothing may be open."""
        self.directory.close()
        self.a.files.close_kept(0)
        shutil.copytree(self.base, base)
        other = TwoVolumes(base)
        other.alias, other.password, other.key = self.alias, self.password, self.key
        other.acknowledged = list(self.acknowledged)
        return other

    @property
    def record(self) -> MailboxRecord:
        record = self.directory.mailbox(self.alias)
        assert record is not None
        return record

    @property
    def home(self) -> Primary:
        return {"a": self.a, "b": self.b}[self.record.primary]

    def open(self, file_id: str | None = None, at: Primary | None = None) -> Mailbox:
        assert self.key is not None
        path = (at or self.home).volume.mailbox(file_id or self.record.id)
        return Mailbox.open(path, self.key, now)

    def append(self) -> None:
        """A message that the owner stores."""
        name = b"message-%d" % len(self.acknowledged)
        with self.open() as mailbox:
            mailbox.append("INBOX", [NewMessage(name)], None)
        self.acknowledged.append(name)

    def wait(self, *, aside: bool = False) -> None:
        """A message that arrives while the owner is away."""
        name = b"waiting-%d" % len(self.acknowledged)
        key = self.record.public_key
        files = self.home.files
        delivery = Delivery(name, name.decode(), "2026-11-23T10:00:00Z")
        files.add(key, self.alias, [delivery])
        files.close_kept(0)
        if aside:
            with files.open(key) as waiting, files.open_aside(key) as other:
                other.add(waiting.rows([name.decode()]))
                waiting.remove([name.decode()])
        self.acknowledged.append(name)

    def merge(self, mailbox: Mailbox) -> None:
        """Bring in what waits, what was set aside too."""
        files, key = self.home.files, self.record.public_key
        if self.home.volume.set_aside(key).exists():
            with files.open(key) as waiting, files.open_aside(key) as other:
                waiting.add(other.batch(1000))
                other.remove([row.delivery_id for row in other.batch(1000)])
                other.delete_if_empty()
        merger = Merger(files, 100, 1 << 20)
        while merger.merge_batch(mailbox, self.alias).more:
            pass

    def check_mail(self) -> None:
        """What was acknowledged is there, once, in a file that is whole."""
        with self.open() as mailbox:
            self.merge(mailbox)
            mailbox.check()
            inbox = mailbox.select("INBOX", writable=False).folder
            page = mailbox.fetch(
                inbox.id, FetchRequest(uids=ALL_UIDS, sections=(Section(),), max_rows=100_000)
            )
        found = Counter(row[1] for row in page.rows)
        assert found == Counter(self.acknowledged), (found, self.acknowledged)
