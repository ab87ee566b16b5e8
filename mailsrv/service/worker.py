"""A worker: ``python -m mailsrv.service.worker``, started by the main process alone.

It serves the front ends at listening sockets that it was given, over the link to the primaries.
It has no directory and no password of one.
"""

import itertools
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import msgspec
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from mailsrv.errors import MailsrvError
from mailsrv.service.far import FarStore
from mailsrv.service.front_ends import FAREWELL_SECONDS, Counting, Surroundings, services
from mailsrv.service.health import Readiness
from mailsrv.service.listeners import AdoptedDoor
from mailsrv.service.orders import (
    FIRST_DOOR,
    ORDERS,
    REPORT_SECONDS,
    REPORTS,
    Order,
    Report,
    decode_order,
)
from mailsrv.service.process import RootService, keep_to_ourselves
from mailsrv.tls import ServerTls


def build(order: Order, readiness: Readiness, reactor: Any) -> RootService:
    """The services of a worker. MailsrvError names what stands in the way."""
    settings = order.settings
    tls = ServerTls(settings.tls.certificate, settings.tls.private_key)
    root = RootService(reactor, readiness.leave)
    root.reloads.append(tls.reload)
    node = f"{settings.hostname}.worker.{order.number}"
    far = FarStore(settings, node, reactor, reads_files="primary" in settings.roles)
    readiness.add(far.missing)
    counting = Counting(settings, reactor)
    around = Surroundings(settings, far.store, tls, counting.counters, reactor)
    descriptors = itertools.count(FIRST_DOOR)
    entrances = services(
        around, lambda _, factory: AdoptedDoor(next(descriptors), factory, reactor)
    )
    for service in (far, counting, *entrances):
        root.addService(service)
    return root


@implementer(IReadDescriptor)
class Lifeline:
    """The pipe from the main process: ends the worker when it closes."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def fileno(self) -> int:
        return ORDERS

    def logPrefix(self) -> str:
        return "lifeline"

    def doRead(self) -> Exception | None:  # type: ignore[override]
        return None if os.read(ORDERS, 4096) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        self._reactor.removeReader(self)
        with suppress(ReactorNotRunning):  # a stop has begun
            self._reactor.stop()


def end_soon(pipe: int, seconds: float) -> threading.Thread:
    """End this process so long after ``pipe`` closes, even when its reactor hangs."""

    def watch() -> None:
        closing = select.poll()
        closing.register(pipe, 0)  # of its end, and not of what there is to read
        closing.poll()
        time.sleep(seconds)
        os._exit(1)

    watcher = threading.Thread(target=watch, name="lifeline", daemon=True)
    watcher.start()
    return watcher


class Reports:
    """Tells the main process each second how this worker is."""

    def __init__(self, readiness: Readiness, reactor: Any) -> None:
        self._readiness = readiness
        self._loop = LoopingCall(self._report)
        self._loop.clock = reactor
        os.set_blocking(REPORTS, False)

    def start(self) -> None:
        """Begin with the first at once."""
        self._loop.start(REPORT_SECONDS)

    def _report(self) -> None:
        line = msgspec.json.encode(Report(self._readiness.missing())) + b"\n"
        try:
            os.write(REPORTS, line)
        except OSError:  # nobody reads: the lifeline will tell
            return


@implementer(ILogObserver)
class _PipeObserver:
    """Writes the log to the main process, which adds time and number."""

    def __call__(self, event: LogEvent) -> None:
        level = getattr(event.get("log_level"), "name", "info")
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        line = f"[{event.get('log_namespace', '-')}#{level}] {text}\n"
        try:
            os.write(1, line.encode("utf-8", "backslashreplace"))
        except OSError:  # nobody reads
            return


def _read_order() -> Order:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(ORDERS, 65536)
        if not part:
            raise SystemExit("mailsrv: expected an order from the main process")
        line += part
    return decode_order(line)


def main() -> None:
    """Serve until told to stop."""
    # a terminal's Ctrl-C reaches us through the main process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_to_ourselves()
    order = _read_order()
    from twisted.internet import reactor as any_reactor

    reactor: Any = any_reactor
    info = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(_PipeObserver(), [info])])
    readiness = Readiness()
    try:
        root = build(order, readiness, reactor)
        root.startService()
    except MailsrvError as error:
        os.write(2, f"mailsrv: {error}\n".encode())
        sys.exit(1)
    reactor.addSystemEventTrigger("before", "shutdown", root.stopService)
    reactor.addReader(Lifeline(reactor))
    end_soon(ORDERS, FAREWELL_SECONDS + 5.0)
    reactor.callWhenRunning(Reports(readiness, reactor).start)
    reactor.run()


if __name__ == "__main__":
    main()
