"""Splitting a message into what is stored once, and getting the same octets back."""

import base64

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.parts import (
    SMALLEST,
    Base64,
    Segment,
    decode,
    encode,
    layout_of,
    split,
)
from mailsrv.message.scan import scan

DATA = bytes(range(256)) * 40


def lines(data: bytes, length: int, eol: bytes, final: bool = True) -> bytes:
    text = base64.b64encode(data)
    cut = [text[start : start + length] for start in range(0, len(text), length)]
    return eol.join(cut) + (eol if final else b"")


def attachment(body: bytes, encoding: str = "base64", eol: bytes = b"\r\n") -> bytes:
    head = (
        "Content-Type: multipart/mixed; boundary=b\n\n"
        f"--b\nContent-Transfer-Encoding: {encoding}\n\n"
    )
    return head.encode().replace(b"\n", eol) + body + b"--b--"


def restored(content: bytes, segments: list[Segment]) -> bytes:
    pieces = []
    for segment in segments:
        data = segment.decoded(content)
        pieces.append(data if segment.base64 is None else encode(data, segment.base64))
    return b"".join(pieces)


class LayoutTests(SynchronousTestCase):
    def test_regular_layouts(self):
        for length in (4, 60, 64, 72, 76, 996):
            for eol in (b"\r\n", b"\n"):
                for final in (True, False):
                    for size in (0, 1, 2, 3, 56, 57, 58, 5000):
                        text = lines(DATA[:size], length, eol, final and size > 0)
                        layout = layout_of(text)
                        self.assertIsNotNone(layout, (length, eol, final, size))
                        self.assertEqual(decode(text), DATA[:size])
                        self.assertEqual(encode(DATA[:size], layout), text)
                        self.assertEqual(layout.encoded_size(size), len(text))

    def test_layout_is_told_exactly(self):
        self.assertEqual(layout_of(lines(DATA, 76, b"\r\n")), Base64(76, b"\r\n", True))
        self.assertEqual(layout_of(lines(DATA, 60, b"\n", False)), Base64(60, b"\n", False))
        self.assertEqual(layout_of(base64.b64encode(DATA)), Base64(0, b"", False))

    def test_irregular(self):
        good = lines(DATA, 76, b"\r\n")
        bad = {
            "line end changes": good.replace(b"\r\n", b"\n", 1),
            "line end changes later": good[:500] + good[500:].replace(b"\r\n", b"\n", 1),
            "blank at the end of a line": good.replace(b"\r\n", b" \r\n", 1),
            "not base64": good[:100] + b"*" + good[101:],
            "empty line": good.replace(b"\r\n", b"\r\n\r\n", 1),
            "padding missing": lines(DATA[:4], 76, b"\n").replace(b"=", b""),
            "bits after the padding": b"QR==",
            "two runs": lines(DATA[:58], 76, b"\n") + lines(DATA[:58], 76, b"\n"),
            "line length": lines(DATA, 75, b"\n"),
            "only a line end": b"\n",
            "short first line": lines(DATA[:3], 4, b"\n") + lines(DATA, 76, b"\n"),
        }
        for why, text in bad.items():
            self.assertIsNone(layout_of(text), why)


class ChunkTests(SynchronousTestCase):
    def test_encoding_in_chunks(self):
        for layout in (Base64(76, b"\r\n", True), Base64(4, b"\n", False), Base64(0, b"", False)):
            size = layout.octets_per_line * 7
            chunks = [DATA[start : start + size] for start in range(0, len(DATA), size)]
            encoded = [encode(chunk, layout, last=chunk is chunks[-1]) for chunk in chunks]
            self.assertEqual(b"".join(encoded), encode(DATA, layout))

    def test_last_full_line_before_the_end(self):
        layout = Base64(76, b"\r\n", False)
        data = DATA[: 57 * 4]
        joined = encode(data[: 57 * 2], layout, last=False) + encode(data[57 * 2 :], layout)
        self.assertEqual(joined, encode(data, layout))

    def test_chunk_must_be_whole_lines(self):
        with self.assertRaises(ValueError):
            encode(DATA[:58], Base64(76, b"\r\n", True), last=False)

    def test_any_range_from_the_lines_that_cover_it(self):
        for layout in (Base64(76, b"\r\n", True), Base64(8, b"\n", False), Base64(0, b"", False)):
            for size in (1, 57, 58, 200):
                data = DATA[:size]
                whole = encode(data, layout)
                for start in range(len(whole)):
                    for end in {start, start + 1, start + 77, len(whole)}:
                        end = min(end, len(whole))
                        first, last, skip = layout.covering(size, start, end)
                        piece = encode(data[first:last], layout, last=last == size)
                        self.assertEqual(piece[skip : skip + end - start], whole[start:end])
                        self.assertLessEqual(last - first, end - start + 2 * 57 + 3)


class SplitTests(SynchronousTestCase):
    def check(self, content: bytes) -> list[Segment]:
        segments = split(content, scan(content).root)
        self.assertEqual(restored(content, segments), content)
        position = 0
        for segment in segments:
            self.assertEqual(segment.start, position)
            self.assertGreater(segment.end, segment.start)
            position = segment.end
        self.assertEqual(position, len(content))
        return segments

    def test_nothing(self):
        self.assertEqual(self.check(b""), [])
        self.assertEqual(self.check(b"Subject: x\n\nsmall"), [Segment(0, 17)])

    def test_attachment_is_stored_decoded(self):
        for eol in (b"\r\n", b"\n"):
            content = attachment(lines(DATA, 76, eol), eol=eol)
            literal, part, rest = self.check(content)
            self.assertTrue(part.is_part)
            self.assertEqual(part.decoded(content), DATA)
            self.assertEqual(literal.is_part or rest.is_part, False)

    def test_same_file_from_different_programs_is_one_part(self):
        bodies = [
            lines(DATA, 76, b"\r\n") + b"\r\n",
            lines(DATA, 72, b"\n"),
            lines(DATA, 60, b"\r\n") + b"\r\n\r\n\r\n",
            base64.b64encode(DATA) + b"\n",
        ]
        stored = []
        for body in bodies:
            content = attachment(body)
            stored += [s.decoded(content) for s in self.check(content) if s.is_part]
        self.assertEqual(stored, [DATA] * 4)

    def test_irregular_base64_is_stored_as_it_is(self):
        body = lines(DATA, 76, b"\r\n").replace(b"\r\n", b" \r\n", 1)
        content = attachment(body)
        part = next(s for s in self.check(content) if s.is_part)
        self.assertIsNone(part.base64)
        self.assertEqual(part.decoded(content), body.removesuffix(b"\r\n"))

    def test_other_encodings_are_stored_as_they_are(self):
        for encoding in ("8bit", "quoted-printable", "x-unknown"):
            content = attachment(lines(DATA, 76, b"\r\n"), encoding)
            part = next(s for s in self.check(content) if s.is_part)
            self.assertIsNone(part.base64)

    def test_small_bodies_stay(self):
        for size, parts in ((SMALLEST, 0), (SMALLEST + 1, 1)):
            segments = self.check(b"Subject: x\n\n" + b"x" * size)
            self.assertEqual(sum(segment.is_part for segment in segments), parts)

    def test_part_of_enclosed_message(self):
        inner = attachment(lines(DATA, 76, b"\r\n"))
        content = b"Content-Type: message/rfc822\r\n\r\n" + inner
        part = next(s for s in self.check(content) if s.is_part)
        self.assertEqual(part.decoded(content), DATA)
