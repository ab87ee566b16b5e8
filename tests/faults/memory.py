"""What lies in the memory of another process, as whoever takes the machine over would read it."""

import re
from pathlib import Path

REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw")


def readable(pid: int) -> bool:
    """Whether this process may read that one's memory: root may, where ptrace is allowed."""
    try:
        with Path(f"/proc/{pid}/mem").open("rb"):
            return True
    except OSError:
        return False


def count(pid: int, *needles: bytes) -> int:
    """How often the needles occur in what the process can write to."""
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            region = REGION.match(line)
            if region is None:
                continue
            start, end = int(region[1], 16), int(region[2], 16)
            try:
                memory.seek(start)
                octets = memory.read(end - start)
            except OSError:
                continue
            found += sum(octets.count(needle) for needle in needles)
    return found
