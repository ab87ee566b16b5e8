"""Every message of the corpus: scanned, split, rendered, and compared with the standard library."""

import email
from collections.abc import Iterator
from email.message import Message

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.parts import split
from mailsrv.message.scan import Part, body, scan
from mailsrv.message.text import body_text, fold, header_text
from mailsrv.message.transfer import decode_transfer
from tests.message.corpus import CORPUS, MISSING, corpus_messages
from tests.message.imapdata import parse_body, parse_envelope
from tests.message.test_parts import restored

NO_BLANK_LINE = "no blank line after the header: ours ends at the first one, as IMAP defines it"
FOLDED_BOUNDARY = "the boundary is folded inside its quotes, which the library does not undo"
SAME_BOUNDARY = "a multipart in another with the same boundary: ours gives them to the inner one"
TYPE_NAME = "the library takes what follows the type, or junk in it, for a part of its name"
BARE_CR = "lines end in bare CR, which is no line end here"
TOO_DEEP = "ours stops at 100 levels"

DIFFERENT = {
    "MimeKit/mbox-simple.eml": SAME_BOUNDARY,
    "MimeKit/messages-feedback-report.eml": NO_BLANK_LINE,
    "MimeKit/messages-issue358.eml": NO_BLANK_LINE,
    "cpython/msg_15.eml": SAME_BOUNDARY,
    "cpython/msg_39.eml": SAME_BOUNDARY,
    "enmime/mail-mime-bad-content-type.eml": TYPE_NAME,
    "enmime/mail-mime-blank-media-name.eml": TYPE_NAME,
    "enmime/mail-qp-utf8-header-no-break.eml": NO_BLANK_LINE,
    "enmime/parts-ctype-invalid-characters.eml": TYPE_NAME,
    "james/org-apache-james-imap-samples-multipart-binary.eml": NO_BLANK_LINE,
    "mailcore2/parser-input-mbox-jwz-116.eml": NO_BLANK_LINE,
    "mailcore2/parser-input-mbox-jwz-117.eml": NO_BLANK_LINE,
    "mime4j/mimetools-testmsgs-multi-badnames.eml": FOLDED_BOUNDARY,
    "mime4j/mimetools-testmsgs-multi-clen.eml": FOLDED_BOUNDARY,
    "mime4j/mimetools-testmsgs-multi-digest.eml": FOLDED_BOUNDARY,
    "mime4j/mimetools-testmsgs-multi-simple.eml": FOLDED_BOUNDARY,
    "php-mime-mail-parser/issue84.eml": NO_BLANK_LINE,
    "sisimai/bsd-lhost-office365-08.eml": NO_BLANK_LINE,
    "sisimai/bsd-lhost-office365-09.eml": NO_BLANK_LINE,
    "sisimai/bsd-lhost-office365-10.eml": NO_BLANK_LINE,
    "sisimai/bsd-lhost-office365-11.eml": NO_BLANK_LINE,
    "sisimai/bsd-lhost-office365-12.eml": NO_BLANK_LINE,
    "sisimai/bsd-lhost-x1-02.eml": TYPE_NAME,
    "sisimai/mac-lhost-yandex-01.eml": BARE_CR,
    "sisimai/mac-rfc3464-01.eml": BARE_CR,
    "stalwart-mail-parser/thirdparty-012.eml": FOLDED_BOUNDARY,
    "synthetic/nest-multipart-120.eml": TOO_DEEP,
    "synthetic/nest-multipart-400.eml": TOO_DEEP,
}

DIFFERENT_LEAVES = {
    "mime4j/mimetools-testmsgs-twopart.eml": "the library wants no blank after base64",
    "mime4j/testmsgs-multipartemptypart.eml": "the library takes the epilogue for the part",
    "synthetic/boundary-empty.eml": "an empty boundary is none here",
    "synthetic/eol-bare-cr.eml": BARE_CR,
}
OPAQUE = (
    "message/delivery-status",
    "message/disposition-notification",
    "message/external-body",
    "message/feedback-report",
    "message/partial",
)

_PLAIN: tuple[object, ...] = ("text/plain", ())


def our_tree(part: Part) -> tuple[object, ...]:
    return f"{part.type}/{part.subtype}", tuple(map(our_tree, part.children))


def library_tree(message: Message) -> tuple[object, ...]:
    kind = message.get_content_type()
    parts = tuple(map(library_tree, message.get_payload())) if message.is_multipart() else ()
    if kind.startswith("message/") and kind not in ("message/rfc822", "message/global"):
        # The library takes apart delivery reports and the like, IMAP does not.
        parts = ()
    if kind.startswith("multipart/") and not parts:
        # A multipart without parts shows what it has as one text.
        parts = (_PLAIN,)
    return kind, parts


def leaves(part: Part) -> Iterator[Part]:
    if not part.children:
        yield part
    for child in part.children:
        yield from leaves(child)


def library_leaves(message: Message) -> Iterator[Message]:
    if not message.is_multipart() or message.get_content_type() in OPAQUE:
        yield message
        return
    for part in message.get_payload():
        yield from library_leaves(part)


def same_leaves(content: bytes) -> bool:
    """Whether both decode all leaves to the same octets, as far as the library sees no defect.

    Line ends at the end do not count: the library drops one where a multipart is not closed.
    """
    pairs = zip(
        leaves(scan(content).root),
        library_leaves(email.message_from_bytes(content)),
        strict=True,
    )
    for ours, theirs in pairs:
        expected = theirs.get_payload(decode=True)
        if expected is None or theirs.defects:
            continue
        found = decode_transfer(content[ours.body_start : ours.end], ours.encoding)
        if found.rstrip(b"\r\n") != expected.rstrip(b"\r\n"):
            return False
    return True


class CorpusTests(SynchronousTestCase):
    skip = MISSING

    def test_everything_comes_out_whole(self):
        seen = 0
        for name, content in corpus_messages():
            scanned = scan(content)
            parse_envelope(scanned.envelope)
            parse_body(scanned.bodystructure)
            parse_body(body(scanned.root), extended=False)
            self.assertEqual(restored(content, split(content, scanned.root)), content, name)
            for text in (body_text(content, scanned.root), header_text(content, scanned.root)):
                fold(text).encode("utf-8")
            seen += 1
        self.assertGreater(seen, 1000)

    def test_structure_is_the_library_s(self):
        different = {
            name
            for name, content in corpus_messages()
            if name.endswith(".eml")
            and our_tree(scan(content).root) != library_tree(email.message_from_bytes(content))
        }
        self.assertEqual(different - set(DIFFERENT), set())

    def test_decoded_leaves_are_the_library_s(self):
        different = {
            name
            for name, content in corpus_messages()
            if name.endswith(".eml") and name not in DIFFERENT and not same_leaves(content)
        }
        self.assertEqual(different - set(DIFFERENT_LEAVES), set())


class PeerTests(SynchronousTestCase):
    """Messages whose ENVELOPE and structure another server's test suite gives."""

    skip = MISSING

    def messages(self, name: str) -> list[bytes]:
        content = (CORPUS / "imaptest" / name).read_bytes()
        start = b"From user@domain  Fri Feb 22 17:06:23 2008\n"
        return [message.replace(b"\n", b"\r\n") for message in content.split(start)[1:]]

    def test_envelopes(self):
        real = ((b"Real Name", None, b"user", b"domain"),)
        bare = ((None, None, b"user", b"domain"),)
        routed = ((None, b"@route", b"user", b"domain"),)
        end = (None, None, None, None)
        found = [parse_envelope(scan(m).envelope) for m in self.messages("fetch-envelope.mbox")]
        self.assertEqual(
            found[0]["reply_to"], [(b"ReplyTo Real", None, b"replytouser", b"replytodomain.org")]
        )
        for envelope, expected in zip(found[1:], (bare, bare, real, real, routed), strict=True):
            for name in ("from", "sender", "reply_to"):
                self.assertEqual(tuple(envelope[name]), expected)
        self.assertEqual(
            found[3]["to"],
            [
                (None, None, b"group", None),
                (None, None, b"g1", b"d1.org"),
                (None, None, b"g2", b"d2.org"),
                end,
                (None, None, b"group2", None),
                (None, None, b"g3", b"d3.org"),
                end,
            ],
        )
        self.assertEqual(
            found[3]["cc"], [(None, None, b"group", None), end, (None, None, b"group2", None), end]
        )

    def test_structure(self):
        (message,) = self.messages("fetch-bodystructure.mbox") or [b""]
        self.assertEqual(
            body(scan(message).root),
            b'(("TEXT" "X-MYOWN" ("charset" "us-ascii") NIL NIL "7BIT" 7 1) "MIXED")',
        )
