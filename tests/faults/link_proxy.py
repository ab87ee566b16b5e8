"""A proxy on the link that does what networks do: be slow, stall, break, and be gone.

It stands between a secondary and the primary's socket, understands frames (so the link has no TLS
there), and runs in threads of the test's process: blocking sockets, no reactor. What it does to
single frames are ``Fault`` objects; what it does to all octets are attributes.
"""

import contextlib
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from tests.faults.link_frames import DOWN, UP, Calls, Frame, FrameReader

CHUNK = 64 * 1024
QUEUED = 16
"""Pieces that wait to be sent on: so little that the sender feels a slow receiver."""


class Do(Enum):
    """What happens to the link at a frame."""

    CUT_BEFORE = auto()
    CUT_INSIDE = auto()
    CUT_AFTER = auto()
    DROP = auto()
    REPEAT = auto()
    HOLD = auto()
    """Sent ``seconds`` later; what comes behind it overtakes it."""
    PASS = auto()


@dataclass
class Fault:
    """Happens to the next ``times`` frames that match; ``met`` is set at the first.

    ``then`` is called in the proxy's thread: before what was cut off, after what was sent. The
    frame's direction waits for it, and ``over`` is set behind it.
    """

    way: str
    do: Do
    operation: str = ""
    kind: str = ""
    number: int = 0
    times: int = 1
    seconds: float = 0.2
    then: Callable[[], object] | None = None
    met: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def matches(self, frame: Frame) -> bool:
        return (
            self.times > 0
            and bool(frame.kind)
            and self.way == frame.way
            and self.operation in ("", frame.operation)
            and self.kind in ("", frame.kind)
            and self.number in (0, frame.number)
        )

    def finish(self) -> None:
        if self.then is not None:
            self.then()
        self.over.set()


Piece = bytes | Callable[[], object]


class _Way:
    """One direction of one connection: one thread reads and judges, another sends in time."""

    def __init__(
        self, connection: "_Connection", way: str, source: socket.socket, target: socket.socket
    ) -> None:
        self.connection = connection
        self.proxy = connection.proxy
        self.way = way
        self.source = source
        self.target = target
        self.reader = FrameReader(way, connection.calls)
        self.queue: queue.Queue[tuple[float, Piece]] = queue.Queue(QUEUED)
        self.sent = 0

    def start(self) -> None:
        for work in (self._read, self._send):
            threading.Thread(target=work, daemon=True).start()

    def put(self, *pieces: Piece) -> None:
        """Octets for a connection that has ended go nowhere; what is to be called still is."""
        for piece in pieces:
            if self.connection.ended.is_set() and callable(piece):
                piece()
            due = time.monotonic() + self.proxy.delay
            while not self.connection.ended.is_set():
                with contextlib.suppress(queue.Full):
                    self.queue.put((due, piece), timeout=0.2)
                    break

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.source.recv(CHUNK):
                for frame in self.reader.feed(data):
                    self.put(*self._judged(frame))
        self.put(self.connection.cut)

    def _judged(self, frame: Frame) -> Iterable[Piece]:
        self.proxy.seen[frame.way, frame.kind, frame.operation] += 1
        fault = self.proxy.take(frame)
        if fault is None:
            return [frame.raw]
        then, cut = fault.finish, self.connection.cut
        if fault.do is Do.HOLD:
            later = threading.Timer(fault.seconds, self.put, (frame.raw, then))
            later.daemon = True
            later.start()
            return []
        plans: dict[Do, list[Piece]] = {
            Do.CUT_BEFORE: [then, cut],
            Do.CUT_INSIDE: [frame.raw[: len(frame.raw) // 2], then, cut],
            Do.CUT_AFTER: [frame.raw, then, cut],
            Do.DROP: [then],
            Do.REPEAT: [frame.raw, frame.raw, then],
            Do.PASS: [frame.raw, then],
        }
        return plans[fault.do]

    def _send(self) -> None:
        ended = self.connection.ended
        while True:
            try:
                due, piece = self.queue.get(timeout=0.2)
            except queue.Empty:
                if ended.is_set():
                    return
                continue
            if not ended.is_set():
                time.sleep(max(0.0, due - time.monotonic()))
                self.proxy.wait_for(self.way, ended)
            if callable(piece):
                piece()
            elif not ended.is_set():
                self._pass_on(piece)

    def _pass_on(self, octets: bytes) -> None:
        limit = self.proxy.octets_until_cut.get(self.way)
        if limit is not None and self.sent + len(octets) > limit:
            del self.proxy.octets_until_cut[self.way]
            self._write(octets[: max(0, limit - self.sent)])
            self.connection.cut()
        else:
            self._write(octets)
            self.sent += len(octets)

    def _write(self, octets: bytes) -> None:
        rate = self.proxy.octets_per_second
        step = max(1, int(rate / 20)) if rate else len(octets) or 1
        try:
            for start in range(0, len(octets), step):
                self.target.sendall(octets[start : start + step])
                if rate:
                    time.sleep(step / rate)
        except OSError:
            self.connection.cut()


class _Connection:
    def __init__(self, proxy: "LinkProxy", near: socket.socket, far: socket.socket) -> None:
        self.proxy = proxy
        self.ended = threading.Event()
        self.calls = Calls()
        self.sockets = (near, far)
        self.ways = {UP: _Way(self, UP, near, far), DOWN: _Way(self, DOWN, far, near)}

    def start(self) -> None:
        for way in self.ways.values():
            way.start()

    def cut(self) -> None:
        self.ended.set()
        self.proxy.forget(self)
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class LinkProxy:
    """Listens at ``path``, speaks to ``upstream``; both are unix sockets."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self.upstream = upstream
        self.delay = 0.0
        """Seconds that everything is under way."""
        self.octets_per_second: float | None = None
        self.octets_until_cut: dict[str, int] = {}
        """How much of a connection's direction passes, once, before the connection is cut."""
        self.seen: Counter[tuple[str, str, str]] = Counter()
        """Frames that came in, by direction, kind and operation."""
        self._faults: list[Fault] = []
        self._open = {UP: threading.Event(), DOWN: threading.Event()}
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.resume()
        self.up()

    # Single frames

    def fault(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, frame: Frame) -> Fault | None:
        """The fault that this frame meets, counted down."""
        with self._lock:
            fault = next((one for one in self._faults if one.matches(frame)), None)
            if fault is not None:
                fault.times -= 1
                fault.met.set()
        return fault

    # All of the link

    def stall(self, *ways: str) -> None:
        """Let nothing pass in these directions (both, when none is named), and close nothing."""
        for way in ways or (UP, DOWN):
            self._open[way].clear()

    def resume(self) -> None:
        for event in self._open.values():
            event.set()

    def wait_for(self, way: str, ended: threading.Event) -> None:
        while not self._open[way].wait(0.2) and not ended.is_set():
            pass

    def cut(self) -> None:
        """End the connections that there are; new ones are welcome."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def down(self) -> None:
        """Refuse connections and end those that there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.path.unlink(missing_ok=True)
        self.cut()

    def up(self) -> None:
        if self._listener is None:
            self._listener = listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.path))
            listener.listen(64)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def heal(self) -> None:
        """Be a good link again, from now on."""
        with self._lock:
            self._faults.clear()
        self.delay, self.octets_per_second = 0.0, None
        self.octets_until_cut.clear()
        self.resume()
        self.up()

    def close(self) -> None:
        self.resume()
        self.down()

    @property
    def connected(self) -> int:
        with self._lock:
            return len(self._connections)

    def forget(self, connection: _Connection) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._listener is listener:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(str(self.upstream))
                except OSError:
                    far.close()
                    near.close()
                    continue
                connection = _Connection(self, near, far)
                with self._lock:
                    self._connections.append(connection)
                connection.start()
