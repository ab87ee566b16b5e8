"""What stands in the way of shipping: of whose changes, and when it is tried again."""

import threading
from collections.abc import Callable, Hashable
from typing import NamedTuple

import attrs


class Trouble(NamedTuple):
    """``alias`` is an ObjectID."""

    alias: str
    sentence: str


@attrs.define
class _Pause:
    seconds: float
    until: float


class Troubles:
    """Any thread. ``seconds`` is a clock that never goes back; pauses double from the first on."""

    def __init__(self, seconds: Callable[[], float], first_pause: float) -> None:
        self._seconds = seconds
        self._first_pause = first_pause
        self._lock = threading.Lock()
        self._pauses: dict[Hashable, _Pause] = {}
        self._told: dict[Hashable, Trouble] = {}

    def may_try(self, what: Hashable) -> bool:
        """Whether it is worth trying; what failed last is tried by one at a time."""
        with self._lock:
            pause = self._pauses.get(what)
            if pause is None:
                return True
            now = self._seconds()
            if now < pause.until:
                return False
            pause.until = now + pause.seconds
            return True

    def has(self, what: Hashable) -> bool:
        """Whether it failed last."""
        with self._lock:
            return what in self._pauses

    def failed(self, what: Hashable, longest: float) -> float:
        """It failed; how many seconds to wait now, ``longest`` at most."""
        with self._lock:
            before = self._pauses.get(what)
            seconds = min(before.seconds * 2, longest) if before else self._first_pause
            self._pauses[what] = _Pause(seconds, self._seconds() + seconds)
            return seconds

    def tell(self, what: Hashable, alias: str, sentence: str) -> None:
        """The operator shall hear of it, until it is ``over``."""
        with self._lock:
            self._told[what] = Trouble(alias, sentence)

    def forget(self, what: Hashable) -> None:
        """It may be tried at once; what was told stays."""
        with self._lock:
            self._pauses.pop(what, None)

    def over(self, what: Hashable) -> None:
        """It succeeded, or is not wanted any more."""
        with self._lock:
            self._pauses.pop(what, None)
            self._told.pop(what, None)

    def told(self) -> list[Trouble]:
        """What the operator shall hear of, once each."""
        with self._lock:
            return sorted(set(self._told.values()))
