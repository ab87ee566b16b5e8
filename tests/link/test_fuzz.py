"""Strangers and broken peers at the primary's door, with raw sockets.

Each attack ends with the same question: is the next front end served as ever, and does the log
hold nothing that it must not?
"""

import random
import time
import tracemalloc
from ipaddress import ip_network
from typing import Any

import attrs
from twisted.logger import Logger, globalLogPublisher

from mailsrv.link.transport.tokens import FRONTEND
from mailsrv.link.wire.frames import (
    Answer,
    Begin,
    Call,
    Chunk,
    Failed,
    Goodbye,
    Hello,
    Welcome,
    encode_body,
    encode_frame,
)
from mailsrv.link.wire.limits import MIB
from tests.link.links import HELLO, QUICK, LinkCase
from tests.link.operations import TIMES, Echo
from tests.link.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, message, request
from tests.waiting import pause, until

log = Logger()

ECHO = Call(id=1, operation="echo", session=None, lent=None, body=encode_body(Echo(text="hi")))


class DoorCase(LinkCase):
    """A primary on a plain port, a log that is watched."""

    limits = attrs.evolve(QUICK, ping_seconds=5.0)

    def setUp(self) -> None:
        super().setUp()
        self.port = self.serve_plain(self.limits)
        self.token = self.tokens.token(FRONTEND)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.watch)
        self.addCleanup(globalLogPublisher.removeObserver, self.watch)

    def draw(self) -> random.Random:
        """Random choices, whose seed is in the log of the tests."""
        seed = random.randrange(2**32)
        log.info("{test}: seed {seed}", test=self.id(), seed=seed)
        return random.Random(seed)

    def watch(self, event: Any) -> None:
        self.logged.append(repr(event))

    async def raw(self, *data: bytes) -> Raw:
        raw = await Raw.to(self.port)
        self.addCleanup(lambda: raw.transport.abortConnection())
        for one in data:
            raw.send(one)
        return raw

    async def greeted(self) -> Raw:
        """A connection that is a link."""
        raw = await self.raw(request(self.token))
        await until(lambda: b"\r\n\r\n" in raw.received)
        raw.tell(HELLO)
        await until(lambda: raw.frames)
        self.assertIsInstance(raw.frames[0], Welcome)
        return raw

    async def closed(self, raw: Raw, code: int | None = None, seconds: float = 3.0) -> None:
        await until(lambda: raw.closed.called, seconds)
        if code is not None:
            self.assertEqual(raw.close_code, code)

    async def still_serves(self) -> None:
        raw = await self.greeted()
        raw.tell(ECHO)
        await until(lambda: raw.frames[1:])
        self.assertEqual(raw.frames[1], Answer(id=1, body=encode_body("hi")))
        text = "\n".join(self.logged)
        self.assertNotIn(self.token, text)
        self.assertNotIn("canary", text)
        self.assertEqual(self.flushLoggedErrors(), [])


class HandshakeTests(DoorCase):
    async def refused(self, data: bytes, status: int) -> bytes:
        raw = await self.raw(data)
        await self.closed(raw)
        self.assertEqual(raw.received.split(b" ")[1], str(status).encode(), raw.received)
        self.assertEqual(self.made, [])
        return raw.received

    async def test_tokens(self) -> None:
        old = "0" * 64
        answers = {
            await self.refused(data, 401)
            for data in (
                request(None),
                request(""),
                request(old),
                request(self.token[:-1]),
                request(self.token + "0"),
                request(self.token.upper() + "canary"),
                request("x" * 7000),
                request("\xff\xfe"),
                request(self.token, f"authorization: Bearer {self.token}"),
                request(None, authorization=f"Basic {self.token}"),
                request(None, authorization=self.token),
                request(None, authorization="Bearer"),
                request(None, line=f"GET /link?token={self.token} HTTP/1.1"),
                request(None, cookie=f"token={self.token}"),
                request(None, line="GET / HTTP/1.1"),
                request(None, upgrade=None),
            )
        }
        self.assertEqual(len(answers), 1)
        await self.still_serves()

    async def test_origins(self) -> None:
        for origin in ("https://evil.example", "null", "file://", "http://127.0.0.1", "", "\xff"):
            await self.refused(request(self.token, origin=origin), 403)
        twice = request(self.token, "Origin: http://a.example", "ORIGIN: http://b.example")
        await self.refused(twice, 403)
        await self.refused(request(self.token, sec_websocket_origin="http://a.example"), 403)
        await self.still_serves()

    async def test_other_paths_and_protocols(self) -> None:
        for line in ("GET / HTTP/1.1", "GET /link/ HTTP/1.1", "GET /link?x=1 HTTP/1.1"):
            await self.refused(request(self.token, line=line), 404)
        for protocol in (None, "", "mailsrv.2", "mailsrv.1x", "chat, wamp.2.json"):
            await self.refused(request(self.token, sec_websocket_protocol=protocol), 400)
        await self.still_serves()

    async def test_no_websocket(self) -> None:
        for status, changed in (
            (400, {"sec_websocket_version": "12"}),
            (400, {"sec_websocket_version": "canary"}),
            (400, {"sec_websocket_key": "canary"}),
            (400, {"sec_websocket_key": None}),
            (400, {"connection": "close"}),
            (400, {"upgrade": "h2c"}),
            (426, {"upgrade": None}),
            (400, {"host": None}),
            (405, {"line": "POST /link HTTP/1.1"}),
            (505, {"line": "GET /link HTTP/1.0"}),
            (400, {"sec_websocket_protocol": "mailsrv.1, mailsrv.1"}),
        ):
            await self.refused(request(self.token, **changed), status)
        await self.refused(b"canary\r\n\r\n", 401)
        await self.refused(request(self.token, "a header without a colon"), 400)
        await self.refused(request(self.token, " folded: canary"), 400)
        await self.still_serves()

    async def test_compression_is_not_spoken(self) -> None:
        offer = "permessage-deflate; client_max_window_bits"
        raw = await self.raw(request(self.token, sec_websocket_extensions=offer))
        await until(lambda: b"\r\n\r\n" in raw.received)
        self.assertIn(b" 101 ", raw.received)
        self.assertNotIn(b"extensions", raw.received.lower())
        raw.send(message(encode_frame(HELLO), reserved=4))
        await self.closed(raw, 1002)

    async def test_forwarded_for_is_nobodys_word(self) -> None:
        port = self.serve_plain(allow=[ip_network("192.0.2.0/24")])
        raw = await Raw.to(port)
        raw.send(request(self.token, x_forwarded_for="192.0.2.1"))
        await self.closed(raw)
        self.assertEqual(raw.received, b"")

    async def test_an_endless_header(self) -> None:
        raw = await self.raw(b"GET /link HTTP/1.1\r\nx: " + b"a" * MIB)
        await self.closed(raw, seconds=0.9)
        await self.still_serves()

    async def test_slow(self) -> None:
        raw = await self.raw()
        for octet in request(self.token)[:30]:
            raw.send(bytes([octet]))
            await pause(0.05)
            if raw.closed.called:
                break
        await self.closed(raw, seconds=0.5)
        self.assertEqual(raw.received, b"")
        await self.still_serves()

    async def test_a_handshake_in_pieces(self) -> None:
        data = request(self.token) + message(encode_frame(HELLO)) + message(encode_frame(ECHO))
        for size in (1, 2, 7, 50, 200, len(data)):
            raw = await self.raw()
            for start in range(0, len(data), size):
                raw.transport.socket.setblocking(True)
                raw.transport.socket.sendall(data[start : start + size])
                if size < 50:
                    await pause(0)
            raw.transport.socket.setblocking(False)
            await until(lambda raw=raw: raw.frames[1:])
            self.assertEqual(raw.frames[1].id, 1)

    async def test_random_handshakes(self) -> None:
        draw = self.draw()
        good = request(self.token)
        for number in range(100 * TIMES):
            data = bytearray(good)
            for _ in range(draw.randint(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            if draw.random() < 0.3:
                del data[draw.randrange(len(data)) :]
            raw = await self.raw(bytes(data))
            if number % 20 == 19:
                raw.transport.loseConnection()
            await pause(0)
            if number % 50 == 49:
                await until(lambda: self.factories[0].countConnections < 32, 5)
        await until(lambda: not self.factories[0].countConnections, 5)
        await self.still_serves()


class GreetingTests(DoorCase):
    async def opened(self) -> Raw:
        raw = await self.raw(request(self.token))
        await until(lambda: b"\r\n\r\n" in raw.received)
        return raw

    async def test_other_frames_first(self) -> None:
        for frame in (ECHO, Goodbye(sentence="x"), Answer(id=1, body=b"")):
            raw = await self.opened()
            raw.tell(frame)
            await self.closed(raw, 1002)
            self.assertEqual(raw.frames, [])
        self.assertEqual(self.made, [])

    async def test_other_versions(self) -> None:
        for version in (0, 2, 2**63 - 1):
            raw = await self.opened()
            raw.tell(Hello(version=version, node="x", public_key=b""))
            await self.closed(raw, 1002)
            self.assertIn(f"version {version}".encode(), raw.messages[-1][1])

    async def test_no_hello(self) -> None:
        raw = await self.opened()
        await self.closed(raw, seconds=2)

    async def test_names_with_control_characters(self) -> None:
        for node in ("a\nb", "", "a b", "x" * 256, "\u2028"):
            raw = await self.opened()
            raw.send(message(encode_frame(Hello(version=1, node=node, public_key=b""))))
            await self.closed(raw, 1002)

    async def test_hello_twice(self) -> None:
        raw = await self.greeted()
        raw.tell(HELLO)
        await self.closed(raw, 1002)

    async def test_garbage(self) -> None:
        for data in (b"", b"\xc1", b"\x91" * 90_000, bytes(1000), b"{}", b"\x80\x04\x95canary"):
            raw = await self.opened()
            raw.send(message(data))
            await self.closed(raw, 1002)
        await self.still_serves()


class FramingTests(DoorCase):
    async def ends(self, code: int, *data: bytes, seconds: float = 3.0) -> Raw:
        raw = await self.greeted()
        for one in data:
            raw.send(one)
        await self.closed(raw, code, seconds)
        return raw

    async def test_lengths_that_no_one_sends(self) -> None:
        for length in (2**63 - 1, 2**31, 65 * MIB, MIB + 1):
            tracemalloc.start()
            await self.ends(1009, message(b"", length=length) + b"x" * 100, seconds=1)
            self.assertLess(tracemalloc.get_traced_memory()[1], 4 * MIB)
            tracemalloc.stop()
        await self.ends(1002, message(b"", length=2**63))
        await self.still_serves()

    async def test_a_million_fragments(self) -> None:
        began = time.process_time()
        first = message(b"x", fin=False)
        rest = message(b"x", CONTINUATION, fin=False) * 1_000_000
        await self.ends(1009, first + rest)
        self.assertLess(time.process_time() - began, 2)
        await self.still_serves()

    async def test_empty_fragments(self) -> None:
        first, rest = message(b"", fin=False), message(b"", CONTINUATION, fin=False) * 10_000
        await self.ends(1009, first + rest)

    async def test_a_few_fragments_are_fine(self) -> None:
        raw = await self.greeted()
        data = encode_frame(ECHO)
        raw.send(message(data[:3], fin=False) + message(data[3:9], CONTINUATION, fin=False))
        raw.send(message(b"in between", PING) + message(data[9:], CONTINUATION))
        await until(lambda: raw.frames[1:])
        self.assertIn((PONG, b"in between"), raw.messages)

    async def test_fragments_over_the_limit(self) -> None:
        piece = bytes(40_000)
        rest = message(piece, CONTINUATION, fin=False) * 40
        await self.ends(1009, message(piece, fin=False) + rest)

    async def test_control_frames(self) -> None:
        await self.ends(1002, message(bytes(126), PING))
        await self.ends(1002, message(b"x", PING, fin=False))
        await self.ends(1002, message(b"\x03", CLOSE))
        await self.ends(1002, message((1005).to_bytes(2, "big"), CLOSE))
        await self.ends(1007, message(b"\x03\xe8\xff\xfe", CLOSE))
        for opcode in (11, 15):
            await self.ends(1002, message(b"", opcode))

    async def test_data_frames(self) -> None:
        data = encode_frame(ECHO)
        await self.ends(1002, message(data, masked=False))
        for reserved in (1, 2, 4):
            await self.ends(1002, message(data, reserved=reserved))
        for opcode in (3, 7):
            await self.ends(1002, message(data, opcode))
        await self.ends(1002, message(data, CONTINUATION))
        await self.ends(1002, message(data, fin=False), message(data))
        await self.ends(1003, message(b"hello", TEXT))
        await self.ends(1007, message(b"\xff\xfe", TEXT))

    async def test_a_close_is_answered(self) -> None:
        raw = await self.ends(1000, message((1000).to_bytes(2, "big"), CLOSE))
        self.assertEqual(raw.close_code, 1000)

    async def test_pings_that_nobody_reads_answers_of(self) -> None:
        raw = await self.greeted()
        raw.transport.pauseProducing()
        await until(lambda: self.made)
        for _ in range(20):
            raw.send(message(bytes(125), PING) * 1000)
            await pause(0)
        await pause(0.3)
        server = self.made[0][0]._wire.transport
        self.assertLess(len(server.dataBuffer) + server._tempDataLen, MIB)
        raw.transport.resumeProducing()
        raw.tell(ECHO)
        answer = encode_frame(Answer(id=1, body=encode_body("hi")))
        await until(lambda: raw.received.endswith(answer))

    async def test_cut_in_the_middle(self) -> None:
        data = message(encode_frame(ECHO))
        for end in range(0, len(data), 1 if TIMES > 1 else 5):
            raw = await self.greeted()
            raw.send(data[:end])
            await pause(0)
            raw.transport.abortConnection()
        await self.still_serves()
        await until(lambda: self.factories[0].countConnections == 1)

    async def test_bad_calls_are_answered_and_the_link_goes_on(self) -> None:
        raw = await self.greeted()
        head = encode_frame(attrs_call(2, operation="carry"))
        raw.tell(attrs_call(1, operation="drop table"))
        raw.tell(Begin(id=2, answer=False, size=65 * MIB, head=head))
        raw.tell(attrs_call(3, body=b"\x91" * 60_000))
        raw.send(message(b"\x93\x02\x04\xc0"))
        raw.tell(attrs_call(5, body=encode_body({"text": 5})))
        raw.tell(Chunk(id=2, answer=False, data=bytes(1000)))
        raw.tell(ECHO)
        await until(lambda: raw.frames[6:])
        failed = {one.id: one for one in raw.frames if isinstance(one, Failed)}
        self.assertEqual({one.kind for one in failed.values()}, {"InvalidInput"})
        self.assertIn("drop table", failed[1].sentence)
        self.assertIn(str(65 * MIB), failed[2].sentence)
        self.assertEqual(sorted(failed), [1, 2, 3, 4, 5])
        self.assertIsInstance(raw.frames[6], Answer)

    async def test_a_flood_of_calls_that_nobody_reads_answers_of(self) -> None:
        self.port = self.serve_plain(attrs.evolve(self.limits, queued_octets=2 * MIB))
        raw = await self.greeted()
        raw.transport.pauseProducing()
        server = self.made[0][0]
        body = encode_body(Echo(text="x" * 1000))
        calls = message(encode_frame(attrs_call(1, body=body))) * 500
        for _ in range(100):
            raw.send(calls)
            await pause(0)
            self.assertLess(server.peer._outbox.queued, 3 * MIB)
            if server.closed.called:
                break
        self.assertIn("does not read", await server.closed)
        await self.still_serves()

    async def test_random_frames(self) -> None:
        draw = self.draw()
        good = [encode_frame(one) for one in (HELLO, ECHO, Answer(id=1, body=b"x"))]
        for _ in range(60 * TIMES):
            raw = await self.greeted()
            for _ in range(draw.randint(1, 5)):
                data = bytearray(draw.choice(good))
                for _ in range(draw.randint(0, 4)):
                    data[draw.randrange(len(data))] = draw.randrange(256)
                wire = bytearray(message(bytes(data), draw.choice([BINARY] * 9 + [TEXT, PING])))
                if draw.random() < 0.3:
                    wire[draw.randrange(len(wire))] = draw.randrange(256)
                raw.send(bytes(wire))
            await pause(0)
            raw.transport.loseConnection()
        await self.still_serves()


def attrs_call(number: int, **given: Any) -> Call:
    """A call with some fields of our choice."""
    fields = {"operation": "echo", "session": None, "lent": None, "body": b"", **given}
    return Call(id=number, **fields)
