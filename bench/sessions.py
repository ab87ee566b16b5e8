"""Memory of sessions that are logged in and idle: in one process, and where there are workers."""

import argparse
import resource
import time

from rich.table import Table

from bench import processes
from bench.clients import ImapClient
from tests.running import RunningServer

ALIASES = 10
AT_REST = 8.0
"""Seconds after which mailboxes that nobody uses are closed, and leases have ended."""


def _server(workers: int, sessions: int) -> RunningServer:
    server = RunningServer(f"workers = {workers}")
    text = server.config.read_text()
    begin, table, end = text.partition("[imap]\n")
    server.config.write_text(f"{begin}{table}connections_per_address = {sessions + 50}\n{end}")
    return server


def _measure(workers: int, sessions: int, table: Table) -> None:
    server = _server(workers, sessions)
    clients: list[ImapClient] = []
    try:
        addresses = [f"idle{number}@example.com" for number in range(ALIASES)]
        passwords = {address: server.add(address) for address in addresses}
        server.start()
        server.await_ready()
        pids = [processes.main_pid(server), *(server.worker_pids() if workers else [])]
        for number in range(-ALIASES, sessions):  # the first ones warm up
            address = addresses[number % ALIASES]
            if number == 0:
                time.sleep(AT_REST)
                before = [processes.memory(pid) for pid in pids]
            clients.append(_idle(server, address, passwords[address]))
        time.sleep(AT_REST)
        after = [processes.memory(pid) for pid in pids]
        homes = [processes.serving(one.socket, pids) for one in clients[ALIASES:]]
        for at, pid in enumerate(pids):
            held = homes.count(pid)
            name = ("primary" if workers else "one process") if at == 0 else f"worker {at}"
            grown = [now - then for now, then in zip(after[at], before[at], strict=True)]
            table.add_row(
                f"{name} of {workers + 1}",
                f"{held:,}",
                *(f"{size / 1024:,.0f} MiB" for size in after[at]),
                *(f"{size / (held or sessions):,.1f} KiB" for size in grown),
            )
    finally:
        for client in clients:
            client.close()
        server.stop()


def _idle(server: RunningServer, address: str, password: str) -> ImapClient:
    client = ImapClient(server.imap_port)
    client.login(address, password)
    client.command("SELECT INBOX")
    client.idle()
    return client


def run(options: argparse.Namespace) -> Table:
    """Measure, and answer the table of it."""
    sessions: int = options.sessions
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    table = Table(
        f"memory, {sessions:,} sessions in IDLE",
        "of these",
        "RSS",
        "USS",
        "RSS for each session",
        "USS for each session",
        box=None,
    )
    for workers in (0, 2):
        _measure(workers, sessions, table)
    return table
