"""search() against plain Python, over random messages, criteria and states of the index."""

from base64 import b64encode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailsrv.mailbox import criteria as c
from mailsrv.mailbox.values import DELETED, Flags, NewMessage, StoreFlags
from tests.mailbox.naive import Message, naive_search
from tests.mailbox.searching import MailboxCase

# ruff: noqa: RUF001
WORDS = (
    *("meeting", "Straße", "STRASSE", "naïve", "İstanbul", "ﬁnance", "e\u0301te\u0301", "été"),
    *(
        "회의",
        "회의록",
        "내일",
        "김",
        "日本語",
        "会議",
        "会",
        "テスト",
        "ﾃｽﾄ",
        "東京都",
        "電子郵件",
    ),
    *("ประชุม", "اجتماع", "פגישה", "सभा", "Привет", "🎉", "👩‍💻", "☎", "a\u0300\u0301", "\u0301x"),
    *(
        '"quoted"',
        "AND",
        "OR NOT",
        "NEAR(a b)",
        "x*",
        "100%",
        "a_b",
        "\\",
        "col:",
        "^",
        "'",
        "a\0b",
    ),
    *("ab", "b", "ABC", "abcd", "a-b", "１２３", "㈱", "ab회", "회ab"),
)
DAYS = ("2024-02-28", "2024-02-29", "2024-03-01", "2026-11-23")
FLAGS = ("\\Seen", "\\DELETED", "\\Draft", "$junk", "work", "junk", "\\Recent")
FIELDS = ("Subject", "From", "To", "Cc", "Bcc", "List-Id", "X-Note")

words = st.sampled_from(WORDS)
phrases = st.lists(words, max_size=6).flatmap(
    lambda chosen: st.sampled_from(["", " ", " ", "\t"]).map(lambda between: between.join(chosen))
)


def encoded(value: str) -> str:
    return f"=?utf-8?B?{b64encode(value.encode()).decode()}?="


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    fields = draw(st.lists(st.tuples(st.sampled_from(FIELDS), phrases), max_size=6))
    write = draw(st.sampled_from([encoded, lambda value: value.replace("\0", "")]))
    lines = [f"{name}: {write(value)}" for name, value in fields]
    if draw(st.booleans()):
        lines.append(f"Date: {draw(st.sampled_from(['23 Nov 2026', '29 Feb 2024']))} 23:59 -0800")
    body = "\r\n".join(draw(st.lists(phrases, max_size=4)))
    plain = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit"
    if draw(st.integers(0, 3)):
        text = "\r\n".join([*lines, plain, "", body])
    else:
        part = f"--b\r\nContent-Description: {draw(words)}\r\n{plain}\r\n\r\n{body}\r\n--b--"
        text = "\r\n".join([*lines, "Content-Type: multipart/mixed; boundary=b", "", part])
    return text.encode()


messages = st.builds(
    NewMessage,
    contents(),
    st.builds(Flags, st.integers(0, 31), st.sampled_from(["", "$Junk", "$Junk Work"])),
    st.sampled_from(DAYS).map(lambda day: f"{day}T23:59:59Z"),
)


class Corpus:
    """The texts of some messages. Not a plain list, since Hypothesis prints arguments."""

    def __init__(self, stored: list[Message]) -> None:
        self.texts = [text for one in stored for text in (one.body, *one.lines) if text] or ["-"]


@st.composite
def texts(draw: st.DrawFn, corpus: Corpus) -> str:
    """Pieces of what is there, at any length, and words that may not be."""
    if not draw(st.integers(0, 3)):
        return draw(st.one_of(phrases, st.text(max_size=3)))
    text = corpus.texts[draw(st.integers(0, 999)) % len(corpus.texts)]
    start = draw(st.integers(0, 999)) % len(text)
    piece = text[start : start + draw(st.integers(0, 8))]
    return piece.upper() if draw(st.booleans()) else piece


uids = st.integers(1, 12)
uid_sets = st.one_of(
    st.tuples(uids, uids).map(lambda span: ((min(span), max(span)),)),
    st.sets(uids).map(lambda chosen: tuple((one, one) for one in sorted(chosen))),
    st.just(tuple((one, one) for one in range(1, 60, 2))),
)
comparisons = st.sampled_from(["before", "on", "since"])
days = st.sampled_from([*DAYS, "2025-01-01"])


@st.composite
def leaves(draw: st.DrawFn, corpus: Corpus) -> c.Criteria:
    if draw(st.booleans()):
        text = draw(texts(corpus))
        kinds = [c.Body(text), c.Text(text), c.Subject(text)]
        kinds += [c.Address(field, text) for field in ("from", "to", "cc", "bcc")]
        names = (*FIELDS, "list-ID", "no", "Content-Type", "Content-Description")
        kinds += [c.Header(name, text) for name in names]
        kinds += [c.Header(name, "") for name in FIELDS]
        # Bodies half of the time
        return kinds[max(draw(st.integers(-len(kinds), len(kinds) - 1)), draw(st.integers(0, 1)))]
    return draw(
        st.one_of(
            st.builds(c.All),
            st.builds(c.Uids, uid_sets),
            st.builds(c.Recent, uid_sets),
            st.builds(c.HasFlag, st.sampled_from(FLAGS)),
            st.builds(c.Date, st.sampled_from(["internal", "sent", "saved"]), comparisons, days),
            st.builds(c.Size, st.sampled_from(["larger", "smaller"]), st.integers(0, 400)),
            st.builds(c.ModSeq, st.integers(0, 8)),
        )
    )


@st.composite
def trees(draw: st.DrawFn, corpus: Corpus, depth: int = 3) -> c.Criteria:
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind == 1:
        return c.Not(draw(trees(corpus, depth - 1)))
    if kind == 2:
        return c.Or(draw(trees(corpus, depth - 1)), draw(trees(corpus, depth - 1)))
    if kind == 3:
        return c.And(tuple(draw(trees(corpus, depth - 1)) for _ in range(draw(st.integers(0, 3)))))
    return draw(leaves(corpus))


class SearchPropertyTests(MailboxCase):
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.data())
    def test_agrees_with_plain_python(self, data: st.DataObject) -> None:
        with self.new_mailbox() as mailbox:
            first = data.draw(st.lists(messages, max_size=6), "indexed")
            mailbox.append("INBOX", first, None)
            while mailbox.index_pending(2):
                pass
            mailbox.append("INBOX", data.draw(st.lists(messages, max_size=4), "not indexed"), None)
            self.compare(mailbox, data)
            self.copy_and_expunge(mailbox, data)
            self.compare(mailbox, data)

    def copy_and_expunge(self, mailbox: object, data: st.DataObject) -> None:
        folder = self.inbox(mailbox)
        spans = uids.map(lambda uid: ((uid, uid + 2),))
        mailbox.copy(folder, data.draw(spans, "copied"), "INBOX", None)
        gone = data.draw(spans, "expunged")
        mailbox.store_flags(folder, StoreFlags(gone, "add", Flags(DELETED)), None)
        mailbox.expunge(folder, gone, None)

    def compare(self, mailbox: object, data: st.DataObject) -> None:
        stored = self.stored(mailbox)
        corpus = Corpus(stored)
        for _ in range(6):
            criteria = data.draw(trees(corpus), "criteria")
            found = mailbox.search(self.inbox(mailbox), criteria)
            expected = naive_search(stored, criteria)
            self.assertEqual(self.uids(found), expected)
            modseqs = [one.modseq for one in stored if one.uid in expected]
            self.assertEqual(found.modseq, max(modseqs, default=0))
