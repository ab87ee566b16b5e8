"""A mailbox whose log is shipped, what it was at every instant, and what may happen to it."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path

import apsw

from mailsrv.backup.chains import RestoredLog, restore_at
from mailsrv.backup.shipping import Shipper
from mailsrv.backup.shipping_limits import ShippingLimits
from mailsrv.errors import MailsrvError
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, Flags, NewMessage, Section, StoreFlags
from mailsrv.mailbox.wal import frames
from mailsrv.mailbox.wal.keeper import LogKeeper, LogKeepers
from tests.backup.kept import Kept
from tests.mailbox.support import fetch_all, message, new_key

ALIAS = "aaaaaaaaaaaaaaaaaaaaaaaa"
FILE = "353a03f21e534321f5d6e267"
NAMES = ["INBOX", "INBOX", "Archive", "a", "a/b"]

State = dict[str, object]


def content_of(mailbox: Mailbox, *, modseqs: bool = True) -> State:
    """All that a client can see."""
    columns = ("flags", "keywords", "internal_date", "size", *(["modseq"] if modseqs else []))
    found: State = {}
    for folder in mailbox.folders():
        rows = fetch_all(mailbox, folder.id, columns)
        contents = [mailbox.read(folder.id, row[0], Section()) for row in rows]
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        found[folder.name] = (folder.uidvalidity, folder.uidnext, rows, digests)
    return found


def fixed_key() -> FileKey:
    """For several processes."""
    return FileKey(raw=bytes(range(32)), salt=bytes(range(16)))


class Ticks:
    """Milliseconds that pass when told to."""

    def __init__(self) -> None:
        self.milliseconds = 1_795_428_900_000

    def __call__(self) -> int:
        return self.milliseconds

    def moment(self, milliseconds: int | None = None) -> datetime:
        at = self.milliseconds if milliseconds is None else milliseconds
        return datetime.fromtimestamp(at / 1000, UTC)


class Shipped:
    """One mailbox file in ``folder/mailboxes``, shipped to ``folder/kept``.

    ``history`` tells what it was from which millisecond on.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        limits: ShippingLimits | None = None,
        key: FileKey | None = None,
    ) -> None:
        self.folder = folder
        self.dice = random.Random(seed)
        self.ticks = Ticks()
        self.key = key or new_key()
        self.limits = limits or ShippingLimits()
        self.store: Kept = Kept(folder / "kept")
        self.alias: str | None = ALIAS
        self.history: list[tuple[int, State]] = []
        self.boxes: list[Mailbox] = []
        self.messages = 0
        self.restores = 0
        self._copied: dict[bytes, int] = {}
        self.boot = "first"
        self.modseqs = True
        """Whether they are compared: the first open after a power cut raises them."""

        self._begin(folder / "volume-0")
        if not self.path.exists():
            Mailbox.create(self.path, self.key, self.ticks.moment).close()
            self.record_of_unkept()

    def _begin(self, volume: Path) -> None:
        """Another process on this volume."""
        self.volume = volume
        volume.mkdir(exist_ok=True)
        self.path = volume / f"{FILE}.sqlite"
        self.keepers = LogKeepers(volume / "shipping", self.ticks, self.boot)
        self.shipper = Shipper(
            keepers=self.keepers,
            mailbox=lambda file_id: volume / f"{file_id}.sqlite",
            alias_of=lambda _file: self.alias,
            store_of=lambda _alias: self.store,
            now=self.ticks.moment,
            seconds=lambda: self.ticks.milliseconds / 1000,
            exclusive=lambda _name: nullcontext(),
            limits=self.limits,
        )
        self.shipper.recover()

    # What is done to it

    @property
    def keeper(self) -> LogKeeper:
        return self.keepers.of(self.path)

    @property
    def box(self) -> Mailbox:
        """A connection; one is opened when there is none."""
        if not self.boxes:
            self.open()
        return self.dice.choice(self.boxes)

    def open(self) -> Mailbox:
        box = Mailbox.open(
            self.path, self.key, self.ticks.moment, boot=self.boot, logs=self.keepers
        )
        self.boxes.append(box)
        return box

    def close(self) -> None:
        while self.boxes:
            self.boxes.pop().close()

    def close_one(self) -> None:
        if self.boxes:
            self.boxes.pop(self.dice.randrange(len(self.boxes))).close()

    def record(self, box: Mailbox | None = None) -> None:
        self.history.append(
            (self.ticks.milliseconds, content_of(box or self.box, modseqs=self.modseqs))
        )
        self.ticks.milliseconds += self.dice.randrange(1, 2000)

    def record_of_unkept(self) -> None:
        with Mailbox.open(self.path, self.key, self.ticks.moment, boot=self.boot) as box:
            self.record(box)

    def write(self, box: Mailbox | None = None) -> None:
        """Something at random."""
        box = box or self.box
        kinds: list[Callable[[Mailbox], None]] = [
            *(self.append, self.append, self.flag, self.expunge, self.move),
            *(self.create_folder, self.delete_folder),
        ]
        try:
            self.dice.choice(kinds)(box)
        except MailsrvError:
            return
        self.record(box)

    def append(self, box: Mailbox, octets: int | None = None) -> None:
        size = self.dice.choice([10, 3000, 40_000]) if octets is None else octets
        self.messages += 1
        body = self.dice.randbytes(size // 2).hex()
        new = NewMessage(message(self.messages, body), Flags(self.dice.randrange(2)))
        box.append(self.dice.choice(NAMES[:3]), [new])

    def flag(self, box: Mailbox) -> None:
        change = StoreFlags(self._uids(), "add", Flags(self.dice.randrange(32), "work"))
        box.store_flags(self._folder(box), change)

    def expunge(self, box: Mailbox) -> None:
        uids, folder = self._uids(), self._folder(box)
        box.store_flags(folder, StoreFlags(uids, "add", Flags(8)))
        self.record(box)
        box.expunge(folder, uids)

    def move(self, box: Mailbox) -> None:
        box.move(self._folder(box), self._uids(), self.dice.choice(NAMES))

    def create_folder(self, box: Mailbox) -> None:
        box.create_folder(self.dice.choice(NAMES[3:]))

    def delete_folder(self, box: Mailbox) -> None:
        box.delete_folder(self.dice.choice(NAMES[3:]))

    def give_up_a_write(self) -> None:
        """One that is rolled back, after some of it has got into the log."""
        with suppress(ZeroDivisionError), self.box.writing() as writer:
            writer.connection.execute("UPDATE folder SET uidnext = uidnext + 1000")
            writer.connection.execute("CREATE TABLE too_much (x)")
            for _ in range(self.dice.choice([1, 700])):
                writer.connection.execute("INSERT INTO too_much VALUES (zeroblob(4000))")
            _ = 1 / 0

    def copy_log(self) -> None:
        """As who makes a daily backup."""
        self.box.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def copied(self) -> int:
        """Frames of the log that are in the main file, and so on the disk, or were once."""
        with Path(f"{self.path}-wal").open("rb") as log:
            header = log.read(frames.HEADER)
        noop = self.boxes[0].connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        self._copied[header] = max(noop[1], self._copied.get(header, 0))
        return self._copied[header]

    def kill(self, lose: Callable[[Path], None] = lambda _volume: None) -> None:
        """Go on as another process that finds what this one leaves when it is killed now."""
        volume = self.volume.with_name(f"volume-{int(self.volume.name.split('-')[1]) + 1}")
        shutil.copytree(self.volume, volume)
        if self.boxes:
            self.copied()  # the next process does not know
        lose(volume)
        self.close()
        shutil.rmtree(self.volume)
        self._begin(volume)

    def ship(self) -> None:
        for keeper in self.shipper.pending():
            self.shipper.ship(keeper)

    def make_base(self) -> bool:
        return self.shipper.make_base(self.keeper)

    @property
    def problems(self) -> list[str]:
        """What the operator hears of now."""
        return [sentence for _, sentence in self.shipper.troubles()]

    def _folder(self, box: Mailbox) -> int:
        return self.dice.choice(box.folders()).id

    def _uids(self) -> tuple[tuple[int, int], ...]:
        first = self.dice.randrange(1, 8)
        return self.dice.choice([ALL_UIDS, ((first, first),), ((first, first + 3),)])

    # What comes back

    def at(self, milliseconds: int) -> State:
        """The model."""
        return next(state for since, state in reversed(self.history) if since <= milliseconds)

    def restore(self, milliseconds: int) -> tuple[RestoredLog, State]:
        self.restores += 1
        target = self.folder / f"restored-{self.restores}.sqlite"
        restored = restore_at(self.store, ALIAS, self.ticks.moment(milliseconds), target)
        try:
            with Mailbox.open(target, self.key, self.ticks.moment, boot=self.boot) as box:
                box.check()
                return restored, content_of(box, modseqs=self.modseqs)
        finally:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{target}{suffix}").unlink(missing_ok=True)
            assert not os.path.exists(f"{target}.part")

    def end(self) -> None:
        self.close()
        self.keeper.spool.let_go()
