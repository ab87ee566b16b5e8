"""Frames: what is encoded comes back, and nothing else gets through."""

import contextlib

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.link.wire.frames import (
    Answer,
    BadFrame,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Failed,
    Frame,
    Goodbye,
    Hello,
    Lent,
    Note,
    Welcome,
    decode_body,
    decode_frame,
    encode_body,
    encode_frame,
)
from tests.link.operations import TIMES, Carry, Echo

COUNT = st.integers(0, 2**63 - 1)
NAME = st.text(min_size=1, max_size=64)
NODE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
BODY = st.binary(max_size=2000)
LENT = st.builds(Lent, number=COUNT, sealed=st.binary(max_size=8192))

FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, version=COUNT, node=NODE, public_key=st.binary(max_size=4096)),
    st.builds(
        Welcome,
        version=COUNT,
        primary=NODE,
        public_key=st.binary(max_size=4096),
        nonce=st.binary(min_size=16, max_size=16),
        in_flight=st.integers(1, 2**31),
        message_octets=COUNT,
        lease_seconds=st.floats(allow_nan=False),
    ),
    st.builds(
        Call,
        id=COUNT,
        operation=NAME,
        session=st.none() | st.text(min_size=1, max_size=128),
        lent=st.none() | LENT,
        body=BODY,
    ),
    st.builds(Answer, id=COUNT, body=BODY),
    st.builds(Failed, id=COUNT, kind=NAME, sentence=st.text(max_size=1000)),
    st.builds(Cancel, id=COUNT),
    st.builds(Begin, id=COUNT, answer=st.booleans(), size=COUNT, head=BODY),
    st.builds(Chunk, id=COUNT, answer=st.booleans(), data=BODY),
    st.builds(Credit, id=COUNT, answer=st.booleans(), octets=COUNT),
    st.builds(Note, kind=NAME, body=BODY),
    st.builds(Goodbye, sentence=st.text(max_size=1000)),
)


def packed(*values: object) -> bytes:
    return msgspec.msgpack.encode(values)


class FrameTests(SynchronousTestCase):
    @settings(max_examples=200 * TIMES, deadline=None)
    @given(FRAMES)
    def test_comes_back(self, frame: Frame) -> None:
        self.assertEqual(decode_frame(encode_frame(frame)), frame)

    @settings(max_examples=200 * TIMES, deadline=None)
    @given(FRAMES, st.data())
    def test_cut_short(self, frame: Frame, data: st.DataObject) -> None:
        encoded = encode_frame(frame)
        end = data.draw(st.integers(0, len(encoded) - 1))
        with self.assertRaises(BadFrame):
            decode_frame(encoded[:end])

    def test_one_frame_to_a_message(self) -> None:
        with self.assertRaises(BadFrame):
            decode_frame(encode_frame(Cancel(id=1)) * 2)

    def test_small_calls_cost_little(self) -> None:
        call = Call(id=7, operation="echo", session="0" * 24, lent=None, body=b"")
        self.assertLess(len(encode_frame(call)), 40)

    def refused(self, data: bytes) -> BadFrame:
        with self.assertRaises(BadFrame) as caught:
            decode_frame(data)
        self.assertIsInstance(caught.exception, InvalidInput)
        return caught.exception

    def test_names_what_is_wrong(self) -> None:
        for data, words in (
            (packed(99, 1), "99"),
            (packed("Call", 1), "int"),
            (packed(5), "length"),
            (packed(5, "seven"), "int"),
            (packed(5, -1), ">= 0"),
            (packed(5, 2**63), "<= "),
            (packed(5, 1, 2), "length"),
            (b"\xc1", "malformed"),
            (b"", "truncated"),
            (encode_body({"id": 1}), "array"),
        ):
            self.assertIn(words, str(self.refused(data)), data)

    def test_a_bad_call_has_an_id_to_answer(self) -> None:
        self.assertEqual(self.refused(packed(2, 17, 5, None, None, b"")).call, 17)
        self.assertEqual(self.refused(packed(2, 18, "x" * 65, None, None, b"")).call, 18)
        self.assertEqual(self.refused(packed(2, 19)).call, 19)
        self.assertEqual(self.refused(packed(6, 20, False, "much", b"")).call, 20)
        self.assertIsNone(self.refused(packed(2, "seven")).call)
        self.assertIsNone(self.refused(packed(3, 21, "no bytes")).call)

    def test_never_shows_values(self) -> None:
        error = self.refused(packed(2, 1, "login", None, ["canary-secret"], b""))
        self.assertNotIn("canary", str(error))

    def test_depth_and_sizes_that_lie(self) -> None:
        for data in (
            b"\x91" * 100_000,
            packed(2, 1, "x", None)[:-1] + b"\x91" * 100_000,
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\x92\x05\xc6\xff\xff\xff\xffabc",
            b"\x92\x04\xdf\xff\xff\xff\xff",
            b"\x93\x0a\xdb\xff\xff\xff\xff",
            b"\x92\x0a\xa2\xff\xfe",
        ):
            self.refused(data)

    @settings(max_examples=500 * TIMES, deadline=None)
    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            decode_frame(data)
        except InvalidInput as error:
            self.assertLess(len(str(error)), 400)

    @settings(max_examples=300 * TIMES, deadline=None)
    @given(FRAMES, st.data())
    def test_any_byte_changed(self, frame: Frame, data: st.DataObject) -> None:
        encoded = bytearray(encode_frame(frame))
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(InvalidInput):
            decode_frame(bytes(encoded))


class BodyTests(SynchronousTestCase):
    def test_comes_back(self) -> None:
        operation = Carry(data=b"\0\xff", size=3)
        self.assertEqual(decode_body(Carry, encode_body(operation)), operation)

    def test_types_of_answers(self) -> None:
        for kind, value in ((list[str], ["a"]), (bytes | None, None), (None, None), (int, 4)):
            self.assertEqual(decode_body(kind, encode_body(value)), value)

    def test_says_where(self) -> None:
        for body, words in (
            (encode_body({"text": 5}), "$.text"),
            (encode_body({}), "text"),
            (encode_body({"text": "x", "sql": "DROP"}), "sql"),
            (encode_body(["x"]), "object"),
            (b"", "truncated"),
            (encode_body({"text": "x"}) + b"\0", "trailing"),
            (b"\x81\xa4text" + b"\x91" * 50_000, "$.text"),
            (b"\x81\xa4nope" + b"\x91" * 50_000, ""),
            (b"\x81\xa4text\xa2\xff\xfe", "UTF-8"),
        ):
            with self.assertRaises(InvalidInput) as caught:
                decode_body(Echo, body)
            self.assertIn(words, str(caught.exception))
