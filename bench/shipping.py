"""What shipping of changes costs who stores mail: the same messages with and without it.

With it a thread beside captures the log every three seconds and uploads it to a folder on the same
disk. Rounds alternate, since the machine may have other work.
"""

import argparse
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.table import Table

from bench.corpus import messages
from mailsrv.backup.chains import restore_at
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.backup.shipping import Shipper
from mailsrv.backup.shipping_limits import ShippingLimits
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.durability import boot_id
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.mailbox.wal.keeper import LogKeepers

ALIAS = FILE = "a" * 24
KEY = FileKey(raw=os.urandom(32), salt=os.urandom(16))
EVERY_SECONDS = 3.0


def now() -> datetime:
    return datetime.now(UTC)


class Shipping:
    """A shipper of its own for the mailboxes of a folder."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder / "kept")
        self.keepers = LogKeepers(folder / "shipping", lambda: time.time_ns() // 10**6, boot_id())
        self.shipper = Shipper(
            keepers=self.keepers,
            mailbox=lambda file_id: folder / f"{file_id}.sqlite",
            alias_of=lambda _file: ALIAS,
            store_of=lambda _alias: self.store,
            now=now,
            seconds=time.monotonic,
            exclusive=lambda _name: nullcontext(),
            limits=ShippingLimits(),
        )

    @contextmanager
    def running(self, path: Path) -> Iterator[None]:
        ends = threading.Event()

        def ship() -> None:
            while not ends.wait(EVERY_SECONDS):
                self.shipper.ship(self.keepers.of(path))

        thread = threading.Thread(target=ship)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()


class Took(NamedTuple):
    """Seconds of one append, on the disk before the next, and of its thread's CPU."""

    seconds: float
    cpu: float


def store(folder: Path, count: int, *, shipped: bool) -> list[Took]:
    path = folder / f"{FILE}.sqlite"
    Mailbox.create(path, KEY, now).close()
    shipping = Shipping(folder) if shipped else None
    took: list[Took] = []
    with Mailbox.open(path, KEY, now, logs=shipping.keepers if shipping else None) as mailbox:
        if shipping is None:
            append(mailbox, count, took)
        else:
            if not shipping.shipper.make_base(shipping.keepers.of(path)):
                raise RuntimeError("no base was made")
            with shipping.running(path):
                append(mailbox, count, took)
    return took


def append(mailbox: Mailbox, count: int, took: list[Took]) -> None:
    for message in messages(count):
        begin, cpu = time.perf_counter(), time.thread_time()
        mailbox.append("INBOX", [NewMessage(message)])
        took.append(Took(time.perf_counter() - begin, time.thread_time() - cpu))


def restore_rate(folder: Path) -> tuple[float, float]:
    """MB of objects and MB a second, of the mailbox as it is now."""
    shipping = Shipping(folder)
    shipping.shipper.recover()
    for keeper in shipping.shipper.pending():
        shipping.shipper.ship(keeper)
    octets = sum(one.octets for one in shipping.store.list("mailboxes/")) / 1e6
    begin = time.perf_counter()
    restore_at(shipping.store, ALIAS, now(), folder / "restored.sqlite")
    return octets, octets / (time.perf_counter() - begin)


def run(options: argparse.Namespace) -> Table:
    count = min(options.messages, 3000)
    without: list[Took] = []
    with_it: list[Took] = []
    for _ in range(options.rounds):
        with TemporaryDirectory() as folder:
            without += store(Path(folder), count, shipped=False)
        with TemporaryDirectory() as folder:
            with_it += store(Path(folder), count, shipped=True)
            octets, rate = restore_rate(Path(folder))
    table = Table(title=f"{count} messages of 10 KB, appended one after the other")
    for heading in ("", "messages/s", "median", "p99", "slowest", "CPU each"):
        table.add_column(heading)
    for name, took in (("without shipping", without), ("with shipping", with_it)):
        seconds = sorted(one.seconds for one in took)
        table.add_row(
            name,
            f"{len(took) / sum(seconds):,.0f}",
            f"{statistics.median(seconds) * 1000:.2f} ms",
            f"{seconds[int(len(took) * 0.99)] * 1000:.1f} ms",
            f"{seconds[-1] * 1000:.0f} ms",
            f"{sum(one.cpu for one in took) / len(took) * 1e6:,.0f} µs",
        )
    table.caption = f"restored: {octets:,.0f} MB of base and changes, {rate:,.0f} MB/s"
    return table
