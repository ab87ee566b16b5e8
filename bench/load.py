"""IMAP clients that ask as fast as they are answered, in a process of their own.

``python -m bench.load`` reads an order (JSON) from its standard input and writes what came of it.
To leave the processors to the server, everything is prepared before the clock starts: the same
commands in the same octets each round, whose answers then have the same number of octets, so that
one system call sends a round and one takes its whole answer in.
"""

import json
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.clients import ImapClient
from bench.processes import serving

MOST_REFUSED = 30
"""Connections held for a while that one process has too many of, so that others get the next."""

_PATIENCE = struct.pack("ll", 60, 0)
"""Of a read from a socket: seconds, microseconds."""


class Client:
    """One connection that repeats a round of commands."""

    def __init__(self, imap: ImapClient, address: str, password: str, commands: list[str]) -> None:
        imap.login(address, password)
        imap.command("SELECT INBOX")
        self._socket: socket.socket = imap.socket
        self._round = b"".join(
            b"x%d %s\r\n" % (number, command.encode()) for number, command in enumerate(commands)
        )
        self._commands = len(commands)
        last = b"x%d OK" % (len(commands) - 1)
        self._measure(last)  # what is new is told once
        self.octets = self._measure(last)
        self._buffer = bytearray(self.octets)
        self.rounds = 0
        # MSG_WAITALL needs a socket that blocks
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)

    def _measure(self, last: bytes) -> int:
        """Octets of one round's answer, every command of which was answered with OK."""
        self._socket.sendall(self._round)
        answer = b""
        while b"\r\n" + last not in b"\r\n" + answer or not answer.endswith(b"\r\n"):
            answer += self._socket.recv(1 << 20)
        lines = answer.split(b"\r\n")
        good = sum(line[:1] == b"x" and line.split(b" ")[1] == b"OK" for line in lines)
        if good != self._commands:
            raise RuntimeError("a command was refused")
        return len(answer)

    def repeat(self, until: float) -> None:
        """Rounds until that moment of the monotonic clock."""
        while time.monotonic() < until:
            self._socket.sendall(self._round)
            if self._socket.recv_into(self._buffer, 0, socket.MSG_WAITALL) != self.octets:
                raise RuntimeError("the server closed the connection")
            if not self._buffer.endswith(b"\r\n"):
                raise RuntimeError("an answer had another length")
            self.rounds += 1


def spread(port: int, pids: list[int], count: int) -> list[ImapClient]:
    """Connections of which each of the processes has as many.

    Which process takes one is chance; with few of them it would be chance what is measured.
    """
    room = {pid: count // len(pids) for pid in pids}
    taken: list[ImapClient] = []
    refused: list[ImapClient] = []
    while any(room.values()):
        client = ImapClient(port)
        pid = serving(client.socket, pids)
        room[pid] -= 1
        (taken if room[pid] >= 0 else refused).append(client)
        room[pid] = max(0, room[pid])
        if len(refused) == MOST_REFUSED:
            refused.pop(0).close()
    for client in refused:
        client.close()
    return taken


def prepare(order: dict[str, Any]) -> list[Client]:
    """Everybody logged in."""
    logins = order["logins"]
    connections = spread(order["port"], order["pids"], len(logins))
    return [
        Client(connection, *login, order["commands"])
        for connection, login in zip(connections, logins, strict=True)
    ]


def run(clients: list[Client], commands: int, lasts: float) -> dict[str, float]:
    """What they were answered a second, and the processors that they took."""
    cpu, begin = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(len(clients)) as threads:
        for ended in [threads.submit(one.repeat, begin + lasts) for one in clients]:
            ended.result()
    seconds = time.monotonic() - begin
    return {
        "commands": sum(one.rounds for one in clients) * commands / seconds,
        "octets": sum(one.rounds * one.octets for one in clients) / seconds,
        "cpu": (time.process_time() - cpu) / seconds,
        "seconds": seconds,
    }


class Load:
    """The clients' process, from the outside, with everybody logged in.

    They are ``logins`` (address, password), in equal parts at each of ``pids``.
    """

    def __init__(
        self, port: int, pids: list[int], logins: list[tuple[str, str]], commands: list[str]
    ) -> None:
        order = {"port": port, "pids": pids, "logins": logins, "commands": commands}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self._tell(order)

    def run(self, seconds: float) -> dict[str, float]:
        """Commands and octets a second, processors that the clients took, seconds; ends them."""
        answer: dict[str, float] = self._tell(seconds)
        self._process.communicate()
        return answer

    def _tell(self, what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the clients failed")
        return json.loads(line)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    clients = prepare(order)
    print("0", flush=True)
    lasts: float = json.loads(sys.stdin.readline())
    print(json.dumps(run(clients, len(order["commands"]), lasts)), flush=True)


if __name__ == "__main__":
    main()
