"""One process, one worker, two workers: commands a second of several clients at once.

The same mailboxes are served by each in turn, several times, and the ratios are those of medians
within this run: what else happens on the machine meets all of them alike.
"""

import argparse
import statistics

from rich.table import Table

from bench import corpus, processes
from bench.clients import ImapClient, deliver
from bench.load import Load
from tests.running import RunningServer

CLIENTS = 8
MESSAGES = 200

ROUNDS = {
    "NOOP": ["NOOP"] * 50,
    "SELECT INBOX": ["SELECT INBOX"] * 20,
    "FETCH 1:* (FLAGS)": ["FETCH 1:* (FLAGS)"] * 20,
    "FETCH n (ENVELOPE BODYSTRUCTURE)": [
        f"FETCH {number} (ENVELOPE BODYSTRUCTURE)" for number in range(1, 41)
    ],
    "FETCH n (BODY.PEEK[])": [f"FETCH {number} (BODY.PEEK[])" for number in range(1, 41)],
    "a client's round of all these": [
        "SELECT INBOX",
        "FETCH 1:* (FLAGS)",
        *[f"FETCH {start}:{start + 9} (ENVELOPE BODYSTRUCTURE)" for start in (1, 11, 21, 31)],
        *[f"FETCH {number} (BODY.PEEK[])" for number in range(1, 11)],
        *["NOOP"] * 4,
    ],
}
VARIANTS = (0, 1, 2)


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.seconds: float = options.seconds
        self.rounds: int = options.rounds
        self.server = RunningServer()
        self.plain = self.server.config.read_text()
        self.logins = [
            (address, self.server.add(address))
            for address in (f"bench{number}@example.com" for number in range(CLIENTS))
        ]
        self.rates: dict[tuple[str, int], list[float]] = {}
        self.shares: dict[tuple[str, int], list[tuple[float, ...]]] = {}

    def run(self) -> None:
        self.start(0)
        self.fill()
        for _ in range(self.rounds):
            for workers in VARIANTS:
                self.start(workers)
                for what, commands in ROUNDS.items():
                    self.measure(what, workers, commands)

    def start(self, workers: int) -> None:
        if self.server.process is not None:
            self.server.kill(15)
        self.server.config.write_text(f"workers = {workers}\n{self.plain}")
        self.server.start()
        self.server.await_ready()

    def fill(self) -> None:
        """Messages in each mailbox, which a first client has merged, indexed and seen."""
        messages = corpus.messages(MESSAGES)
        for address, password in self.logins:
            client = ImapClient(self.server.imap_port)
            client.login(address, password)
            deliver(self.server.smtp_port, address, messages)
            while f"* {MESSAGES} EXISTS".encode() not in client.answer("SELECT INBOX"):
                pass
            client.command(f"SEARCH BODY {corpus.RARE}")
            client.close()

    def measure(self, what: str, workers: int, commands: list[str]) -> None:
        primary = processes.main_pid(self.server)
        front_ends = self.server.worker_pids() if workers else []
        pids = [primary, *front_ends]
        load = Load(self.server.imap_port, front_ends or pids, self.logins, commands)
        before = [processes.cpu(pid) for pid in pids]
        found = load.run(self.seconds)
        used = [processes.cpu(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
        self.rates.setdefault((what, workers), []).append(found["commands"])
        shares = (found["cpu"], *(seconds / found["seconds"] for seconds in used))
        self.shares.setdefault((what, workers), []).append(shares)

    def table(self) -> Table:
        table = Table(
            f"commands a second, {CLIENTS} clients",
            "one process",
            "1 worker",
            "2 workers",
            "2 workers to one process",
            "processors used by clients + primary + workers, at 2",
            box=None,
        )
        for what in ROUNDS:
            rates = [statistics.median(self.rates[what, workers]) for workers in VARIANTS]
            shares = [statistics.median(share) for share in zip(*self.shares[what, 2], strict=True)]
            table.add_row(
                what,
                *(f"{rate:,.0f}" for rate in rates),
                f"{rates[2] / rates[0]:.2f}",
                " + ".join(f"{share:.2f}" for share in shares),
            )
        return table


def run(options: argparse.Namespace) -> Table:
    """Measure, and answer the table of it."""
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.server.stop()
    return bench.table()
