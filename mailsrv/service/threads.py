"""Long blocking work on threads of its own, which the end of the process does not wait for."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def in_thread(
    reactor: Any, work: Callable[[], T], late: Callable[[T], object] | None = None
) -> Deferred[T]:
    """Deferred of what ``work`` answers.

    Who cancels hears no more of it, while it goes on or ends with the process; ``late`` is called
    with an answer that nobody waits for.
    """
    asked: Deferred[T] = Deferred()

    def answer(result: T | Failure) -> None:
        if not asked.called:
            asked.callback(result)
        elif late is not None and not isinstance(result, Failure):
            late(result)

    def run() -> None:
        result: T | Failure
        try:
            result = work()
        except BaseException:  # noqa: BLE001 - handed over, whatever it is
            result = Failure()
        reactor.callFromThread(answer, result)

    threading.Thread(target=run, name="backup", daemon=True).start()
    return asked
