"""Fill one mailbox through the MX, then read it in the ways that clients do.

Everything goes over loopback sockets to a server in a process of its own. Beside each figure
stands the server's CPU time, which a noisy neighbour disturbs less than the clock, and where it
is the same work, what plain apsw needs for the same rows.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from bench import corpus, processes, raw
from bench.clients import ImapClient, deliver
from tests.running import RunningServer

ADDRESS = "bench@example.com"
CONNECTIONS = 4


class Bench:
    """All of it in one process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.count: int = options.messages
        self.server = RunningServer()
        self.password = self.server.add(ADDRESS)
        self.server.start()
        self.table = Table("what", "figure", "server CPU", "plain apsw", "aim", box=None)

    def row(self, what: str, figure: str, cpu: str = "", plain: str = "", aim: str = "") -> None:
        self.table.add_row(what, figure, cpu, plain, aim)

    def scratch(self) -> str:
        """A new folder that goes with the server's."""
        return tempfile.mkdtemp(dir=self.server.root)

    def cpu(self) -> float:
        """Seconds of CPU that the server's threads have used."""
        return processes.cpu(processes.main_pid(self.server))

    def client(self) -> ImapClient:
        client = ImapClient(self.server.imap_port)
        client.login(ADDRESS, self.password)
        return client

    def run(self) -> None:
        content = corpus.messages(self.count)
        away = max(100, self.count // 10)
        self.deliver("delivery to a waiting mailbox", content[:away], 500)
        self.merge(away)
        self.live(content[away:])
        self.logins()
        client = self.client()
        self.wait_until_indexed(client)
        self.reading(client)
        self.searching(client)
        self.idle(content[0])
        self.memory()

    def deliver(self, what: str, messages: list[bytes], aim: int) -> None:
        shares = [messages[start::CONNECTIONS] for start in range(CONNECTIONS)]
        threads = [
            threading.Thread(target=deliver, args=(self.server.smtp_port, ADDRESS, share))
            for share in shares
        ]
        cpu, begin = self.cpu(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begin
        cpu = self.cpu() - cpu
        self.row(
            f"{what}, {CONNECTIONS} connections",
            f"{len(messages) / seconds:,.0f}/s",
            f"{cpu / len(messages) * 1e6:,.0f} µs each",
            f"{raw.insert_rate(Path(self.scratch()), messages[:1000]):,.0f}/s",
            f"{aim}/s",
        )

    def merge(self, waiting: int) -> None:
        begin = time.perf_counter()
        client = self.client()
        client.command("SELECT INBOX")
        while f"* {waiting} EXISTS".encode() not in client.answer("SELECT INBOX"):
            client.command("NOOP")
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        client.close()
        self.row("login that merges what waited", f"{waiting / seconds:,.0f} messages/s")

    def live(self, messages: list[bytes]) -> None:
        watcher = self.client()
        watcher.command("SELECT INBOX")
        self.deliver("delivery to a connected owner", messages, 500)
        watcher.close()

    def logins(self) -> None:
        times = []
        for _ in range(30):
            client = ImapClient(self.server.imap_port)
            begin = time.perf_counter()
            client.login(ADDRESS, self.password)
            times.append(time.perf_counter() - begin)
            client.close()
        self.row("login", f"{statistics.median(times) * 1e3:.1f} ms")

    def wait_until_indexed(self, client: ImapClient) -> None:
        """Full-text indexing follows deliveries; let the server come to rest."""
        client.command("SELECT INBOX")
        deadline = time.monotonic() + 300
        calm = 0
        while calm < 3 and time.monotonic() < deadline:
            before = self.cpu()
            time.sleep(1)
            client.command("NOOP")
            calm = calm + 1 if self.cpu() - before < 0.02 else 0

    def measured(
        self, client: ImapClient, command: str, repeat: int = 5
    ) -> tuple[float, float, int]:
        """Median seconds, median CPU seconds, octets of the answer."""
        seconds, cpus, size = [], [], 0
        for _ in range(repeat):
            cpu, begin = self.cpu(), time.perf_counter()
            size = client.command(command)
            seconds.append(time.perf_counter() - begin)
            cpus.append(self.cpu() - cpu)
        return statistics.median(seconds), statistics.median(cpus), size

    def reading(self, client: ImapClient) -> None:
        client.command("SELECT INBOX")
        plain = self.plain()
        for items, sql, aim in (
            (
                "(FLAGS)",
                raw.FLAGS,
                "300,000/s",
            ),
            (
                "(ENVELOPE BODYSTRUCTURE RFC822.SIZE)",
                raw.STRUCTURES,
                "100,000/s",
            ),
        ):
            seconds, cpu, _ = self.measured(client, f"FETCH 1:* {items}")
            alone = raw.timed(lambda sql=sql: plain(sql))
            self.row(
                f"FETCH 1:* {items}",
                f"{self.count / seconds:,.0f}/s",
                f"{cpu / self.count * 1e6:.1f} µs each",
                f"{self.count / alone:,.0f}/s",
                aim,
            )
        seconds, cpu, size = self.measured(client, "FETCH 1:* (BODY.PEEK[])", 3)
        alone = raw.timed(lambda: (plain(raw.BODIES), plain(raw.CHUNKS)))
        self.row(
            "FETCH 1:* (BODY.PEEK[])",
            f"{size / seconds / 1e6:,.0f} MB/s",
            f"{cpu / self.count * 1e6:.1f} µs each",
            f"{size / alone / 1e6:,.0f} MB/s",
            "150 MB/s",
        )

    def plain(self) -> Callable[[str], list[tuple[object, ...]]]:
        path = max(
            (path for path in (self.server.folder / "mailboxes").glob("*.sqlite")),
            key=lambda path: path.stat().st_size,
        )
        connection = raw.open_mailbox(path, self.password)
        inbox = connection.execute("SELECT id FROM folder WHERE name = 'INBOX'").fetchone()
        return lambda sql: connection.execute(sql, inbox if "?" in sql else ()).fetchall()

    def searching(self, client: ImapClient) -> None:
        for what, criteria, aim in (
            ("a word in the bodies", f"BODY {corpus.RARE}", "20 ms"),
            ("a number in the subjects", f"SUBJECT {self.count - 1}", ""),
            ("one sender's", "FROM ba", ""),
            ("a date", "SENTON 7-Nov-2026", ""),
            ("not seen", "UNSEEN", ""),
        ):
            seconds, cpu, _ = self.measured(client, f"UID SEARCH {criteria}", 9)
            self.row(
                f"SEARCH for {what}", f"{seconds * 1e3:.1f} ms", f"{cpu * 1e3:.1f} ms", aim=aim
            )

    def idle(self, message: bytes) -> None:
        client = self.client()
        client.command("SELECT INBOX")
        delays = []
        for _ in range(20):
            tag = client.idle()
            (taken,) = deliver(
                self.server.smtp_port, ADDRESS, [message + os.urandom(8).hex().encode() + b"\r\n"]
            )
            client.wait_for(b"EXISTS")
            delays.append(time.perf_counter() - taken)
            client.done(tag)
        client.close()
        self.row("250 to EXISTS at an idling client", f"{statistics.median(delays) * 1e3:.1f} ms")

    def memory(self) -> None:
        peak = processes.peak(processes.main_pid(self.server))
        self.row("peak memory of the server", f"{peak / 1024:,.0f} MiB")


def run(options: argparse.Namespace) -> Table:
    """Measure, and answer the table of it."""
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.server.stop()
    return bench.table
