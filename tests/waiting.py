"""Waiting for what comes in its own time: with the reactor running, or blocking."""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

PATIENCE = 20.0
"""Seconds to wait for what should come at once, on a machine that is busy."""


def pause(seconds: float) -> Deferred[None]:
    """Let the reactor run for so long."""
    return deferLater(reactor, seconds)  # type: ignore[arg-type]


async def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait, with the reactor running, until ``holds()``; fail when it does not in time."""
    clock: Any = reactor
    end = clock.seconds() + seconds
    while not holds():
        if clock.seconds() > end:
            raise AssertionError(f"what was awaited did not happen in {seconds} seconds")
        await pause(0.005)


def eventually(holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether it comes to pass in time. Blocking: nothing of this process's reactor runs."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
