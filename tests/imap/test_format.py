"""Values to octets: strings, names, dates, sets and whole responses."""

from array import array
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap import format as fmt
from mailsrv.imap.arguments import Arguments
from mailsrv.imap.errors import BadName
from mailsrv.imap.names import decode_mutf7, decode_name, encode_mutf7, encode_name
from mailsrv.store.values import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN


class StringTests(SynchronousTestCase):
    """Quoted where possible, a literal where not."""

    def test_string(self) -> None:
        """Specials are escaped; control and 8-bit octets need a literal."""
        cases = {
            b"": b'""',
            b"a b": b'"a b"',
            b'a"b\\c': b'"a\\"b\\\\c"',
            b"a\r\nb": b"{4}\r\na\r\nb",
            b"\0": b"{1}\r\n\0",
            b"\xc3\xa9": b"{2}\r\n\xc3\xa9",
            b"\x7f": b"{1}\r\n\x7f",
            b"a\n": b"{2}\r\na\n",
            b"x" * 1000: b'"' + b"x" * 1000 + b'"',
            b"x" * 1001: b"{1001}\r\n" + b"x" * 1001,
        }
        for value, expected in cases.items():
            self.assertEqual(fmt.string(value), expected, value)

    def test_utf8(self) -> None:
        """Quoted when the client enabled UTF-8."""
        self.assertEqual(fmt.string(b"\xc3\xa9", utf8=True), b'"\xc3\xa9"')
        self.assertEqual(fmt.string(b"\xc3\n", utf8=True), b"{2}\r\n\xc3\n")

    def test_astring(self) -> None:
        """Atoms stand alone, but NIL would be nothing."""
        for value in (b"INBOX", b"a/b", b"&AOk-", b"$x", b"nilly"):
            self.assertEqual(fmt.astring(value), value)
        for value in (b"", b"a b", b"nil", b"NIL", b"a%", b"a*", b"(a", b"a]", b"{1}", b"\\a"):
            self.assertTrue(fmt.astring(value).startswith(b'"'), value)

    def test_mailbox(self) -> None:
        """Encoded, then quoted as needed."""
        self.assertEqual(fmt.mailbox("Sent Items"), b'"Sent Items"')
        self.assertEqual(fmt.mailbox("Entw\xfcrfe"), b"Entw&APw-rfe")
        self.assertEqual(fmt.mailbox("R&D"), b"R&-D")
        self.assertEqual(fmt.mailbox("Entw\xfcrfe", utf8=True), b'"Entw\xc3\xbcrfe"')


class ModifiedUtf7Tests(SynchronousTestCase):
    """rfc3501, 5.1.3, and nothing near it."""

    known: ClassVar[dict[str, bytes]] = {
        "": b"",
        "INBOX": b"INBOX",
        "R&D": b"R&-D",
        "&&": b"&-&-",
        "~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e": b"~peter/mail/&U,BTFw-/&ZeVnLIqe-",
        "\u53f0\u5317\u65e5\u672c\u8a9e": b"&U,BTF2XlZyyKng-",
        "\u263a!": b"&Jjo-!",
        "\u00e9&\u00e9": b"&AOk-&-&AOk-",
        "\U0001f4ec": b"&2D3c7A-",
        "a\tb": b"a&AAk-b",
    }

    def test_known(self) -> None:
        """Both ways."""
        for name, raw in self.known.items():
            self.assertEqual(encode_mutf7(name), raw)
            self.assertEqual(decode_mutf7(raw), name)

    def test_refused(self) -> None:
        """Each name has one encoding."""
        for raw in (
            b"&",
            b"a&",
            b"&Jjo!",
            b"&AOk",
            b"&AGEA6Q-",  # printable US-ASCII in base64
            b"&ACY-",  # the ampersand in base64
            b"&U,BTFw-&ZeVnLIqe-",  # a superfluous shift
            b"&AOl-",  # bits left over
            b"&AO-",  # half a unit
            b"&A-",
            b"&AOk=-",
            b"&AO k-",
            b"&AO/k-",
            b"&2D0-",  # lone surrogates
            b"&3AA-",
            b"&3ADYPQ-",
            b"&-&",
            b"a\tb",
            b"\x7f",
            b"\xc3\xa9",
        ):
            self.assertRaises(BadName, decode_mutf7, raw)

    def test_lone_surrogate(self) -> None:
        """Cannot be encoded either."""
        self.assertRaises(BadName, encode_mutf7, "\ud800")

    @given(st.text(max_size=30))
    def test_round_trip(self, name: str) -> None:
        """Any text comes back, through printable US-ASCII."""
        raw = encode_mutf7(name)
        self.assertTrue(all(0x20 <= octet <= 0x7E for octet in raw))
        self.assertEqual(decode_mutf7(raw), name)

    @given(st.lists(st.sampled_from(b"&-,+/=AOkU2D3c7Z!\xe9"), max_size=12).map(bytes))
    def test_one_encoding(self, raw: bytes) -> None:
        """What decodes is what encoding gives."""
        try:
            name = decode_mutf7(raw)
        except BadName:
            return
        self.assertEqual(encode_mutf7(name), raw)

    def test_names(self) -> None:
        """Names as clients send them."""
        self.assertEqual(decode_name(b"iNbOx"), "INBOX")
        self.assertEqual(decode_name(b"&AOk-"), "\xe9")
        self.assertEqual(decode_name(b"&AOk-", utf8=True), "&AOk-")
        self.assertEqual(decode_name("&\xe9".encode()), "&\xe9")
        for raw in (b"&AAk-", b"\xff", b"\xed\xa0\x80", "a\x85".encode(), "\u2028".encode()):
            self.assertRaises(BadName, decode_name, raw)
        self.assertEqual(encode_name("\xe9"), b"&AOk-")
        self.assertEqual(encode_name("\xe9", utf8=True), b"\xc3\xa9")


class FlagTests(SynchronousTestCase):
    """Flag lists and their cache."""

    def test_lists(self) -> None:
        """In one order, \\Recent first."""
        every = SEEN | ANSWERED | FLAGGED | DELETED | DRAFT
        self.assertEqual(fmt.flag_list(0), b"()")
        self.assertEqual(fmt.flag_list(SEEN, "$Junk a"), b"(\\Seen $Junk a)")
        self.assertEqual(fmt.flag_list(0, "", recent=True), b"(\\Recent)")
        self.assertEqual(
            fmt.flag_list(every, recent=True),
            b"(\\Recent \\Seen \\Answered \\Flagged \\Deleted \\Draft)",
        )

    def test_cache_is_bounded(self) -> None:
        """More combinations than it holds are still right."""
        for number in range(fmt.FLAG_LISTS.limit + 10):
            self.assertEqual(fmt.flag_list(0, f"k{number}"), f"(k{number})".encode())
        self.assertLessEqual(len(fmt.FLAG_LISTS), fmt.FLAG_LISTS.limit)


class DateTests(SynchronousTestCase):
    """Internal dates."""

    def test_format(self) -> None:
        """Fixed width, always UTC."""
        self.assertEqual(fmt.date_time("2026-11-03T09:05:00Z"), b'"03-Nov-2026 09:05:00 +0000"')
        self.assertEqual(fmt.date_time("0999-01-31T23:59:59Z"), b'"31-Jan-0999 23:59:59 +0000"')

    @given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
    def test_round_trip(self, moment: datetime) -> None:
        """What we write is the moment that we read."""
        text = moment.replace(microsecond=0).isoformat() + "Z"
        self.assertEqual(Arguments((fmt.date_time(text),)).date_time(), text)

    def test_cache_is_bounded(self) -> None:
        """Centuries of days are still right."""
        first = datetime(1900, 1, 1, tzinfo=UTC)
        for number in range(20_100):
            day = first + timedelta(days=number)
            expected = day.strftime('"%d-%b-%Y 00:00:00 +0000"').encode()
            self.assertEqual(fmt.date_time(day.strftime("%Y-%m-%dT%H:%M:%SZ")), expected)


class ResponseTests(SynchronousTestCase):
    """Whole responses, without their line end."""

    def test_sets(self) -> None:
        """Runs are joined in the order given."""
        self.assertEqual(fmt.number_set(((1, 4), (7, 7))), b"1:4,7")
        self.assertEqual(fmt.number_set(()), b"")
        self.assertEqual(fmt.ranges_of([3, 4, 5, 9, 7]), ((3, 5), (9, 9), (7, 7)))
        self.assertEqual(fmt.ranges_of([]), ())
        self.assertEqual(fmt.paired_sets((1, 2, 5), (10, 11, 12)), (b"1:2,5", b"10:12"))

    def test_unpack(self) -> None:
        """The store's arrays are little-endian."""
        self.assertEqual(fmt.unpack(b"\1\0\0\0\0\1\0\0"), array("I", [1, 256]))

    def test_search(self) -> None:
        """An empty result is said, too, without MODSEQ."""
        self.assertEqual(fmt.search([]), b"* SEARCH")
        self.assertEqual(fmt.search([], modseq=5), b"* SEARCH")
        self.assertEqual(fmt.search(array("I", [2, 84])), b"* SEARCH 2 84")
        self.assertEqual(fmt.search([2], modseq=917162500), b"* SEARCH 2 (MODSEQ 917162500)")

    def test_esearch(self) -> None:
        """What was asked for and exists."""
        numbers = array("I", [2, 10, 11])
        self.assertEqual(
            fmt.esearch("A282", numbers, {"MIN", "COUNT"}, uid=False),
            b'* ESEARCH (TAG "A282") MIN 2 COUNT 3',
        )
        self.assertEqual(
            fmt.esearch("a", numbers, {"ALL", "MAX"}, uid=True, modseq=7),
            b'* ESEARCH (TAG "a") UID MAX 11 ALL 2,10:11 MODSEQ 7',
        )
        self.assertEqual(
            fmt.esearch("a", [], {"ALL", "MIN", "MAX", "COUNT"}, uid=False, modseq=7),
            b'* ESEARCH (TAG "a") COUNT 0',
        )
        self.assertEqual(fmt.esearch("a", [], {"ALL"}, uid=True), b'* ESEARCH (TAG "a") UID')

    def test_list(self) -> None:
        """LIST, LSUB and CHILDINFO."""
        self.assertEqual(
            fmt.listed("a b", ("\\Noselect", "\\HasChildren")),
            b'* LIST (\\Noselect \\HasChildren) "/" "a b"',
        )
        self.assertEqual(fmt.listed("\xe9", (), response="LSUB"), b'* LSUB () "/" &AOk-')
        self.assertEqual(
            fmt.listed("a", (), child_info=("SUBSCRIBED",)),
            b'* LIST () "/" a ("CHILDINFO" ("SUBSCRIBED"))',
        )

    def test_status(self) -> None:
        """Items in the order given."""
        self.assertEqual(
            fmt.status("Sent Items", (("UNSEEN", 1), ("MESSAGES", 231))),
            b'* STATUS "Sent Items" (UNSEEN 1 MESSAGES 231)',
        )
