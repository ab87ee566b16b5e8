"""The supervision of workers, without processes: pauses, reports, reloads, log lines, the end."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.service.listeners import Door, SharedDoors
from mailsrv.service.orders import FIRST_DOOR, ORDERS, REPORT_SECONDS, REPORTS, decode_order
from mailsrv.service.workers import (
    HUNG_REPORTS,
    LONGEST_LINE,
    LONGEST_PAUSE,
    SILENCE_SECONDS,
    STEADY_SECONDS,
    STOP_SECONDS,
    Worker,
    Workers,
)
from mailsrv.settings import load

CONFIGURATION = """
hostname = "mail.example.com"
workers = 2
[imap]
listen = ["tcp:0:interface=127.0.0.1"]
listen_tls = []
[mx]
listen = []
[directory]
url = "postgresql+psycopg://me:canary@/x"
"""


class _Process:
    def __init__(self, reactor: "_Reactor", worker: Worker, options: dict[str, Any]) -> None:
        self.worker, self.options = worker, options
        self.signals: list[int] = []
        self.written = b""
        self.over = False
        worker.makeConnection(self)

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == ORDERS
        self.written += data

    def signalProcess(self, number: int) -> None:
        if self.over:
            raise ProcessExitedAlready
        self.signals.append(number)

    def says(self, data: bytes, descriptor: int = 1) -> None:
        self.worker.childDataReceived(descriptor, data)

    def reports(self, *missing: str) -> None:
        words = ",".join(f'"{word}"' for word in missing)
        self.says(f'{{"missing":[{words}]}}\n'.encode(), REPORTS)

    def ends(self, status: int | None = None, number: int | None = None) -> None:
        self.over = True
        done = status == 0
        how = ProcessDone(0) if done else ProcessTerminated(status, number, 0)
        for descriptor in (1, 2, 3):
            self.worker.childConnectionLost(descriptor)
        self.worker.processEnded(Failure(how))


class _Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.processes: list[_Process] = []
        self.refusal: OSError | None = None

    def spawnProcess(self, worker: Worker, *words: Any, **options: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.processes.append(_Process(self, worker, {"words": words, **options}))


class WorkersTests(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(f"{self.mktemp()}.toml")
        path.write_text(CONFIGURATION)
        self.settings = load(path)
        self.reactor = _Reactor()
        self.doors = SharedDoors([Door(key="imap.listen", text="tcp:0", tls=False)])
        self.doors.privilegedStartService()
        self.addCleanup(self.doors.stopService)
        self.workers = Workers(self.settings, self.doors, self.reactor)
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)
        self.workers.startService()

    def note(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "mailsrv.service.workers":
            self.events.append(event)

    @property
    def processes(self) -> list[_Process]:
        return self.reactor.processes

    def lines(self) -> list[str]:
        return [event.get("line", "") for event in self.events]

    def test_what_a_worker_is_given(self) -> None:
        os.environ["PGPASSWORD"] = "canary"  # what a front end has no use for
        self.addCleanup(os.environ.pop, "PGPASSWORD")
        self.processes[0].ends(1)
        self.reactor.advance(1)
        first, second, third = self.processes
        self.assertEqual([decode_order(one.written).number for one in self.processes], [1, 2, 1])
        self.assertEqual(decode_order(first.written).settings, self.settings)
        self.assertTrue(first.written.endswith(b"}\n"))
        for process in (first, second, third):
            self.assertEqual(
                process.options["childFDs"],
                {0: "w", 1: "r", 2: "r", REPORTS: "r", FIRST_DOOR: self.doors.descriptors[0]},
            )
            self.assertNotIn("canary", str(process.options))
            self.assertEqual(process.options["env"]["PATH"], os.environ["PATH"])

    def test_readiness(self) -> None:
        first, second = self.processes
        self.assertEqual(self.workers.missing(), ["worker 1", "worker 2"])
        first.reports()
        second.reports("link to primary")
        self.assertEqual(self.workers.missing(), ["worker 2: link to primary"])
        second.reports()
        self.assertEqual(self.workers.missing(), [])
        self.reactor.advance(SILENCE_SECONDS)
        second.reports()
        self.reactor.advance(1)
        self.assertEqual(self.workers.missing(), ["worker 1: no sign of life for 11 s"])
        first.ends(number=9)
        self.assertEqual(self.workers.missing(), ["worker 1"])

    def test_a_report_in_pieces_and_one_that_is_none(self) -> None:
        first, second = self.processes
        first.says(b'{"miss', REPORTS)
        first.says(b'ing":[]}\n{"missing":["x"]}\n', REPORTS)
        second.says(b"\xff\n[]\n", REPORTS)
        self.assertEqual(self.workers.missing(), ["worker 1: x", "worker 2"])

    def test_the_next_begins_at_once_then_after_longer_pauses(self) -> None:
        first = self.processes[0]
        pauses = []
        for _ in range(12):
            first.ends(1)
            pauses.append(self.events[-1]["pause"])
            self.reactor.advance(pauses[-1] - 0.01)
            count = len(self.processes)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.processes), count + 1)
            first = self.processes[-1]
        self.assertEqual(pauses[:4], [0.1, 0.2, 0.4, 0.8])
        self.assertEqual(pauses[-2:], [LONGEST_PAUSE, LONGEST_PAUSE])
        self.reactor.advance(STEADY_SECONDS)
        self.processes[-1].ends(1)
        count = len(self.processes)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.processes), count + 1)
        self.assertFalse(self.processes[1].over)

    def test_a_worker_that_cannot_be_started_now(self) -> None:
        self.reactor.refusal = OSError(errno.EAGAIN, "no")
        self.processes[0].ends(1)
        self.reactor.advance(0.1)
        self.assertEqual(self.workers.missing(), ["worker 1", "worker 2"])
        self.assertEqual(self.events[-1]["how"], os.strerror(errno.EAGAIN))
        self.reactor.refusal = None
        self.reactor.advance(0.2)
        self.assertEqual(len(self.processes), 3)

    def test_how_it_ended_is_logged(self) -> None:
        first, second = self.processes
        first.ends(number=9)
        second.ends(0)
        said = [event["how"] for event in self.events if "how" in event]
        self.assertEqual(said, ["signal 9", "exit status 0"])

    def test_log_lines(self) -> None:
        first, second = self.processes
        first.says(b"[mailsrv.imap#warn] half")
        second.says(b"mailsrv: bare {line}\n", 2)
        first.says(b" a line\n\ttraceback \xff\n[x#nonsense] y\n[x#error] z\nrest")
        first.ends(1)
        self.assertEqual(
            [(event["log_level"], event["number"], event["line"]) for event in self.events[:6]],
            [
                (LogLevel.info, 2, "mailsrv: bare {line}"),
                (LogLevel.warn, 1, "[mailsrv.imap#warn] half a line"),
                (LogLevel.warn, 1, "\ttraceback \\xff"),
                (LogLevel.warn, 1, "[x#nonsense] y"),
                (LogLevel.error, 1, "[x#error] z"),
                (LogLevel.error, 1, "rest"),
            ],
        )

    def test_a_line_without_end(self) -> None:
        self.processes[0].says(b"x" * (LONGEST_LINE - 1))
        self.assertEqual(self.lines(), [])
        self.processes[0].says(b"xx")
        self.assertEqual(self.lines(), ["x" * (LONGEST_LINE + 1)])

    def test_reload_waits_for_the_first_report(self) -> None:
        first, second = self.processes
        first.reports()
        self.workers.reload()
        self.assertEqual((first.signals, second.signals), ([signal.SIGHUP], []))
        second.reports()
        second.reports()
        self.assertEqual(second.signals, [signal.SIGHUP])

    def test_one_that_hangs_is_killed(self) -> None:
        first, second = self.processes
        self.reactor.advance(1)
        for _ in range(HUNG_REPORTS - 2):
            second.reports()
            self.reactor.advance(REPORT_SECONDS)
        self.assertEqual(first.signals, [])
        second.reports()
        self.reactor.advance(REPORT_SECONDS)
        self.assertEqual((first.signals, second.signals), ([signal.SIGKILL], []))
        self.assertIn("hangs and is killed", self.events[-1]["log_format"])

    def test_nobody_is_killed_for_a_pause_of_the_main_process(self) -> None:
        self.reactor.advance(1000 * REPORT_SECONDS)
        self.assertEqual([process.signals for process in self.processes], [[], []])

    def test_stop(self) -> None:
        first, second = self.processes
        stopped = self.workers.stopService()
        self.assertEqual((first.signals, second.signals), ([signal.SIGTERM],) * 2)
        first.ends(0)
        self.assertNoResult(stopped)
        self.reactor.advance(STOP_SECONDS)
        self.assertEqual(second.signals, [signal.SIGTERM, signal.SIGKILL])
        second.ends(number=9)
        self.successResultOf(stopped)
        self.assertEqual(len(self.processes), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_while_one_is_to_begin_again(self) -> None:
        self.processes[0].ends(1)
        stopped = self.workers.stopService()
        self.processes[1].ends(0)
        self.successResultOf(stopped)
        self.reactor.advance(LONGEST_PAUSE)
        self.assertEqual(len(self.processes), 2)


class LifelineTests(SynchronousTestCase):
    def test_a_worker_that_hangs_ends_when_the_main_process_has(self) -> None:
        code = "from mailsrv.service.worker import end_soon; end_soon(0, 0.05)\nwhile True: pass"
        root = Path(__file__).parents[1]
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=root)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdin is not None
        process.stdin.write(b"more orders do not end it\n")
        process.stdin.flush()
        self.assertRaises(subprocess.TimeoutExpired, process.wait, 1.0)
        process.stdin.close()
        self.assertEqual(process.wait(30), 1)


class SharedDoorsTests(SynchronousTestCase):
    def doors(self, text: str) -> SharedDoors:
        return SharedDoors([Door(key="mx.listen", text=text, tls=False)])

    def test_endpoints_that_cannot_be_shared(self) -> None:
        for text in ("unix:/tmp/x", "ssl:25"):
            with self.assertRaises(InvalidInput) as caught:
                self.doors(text)
            self.assertIn("mx.listen: ", str(caught.exception))
        self.assertRaises(InvalidInput, self.doors, "nonsense:25")

    def test_bound_once_and_inherited_open(self) -> None:
        for text in ("tcp:0:interface=127.0.0.1", "tcp6:0:interface=\\:\\:1", "haproxy:tcp:0"):
            doors = self.doors(text)
            self.assertEqual(doors.missing(), [f"listener mx.listen {text!r}"])
            doors.privilegedStartService()
            doors.privilegedStartService()
            self.assertEqual((len(doors.descriptors), doors.missing()), (1, []))
            doors.stopService()

    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with self.assertRaises(SystemExit) as caught:
                self.doors(f"tcp:{port}:interface=127.0.0.1").privilegedStartService()
        self.assertEqual(
            str(caught.exception),
            f"mailsrv: mx.listen 'tcp:{port}:interface=127.0.0.1': "
            "cannot listen: Address already in use",
        )
