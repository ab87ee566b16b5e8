"""What the system tells of the server's processes: processor time, memory, who has a connection."""

import os
import socket
from pathlib import Path

from tests.running import RunningServer


def main_pid(server: RunningServer) -> int:
    """The process that was started: all of the server, or the primary."""
    assert server.process is not None
    return server.process.pid


def cpu(pid: int) -> float:
    """Seconds of processor time that the process's threads have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def peak(pid: int) -> int:
    """The most memory that the process has had, KiB."""
    return _fields(Path(f"/proc/{pid}/status"))["VmHWM"]


def memory(pid: int) -> tuple[int, int]:
    """KiB: all that is resident, and what no other process shares (RSS and USS)."""
    rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    return rollup["Rss"], rollup["Private_Clean"] + rollup["Private_Dirty"]


def serving(client: socket.socket, pids: list[int]) -> int:
    """Which of the processes has the other end of a connection over 127.0.0.1."""
    own, other = client.getsockname()[1], client.getpeername()[1]
    inode = _inode(local=other, remote=own)
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(descriptor) == f"socket:[{inode}]":
                    return pid
            except OSError:
                continue
    raise RuntimeError("none of the processes has this connection")


def _inode(local: int, remote: int) -> str:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(fields[at].rpartition(":")[2], 16) for at in (1, 2)]
        if ports == [local, remote]:
            return fields[9]
    raise RuntimeError("there is no such connection")


def _fields(path: Path) -> dict[str, int]:
    words = [line.split() for line in path.read_text().splitlines()]
    return {word[0].rstrip(":"): int(word[1]) for word in words if word[1:] and word[1].isdigit()}
