"""What every process of the server does: keep to itself, start and stop in order, reload."""

import os
import resource
import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from mailsrv.errors import MailsrvError

log = Logger()


def keep_to_ourselves() -> None:
    """Let nobody else read the files that we make, and memory with keys go into none."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Refused(SystemExit, Exception):
    """Ends a start with one line on standard error and exit status 1.

    Python does so for SystemExit. A twistd that goes to the background tells the process that
    waits for it of an Exception alone, which else would wait for ever.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(f"mailsrv: {reason}")


class RootService(MultiService):
    """All that a process runs. Each service stops before those that it was started after.

    ``prepares`` are called before the first service starts, and may refuse the start.
    ``leaving`` is called when a stop begins; ``reloads`` are called on SIGHUP.
    """

    def __init__(self, reactor: Any, leaving: Callable[[], None]) -> None:
        super().__init__()
        self._reactor = reactor
        self._leaving = leaving
        self.prepares: list[Callable[[], None]] = []
        self.reloads: list[Callable[[], None]] = []

    def startService(self) -> None:
        # twist knows no privileged start: whatever cannot be had stops it before threads begin
        self.privilegedStartService()
        for prepare in self.prepares:
            prepare()
        super().startService()
        signal.signal(signal.SIGHUP, self._hangup)

    def _hangup(self, _number: int, _frame: object) -> None:
        self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        for reload in self.reloads:
            try:
                reload()
            except MailsrvError as error:
                log.error("not read again, what was read before stays: {reason}", reason=str(error))

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._leaving()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for service in reversed(list(self)):
            try:
                await maybeDeferred(service.stopService)
            except Exception:  # noqa: BLE001 - what comes after it must stop as well
                log.failure("stopping {service}", service=type(service).__name__)
