"""Processes that tests start: none of them outlives the tests, however these end."""

import ctypes
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def environment(**more: str) -> dict[str, str]:
    """For a mailsrv of this checkout, whatever configuration the tester's own may name."""
    kept = {key: value for key, value in os.environ.items() if key != "MAILSRV_CONFIG"}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[1]), **more}


def die_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """For ``preexec_fn``: have Linux send the child this signal when its parent thread ends."""
    return functools.partial(_ask, number)


def _ask(number: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
