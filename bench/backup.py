"""Backups and restores of mailboxes of several sizes, and what others notice meanwhile.

Each step runs in a process of its own, whose peak memory is told. Beside the copy stand what a
plain ``cp`` of the same file takes, with the wait for the disk, and ``VACUUM INTO`` by the library
alone, without the check.
"""

import argparse
import base64
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from bench import corpus, raw
from bench.clients import ImapClient
from mailsrv.backup.copies import fetch_copy, list_copies, put_copy
from mailsrv.backup.layout import CopyManifest, iso
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.keys.filekey import FileKey, derive_file_key
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.restored import renumber_once
from mailsrv.mailbox.values import NewMessage
from tests.running import RunningServer

MB = 1_000_000
ADDRESS = "bench@example.com"
PASSWORD = "a passphrase for measuring"
ID = "353a03f21e534321f5d6e267"
ATTACHMENT = 300_000
"""Octets of the attachment that every tenth message has."""

ENOUGH = 5000
"""Answers that are measured while nothing is copied."""

FETCH = "FETCH 1:20 (FLAGS ENVELOPE)"


def now() -> datetime:
    return datetime.now(UTC)


def fill(mailbox: Mailbox, size: int) -> None:
    """Append messages of 10 KB, every tenth with an attachment, up to about ``size`` octets."""
    dice = random.Random(2)
    texts = corpus.messages(200)
    stored = number = 0
    while stored < size:
        batch = []
        for _ in range(100):
            message = texts[number % len(texts)] + b"%d\r\n" % number
            if number % 10 == 0:
                message = _with_attachment(message, dice.randbytes(ATTACHMENT))
            batch.append(NewMessage(message))
            stored += len(message)
            number += 1
        mailbox.append("INBOX", batch)


def _with_attachment(message: bytes, octets: bytes) -> bytes:
    header, _, text = message.partition(b"\r\n\r\n")
    header = header.replace(
        b"Content-Type: text/plain; charset=utf-8", b'Content-Type: multipart/mixed; boundary="b"'
    )
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return (
        header + b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text
        + b"\r\n--b\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded + b"--b--\r\n"
    )  # fmt: skip


class Steps:
    """What is measured, each called in a process of its own on the files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"{ID}.sqlite"
        self.store = FolderStore(folder / "store")

    def key(self) -> FileKey:
        with self.path.open("rb") as file:
            return derive_file_key(PASSWORD, file.read(16))

    def cp(self) -> None:
        target = self.folder / "cp"
        with self.path.open("rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, MB)
            copy.flush()
            os.fsync(copy.fileno())
        target.unlink()

    def vacuum(self) -> None:
        target = self.folder / "vacuum"
        connection = raw.open_mailbox(self.path, PASSWORD)
        connection.execute("VACUUM INTO ?", (str(target),))
        connection.close()
        target.unlink()

    def copy(self) -> snapshot.Snapshot:
        target = self.folder / "copy.sqlite"
        target.unlink(missing_ok=True)
        with Mailbox.open(self.path, self.key(), now) as mailbox:
            return snapshot.take(mailbox, self.key(), target)

    def backup(self) -> None:
        """Copy, check, put into a folder."""
        made = self.copy()
        manifest = CopyManifest(
            alias=ID,
            mailbox=ID,
            taken=iso(now()),
            octets=made.octets,
            sha256=made.sha256.hex(),
            digest=made.digest.hex(),
            messages=made.messages,
        )
        put_copy(self.store, self.folder / "copy.sqlite", manifest)

    def restore(self) -> None:
        """Fetch the last copy, check it, give it new UIDVALIDITYs."""
        target = self.folder / "restored.sqlite"
        target.unlink(missing_ok=True)
        fetch_copy(self.store, list_copies(self.store, ID)[-1], target)
        snapshot.verify(target, self.key())
        with Mailbox.open(target, self.key(), now) as mailbox:
            renumber_once(mailbox)


STEPS = {
    "cp": "cp and fsync",
    "vacuum": "VACUUM INTO alone",
    "copy": "copy, checked",
    "backup": "backup into a folder",
    "restore": "restore from a folder",
}


def measure(folder: Path, step: str) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of one step, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.backup", str(folder), step],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """One step: what ``measure`` runs."""
    step: Callable[[], object] = getattr(Steps(Path(sys.argv[1])), sys.argv[2])
    begin, cpu = time.perf_counter(), time.process_time()
    step()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - begin,
                "cpu": time.process_time() - cpu,
                "peak": used.ru_maxrss,
            }
        )
    )


def _sized(table: Table, megabytes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mailsrv-bench-") as name:
        steps = Steps(Path(name))
        key = derive_file_key(PASSWORD, os.urandom(16))
        with Mailbox.create(steps.path, key, now) as mailbox:
            fill(mailbox, megabytes * MB)
        octets = steps.path.stat().st_size
        for step, what in STEPS.items():
            found = measure(steps.folder, step)
            table.add_row(
                f"{what}, {octets / MB:,.0f} MB",
                f"{octets / MB / found['seconds']:,.0f} MB/s",
                f"{found['seconds']:.2f} s",
                f"{found['cpu']:.2f} s",
                f"{found['peak'] / 1024:,.0f} MiB",
            )


class Watching:
    """A client that asks again and again, beside a server that backs the mailbox up."""

    def __init__(self, megabytes: int) -> None:
        self.server = RunningServer(tables="[backup]\nevery_hours = 0.01\n")
        self.password = self.server.add(ADDRESS)
        (path,) = (self.server.folder / "mailboxes").glob("*.sqlite")
        with path.open("rb") as file:
            key = derive_file_key(self.password, file.read(16))
        with Mailbox.open(path, key, now) as mailbox:
            fill(mailbox, megabytes * MB)
        self.octets = path.stat().st_size

    def copying(self) -> bool:
        return any((self.server.folder / "backups.tmp").glob("*.sqlite"))

    def run(self, seconds: float) -> tuple[list[float], list[float]]:
        """How long FETCH took while no copy was made, and while one was."""
        self.server.start()
        client = ImapClient(self.server.imap_port)
        client.login(ADDRESS, self.password)
        client.command("SELECT INBOX")
        quiet: list[float] = []
        during: list[float] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (len(quiet) < ENOUGH or not during or self.copying()):
            before = self.copying()
            begin = time.perf_counter()
            client.command(FETCH)
            took = time.perf_counter() - begin
            if before == self.copying():
                (during if before else quiet).append(took)
        client.close()
        return quiet, during


def _noticed(table: Table, megabytes: int) -> None:
    watching = Watching(megabytes)
    try:
        quiet, during = watching.run(150)
    finally:
        watching.server.stop()
    for what, times in (("else", quiet), ("while it is copied", during)):
        if len(times) < 100:
            table.add_row(f"{FETCH}, {what}", "too few", str(len(times)), "", "")
            continue
        table.add_row(
            f"{FETCH}, {what}, {watching.octets / MB:,.0f} MB",
            f"{statistics.median(times) * 1e3:.1f} ms median",
            f"{statistics.quantiles(times, n=100)[98] * 1e3:.1f} ms 99 %",
            "",
            "",
        )


def run(options: argparse.Namespace) -> Table:
    """Measure, and answer the table of it."""
    table = Table("what", "figure", "time", "processor", "peak memory", box=None)
    for megabytes in options.megabytes:
        _sized(table, megabytes)
    _noticed(table, max(options.megabytes))
    return table


if __name__ == "__main__":
    main()
