"""The proxy does what its name for it says: else the tests behind it would show nothing."""

import contextlib
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.link.wire.frames import Answer, Call, Chunk, encode_frame
from tests.faults.link_frames import DOWN, UP
from tests.faults.link_proxy import Do, Fault, LinkProxy

HEAD = b"GET /link HTTP/1.1\r\nHost: x\r\n\r\n"


def websocket_frame(payload: bytes, mask: bytes = b"") -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)
    if not mask:
        return b"\x82" + length + payload
    masked = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
    return b"\x82" + bytes([length[0] | 0x80]) + length[1:] + mask + masked


def call(number: int, operation: str = "append", body: bytes = b"") -> bytes:
    frame = Call(number, operation, None, None, body)
    return websocket_frame(encode_frame(frame), os.urandom(4))


class LinkProxyTests(SynchronousTestCase):
    """Against a primary that keeps what it hears and answers nothing but what it is told to."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mailsrv-proxy-"))
        self.addCleanup(os.rmdir, folder)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "far"))
        self.listener.listen()
        self.addCleanup((folder / "far").unlink)
        self.addCleanup(self.listener.close)
        self.proxy = LinkProxy(folder / "near", folder / "far")
        self.addCleanup(self.proxy.close)

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """The secondary's and the primary's end, handshake done."""
        near = socket.socket(socket.AF_UNIX)
        near.connect(str(self.proxy.path))
        far = self.listener.accept()[0]
        for one, other in ((near, far), (far, near)):
            one.settimeout(5)
            self.addCleanup(one.close)
            other.settimeout(5)
            one.sendall(HEAD)
            self.assertEqual(self.heard(other, len(HEAD)), HEAD)
        return near, far

    def heard(self, end: socket.socket, octets: int) -> bytes:
        """What comes: as much as that, or all until the end of the connection."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while len(data) < octets and (more := end.recv(octets - len(data))):
                data += more
        return data

    def quiet(self, end: socket.socket, seconds: float) -> bool:
        end.settimeout(seconds)
        try:
            return not end.recv(1)
        except TimeoutError:
            return True
        finally:
            end.settimeout(5)

    def test_passes_and_counts(self) -> None:
        near, far = self.connect()
        sent = call(1) + call(2, "move", bytes(500))
        for at in range(0, len(sent), 7):
            near.sendall(sent[at : at + 7])
        self.assertEqual(self.heard(far, len(sent)), sent)
        answers = websocket_frame(encode_frame(Answer(2, b""))) + b"\x89\x00"
        far.sendall(answers + websocket_frame(encode_frame(Chunk(1, True, b"x"))))
        self.assertEqual(self.heard(near, len(answers)), answers)
        self.assertEqual(self.proxy.seen[UP, "Call", "append"], 1)
        self.assertEqual(self.proxy.seen[DOWN, "Answer", "move"], 1)
        self.assertEqual(self.proxy.seen[DOWN, "Chunk", "append"], 1)

    def outcome(self, do: Do) -> bytes:
        """What arrives of three calls when the fault is at the second."""
        near, far = self.connect()
        calls = [call(1), call(2, "move"), call(3)]
        fault = self.proxy.fault(Fault(UP, do, "move"))
        with contextlib.suppress(OSError):
            near.sendall(b"".join(calls))
        self.calls = calls
        self.assertTrue(fault.met.wait(5))
        return self.heard(far, len(b"".join(calls)) + 1 if "CUT" in do.name else len(calls[0]) * 2)

    def test_cuts(self) -> None:
        self.assertEqual(self.outcome(Do.CUT_BEFORE), self.calls[0])
        self.assertEqual(self.outcome(Do.CUT_AFTER), self.calls[0] + self.calls[1])
        half = self.outcome(Do.CUT_INSIDE)
        self.assertEqual(half, self.calls[0] + self.calls[1][: len(self.calls[1]) // 2])
        self.assertEqual(self.proxy.connected, 0)

    def test_drops(self) -> None:
        self.assertEqual(self.outcome(Do.DROP), self.calls[0] + self.calls[2])

    def test_repeats(self) -> None:
        near, far = self.connect()
        self.proxy.fault(Fault(UP, Do.REPEAT, number=1))
        one, two = call(1), call(2)
        near.sendall(one + two)
        self.assertEqual(self.heard(far, 2 * len(one) + len(two)), one + one + two)

    def test_reorders(self) -> None:
        near, far = self.connect()
        self.proxy.fault(Fault(UP, Do.HOLD, number=1, seconds=0.1))
        one, two = call(1), call(2)
        near.sendall(one + two)
        self.assertEqual(self.heard(far, len(one) + len(two)), two + one)

    def test_calls_back_at_the_stage(self) -> None:
        near, far = self.connect()
        heard: list[bytes] = []
        one = call(1)
        self.proxy.fault(Fault(UP, Do.PASS, then=lambda: heard.append(self.heard(far, len(one)))))
        called = threading.Event()
        self.proxy.fault(Fault(UP, Do.CUT_BEFORE, number=2, then=called.set))
        near.sendall(one + call(2))
        self.assertTrue(called.wait(5))
        self.assertEqual(heard, [one])
        self.assertEqual(self.heard(far, 1), b"")

    def test_delays(self) -> None:
        near, far = self.connect()
        self.proxy.delay = 0.2
        begun = time.monotonic()
        one = call(1)
        near.sendall(one)
        self.assertEqual(self.heard(far, len(one)), one)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)

    def test_is_slow(self) -> None:
        near, far = self.connect()
        self.proxy.octets_per_second = 20_000
        begun = time.monotonic()
        one = call(1, body=bytes(5000))
        near.sendall(one)
        self.assertEqual(self.heard(far, len(one)), one)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)

    def test_stalls_one_direction(self) -> None:
        near, far = self.connect()
        self.proxy.stall(UP)
        one = call(1)
        near.sendall(one)
        self.assertTrue(self.quiet(far, 0.1))
        far.sendall(one)
        self.assertEqual(self.heard(near, len(one)), one)
        self.proxy.resume()
        self.assertEqual(self.heard(far, len(one)), one)

    def test_cuts_after_octets(self) -> None:
        near, far = self.connect()
        self.proxy.octets_until_cut[DOWN] = len(HEAD) + 10
        far.sendall(call(1, body=bytes(100)))
        self.assertEqual(len(self.heard(near, 100)), 10)
        near, far = self.connect()
        far.sendall(call(1))
        self.assertEqual(len(self.heard(near, len(call(1)))), len(call(1)))

    def test_goes_and_comes_back(self) -> None:
        near, _ = self.connect()
        self.proxy.down()
        self.assertEqual(self.heard(near, 1), b"")
        with socket.socket(socket.AF_UNIX) as late, self.assertRaises(OSError):
            late.connect(str(self.proxy.path))
        self.proxy.up()
        self.connect()
