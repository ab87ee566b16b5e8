"""Taking a mailbox away and bringing it, in each format: speed and memory of the commands."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from rich.table import Table

from bench import corpus, processes
from mailsrv.directory.directory import Directory
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Flags, NewMessage
from tests.running import RunningServer

FORMATS = ("mbox", "maildir", "eml")
SOURCE, TARGET = "from@example.com", "to@example.com"
_AT_ONCE = 500
_TEXT = 2000
"""Messages of 2 KB: with smaller ones what each message costs weighs more."""


class Run(NamedTuple):
    """Of one command: seconds, processor time, the most memory in MiB."""

    seconds: float
    cpu: float
    memory: float


def fill(server: RunningServer, password: str, count: int) -> int:
    """Messages that are no two alike, in two folders; their octets."""
    directory = Directory(f"sqlite:///{server.folder}/directory.sqlite", _now)
    record = directory.mailbox(directory.alias(SOURCE).id)
    directory.close()
    path = server.folder / "mailboxes" / f"{record.id}.sqlite"
    with path.open("rb") as file:
        salt = file.read(16)
    octets = 0
    with Mailbox.open(path, derive_file_key(password, salt), _now) as mailbox:
        texts = _texts(count)
        for number, batch in enumerate(iter(lambda: list(islice(texts, _AT_ONCE)), [])):
            mailbox.append(("INBOX", "Archive")[number % 2], batch)
            octets += sum(len(one.content) for one in batch)
    return octets


def command(server: RunningServer, password: str, *words: str) -> Run:
    """Run ``mailsrv WORDS`` in a process of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mailsrv.cli", "--config", str(server.config), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=server.environment(),
    )
    process.stdin.write(f"{password}\n".encode())
    process.stdin.close()
    memory = 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        # what wait4 tells of memory is no less than this process's own
        with contextlib.suppress(KeyError, ProcessLookupError):
            memory = processes.peak(process.pid)
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"mailsrv {' '.join(words)} failed")
    return Run(seconds, used.ru_utime + used.ru_stime, memory / 1024)


def run(options: argparse.Namespace) -> Table:
    """Measure, and answer the table of it."""
    table = Table(
        f"{options.messages:,} messages of 2 KB",
        "messages/s",
        "MB/s",
        "processor time",
        "most memory",
        box=None,
    )
    server = RunningServer()
    try:
        password = server.add(SOURCE)
        octets = fill(server, password, options.messages)
        for form in FORMATS:
            folder = server.root / form
            export = command(server, password, "export", SOURCE, "--format", form, str(folder))
            _row(table, f"export as {form}", export, options.messages, octets)
            address = f"{form}-{TARGET}"
            other = server.add(address)
            back = command(server, other, "import", address, str(folder))
            _row(table, f"import of {form}", back, options.messages, octets)
            again = command(server, other, "import", address, str(folder))
            _row(table, f"import of {form} again", again, options.messages, octets)
            shutil.rmtree(folder)
        for form in ("sqlite", "sqlcipher"):
            path = server.root / form
            export = command(server, password, "export", SOURCE, "--format", form, str(path))
            _row(table, f"export as {form}", export, options.messages, octets)
    finally:
        server.stop()
    return table


def _row(table: Table, what: str, done: Run, messages: int, octets: int) -> None:
    table.add_row(
        what,
        f"{messages / done.seconds:,.0f}",
        f"{octets / done.seconds / 1e6:,.1f}",
        f"{done.cpu:.1f} s",
        f"{done.memory:.0f} MiB",
    )


def _texts(count: int) -> Iterator[NewMessage]:
    samples = corpus.messages(200)
    for number in range(count):
        content = b"X-Number: %d\r\n" % number + samples[number % len(samples)][:_TEXT] + b"\r\n"
        day = f"20{10 + number % 15}-0{1 + number % 9}-1{number % 10}"
        yield NewMessage(content, Flags(number % 8, f"k{number % 20}"), f"{day}T10:15:00Z")


def _now() -> datetime:
    return datetime.now(UTC)
