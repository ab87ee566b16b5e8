"""The workers: started, watched, started again, told to reload and to stop.

A worker serves the front ends at the doors that the main process bound. One that dies is
followed by a new one at once; one that dies again and again, after ever longer pauses.
"""

import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailsrv.service.front_ends import FAREWELL_SECONDS
from mailsrv.service.listeners import SharedDoors
from mailsrv.service.orders import (
    FIRST_DOOR,
    ORDERS,
    REPORT_SECONDS,
    REPORTS,
    Order,
    Report,
    encode_order,
)
from mailsrv.settings import Settings

log = Logger()

COMMAND = (sys.executable, "-m", "mailsrv.service.worker")

STEADY_SECONDS = 10.0
"""Who lived for so long did not fail at its start."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0

SILENCE_SECONDS = 10 * REPORT_SECONDS
"""A worker that has not reported for so long hangs."""

HUNG_REPORTS = 30
"""A worker that has left out so many reports is killed: its clients are better off without it."""

STOP_SECONDS = FAREWELL_SECONDS + 5.0
"""A worker that was told to stop is killed after so long."""

LONGEST_LINE = 16 * 1024

_KEPT = {"HOME", "LANG", "LD_LIBRARY_PATH", "OPENSSL_CONF", "PATH", "TMPDIR", "TZ", "USER"}
_KEPT_PREFIXES = ("LC_", "PYTHON")

_EVENT = re.compile(r"\[\S+#(debug|info|warn|error|critical)\] ")


def _environment() -> dict[str, str]:
    """What a worker gets to see of ours: nothing that could be a secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


class _Lines:
    """Cuts lines out of what a pipe brings; one that is too long goes in pieces."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """More has come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._heard(line)
        if len(self._rest) > LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """No more comes."""
        if self._rest:
            self._heard(self._rest)
            self._rest = b""


class Worker(ProcessProtocol):
    """One process. ``gone`` fires when it has ended, with its exit status in words."""

    transport: IProcessTransport

    def __init__(self, order: Order, reactor: Any) -> None:
        self._order = order
        self._reactor = reactor
        self._level = LogLevel.info
        self._pipes = {1: _Lines(self._logged), 2: _Lines(self._logged), 3: _Lines(self._reported)}
        self._report: Report | None = None
        self._reported_at = 0.0
        self._left_out = 0
        self._reload_later = False
        self._killing: IDelayedCall | None = None
        self.begun = reactor.seconds()
        self.gone: Deferred[str] = Deferred()

    def missing(self) -> list[str]:
        """What keeps this worker from being ready."""
        name = f"worker {self._order.number}"
        if self._report is None:
            return [name]
        silence = self._reactor.seconds() - self._reported_at
        if silence > SILENCE_SECONDS:
            return [f"{name}: no sign of life for {silence:.0f} s"]
        return [f"{name}: {word}" for word in self._report.missing]

    def connectionMade(self) -> None:
        # the pipe stays open: the worker ends when it closes
        self.transport.writeToChild(ORDERS, encode_order(self._order))

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        self._pipes[childFD].feed(data)

    def childConnectionLost(self, childFD: int) -> None:  # noqa: N803
        if childFD in self._pipes:
            self._pipes[childFD].end()

    def _logged(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        begin = _EVENT.match(text)
        if begin:
            self._level = LogLevel.levelWithName(begin[1])
        log.emit(self._level, "worker {number}: {line}", number=self._order.number, line=text)

    def _reported(self, line: bytes) -> None:
        try:
            report = msgspec.json.decode(line, type=Report)
        except msgspec.DecodeError:
            return
        if self._report is None and self._reload_later:
            self._signal(signal.SIGHUP)
        self._report, self._reported_at = report, self._reactor.seconds()
        self._left_out = 0

    def watch(self) -> None:
        """Called as often as a report should come. It counts turns, not time: a main process that
        stood still itself finds the reports waiting after the first."""
        self._left_out += 1
        if self._left_out == HUNG_REPORTS:
            log.error("worker {number} hangs and is killed", number=self._order.number)
            self._signal(signal.SIGKILL)

    def reload(self) -> None:
        """Pass SIGHUP on; before its first report a worker would die of it."""
        if self._report is None:
            self._reload_later = True
        else:
            self._signal(signal.SIGHUP)

    def stop(self) -> None:
        """Tell it to stop, and see that it does."""
        self._signal(signal.SIGTERM)
        self._killing = self._reactor.callLater(STOP_SECONDS, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            self.transport.signalProcess(number)
        except ProcessExitedAlready:
            return

    def processEnded(self, reason: Failure) -> None:
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        ended = reason.value
        by_signal = getattr(ended, "signal", None)
        if reason.check(ProcessDone):
            how = "exit status 0"
        elif by_signal:
            how = f"signal {by_signal}"
        else:
            how = f"exit status {getattr(ended, 'exitCode', None)}"
        self.gone.callback(how)


class Workers(Service):
    """All workers of this process."""

    def __init__(self, settings: Settings, doors: SharedDoors, reactor: Any) -> None:
        self._settings = settings
        self._doors = doors
        self._reactor = reactor
        self._workers: dict[int, Worker] = {}
        self._pauses: dict[int, float] = {}
        self._waiting: dict[int, IDelayedCall] = {}
        self._watching = LoopingCall(self._watch)
        self._watching.clock = reactor

    def missing(self) -> list[str]:
        """What keeps the workers from being ready."""
        words = []
        for number in range(1, self._settings.workers + 1):
            worker = self._workers.get(number)
            words += worker.missing() if worker else [f"worker {number}"]
        return words

    def reload(self) -> None:
        """Have all of them read their certificates again."""
        for worker in self._workers.values():
            worker.reload()

    def startService(self) -> None:
        super().startService()
        for number in range(1, self._settings.workers + 1):
            self._begin(number)
        self._watching.start(REPORT_SECONDS, now=False)

    def _watch(self) -> None:
        for worker in self._workers.values():
            worker.watch()

    def _begin(self, number: int) -> None:
        self._waiting.pop(number, None)
        order = Order(number=number, settings=self._settings)
        worker = self._workers[number] = Worker(order, self._reactor)
        worker.gone.addCallback(lambda how: self._ended(number, worker, how))
        pipes: dict[int, str | int] = {ORDERS: "w", 1: "r", 2: "r", REPORTS: "r"}
        pipes.update(enumerate(self._doors.descriptors, FIRST_DOOR))
        try:
            self._reactor.spawnProcess(
                worker, COMMAND[0], COMMAND, env=_environment(), path=None, childFDs=pipes
            )
        except OSError as error:  # of memory or processes there may be more later
            worker.gone.callback(os.strerror(error.errno or errno.EIO))

    def _ended(self, number: int, worker: Worker, how: str) -> None:
        del self._workers[number]
        if not self.running:
            return
        lived = self._reactor.seconds() - worker.begun
        former = self._pauses.get(number, 0.0) if lived < STEADY_SECONDS else 0.0
        pause = min(LONGEST_PAUSE, former * 2) or FIRST_PAUSE
        self._pauses[number] = pause
        log.error(
            "worker {number} ended ({how}); the next begins in {pause:.1f} s",
            number=number,
            how=how,
            pause=pause,
        )
        self._waiting[number] = self._reactor.callLater(pause, self._begin, number)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._watching.running:
            self._watching.stop()
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
        workers = list(self._workers.values())
        gone = DeferredList([worker.gone for worker in workers])
        for worker in workers:
            worker.stop()
        ended: Deferred[None] = gone.addCallback(lambda _: None)
        return ended
