"""From the 250 that a sender gets to the EXISTS at an idling client, on one process and on two."""

import argparse
import os
import statistics
import time

from rich.table import Table

from bench import corpus, processes
from bench.clients import ImapClient, Sender
from tests.running import RunningServer

ADDRESS = "live@example.com"
MESSAGES = 200
_CONNECTIONS = 50


def _elsewhere(server: RunningServer, client: ImapClient) -> Sender:
    """A connection for mail that another process took than the client's."""
    pids = server.worker_pids()
    own = processes.serving(client.socket, pids)
    for _ in range(_CONNECTIONS):
        sender = Sender(server.smtp_port)
        if processes.serving(sender.socket, pids) != own:
            return sender
        sender.close()
    raise RuntimeError("one worker takes all connections")


def _delays(workers: int) -> tuple[list[float], list[float]]:
    """Seconds of each message: until its 250, and from there to its EXISTS."""
    server = RunningServer(f"workers = {workers}")
    try:
        password = server.add(ADDRESS)
        server.start()
        server.await_ready()
        client = ImapClient(server.imap_port)
        client.login(ADDRESS, password)
        client.command("SELECT INBOX")
        sender = _elsewhere(server, client) if workers else Sender(server.smtp_port)
        tag = client.idle()
        taking, telling = [], []
        for message in corpus.messages(MESSAGES):
            begin = time.perf_counter()
            taken = sender.send(ADDRESS, message + os.urandom(8).hex().encode() + b"\r\n")
            client.wait_for(b"EXISTS")
            telling.append(time.perf_counter() - taken)
            taking.append(taken - begin)
        client.done(tag)
        client.close()
        sender.close()
    finally:
        server.stop()
    return taking, telling


def run(options: argparse.Namespace) -> Table:  # noqa: ARG001
    """Measure, and answer the table of it."""
    table = Table(
        f"mail to a client in IDLE, {MESSAGES} messages one by one", "median", "99 %", box=None
    )
    for workers, where in ((0, "one process"), (2, "client on another worker than the sender")):
        for what, delays in zip(("until 250", "250 to EXISTS"), _delays(workers), strict=True):
            last = statistics.quantiles(delays, n=100)[98]
            middle = statistics.median(delays)
            table.add_row(f"{what}, {where}", f"{middle * 1e3:.1f} ms", f"{last * 1e3:.1f} ms")
    return table
