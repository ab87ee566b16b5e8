"""Processes that tests start: none of them outlives the tests, however these end."""

import ctypes
import functools
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """For ``preexec_fn``: have Linux send the child this signal when its parent thread ends."""
    return functools.partial(_ask, number)


def _ask(number: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
