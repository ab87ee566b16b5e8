"""Whatever a client sends, it gets answers, and nothing breaks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.imap.talking import LOGIN, ImapTestCase

WORDS = st.sampled_from(
    (
        *(
            b"FETCH STORE SEARCH COPY MOVE UID EXPUNGE SELECT EXAMINE APPEND LIST LSUB STATUS"
        ).split(),
        *(b"CREATE DELETE RENAME SUBSCRIBE IDLE DONE NOOP CHECK CLOSE ENABLE ID LOGIN").split(),
        *(b"AUTHENTICATE PLAIN SCRAM-SHA-256 STARTTLS GETQUOTA GETQUOTAROOT CAPABILITY").split(),
        *(b'1 1:* 2,1:3 * 0 4294967295 99999999999 INBOX Archive a/b "" "x\\" NIL ( ) ((').split(),
        *(
            b"FLAGS +FLAGS.SILENT (\\Seen \\Deleted) BODY[] BODY[1.MIME] BODY.PEEK[HEADER]<1.2>"
        ).split(),
        *(b"ENVELOPE ALL NOT OR SUBJECT RETURN (MIN) {3} {3+} {0} {99999999} CONDSTORE").split(),
        b"(CHANGEDSINCE 1)",
        b"(UNCHANGEDSINCE 0)",
        b"RETURN (STATUS (MESSAGES))",
        b"{3+}\r\nabc",
        b"\0",
        b"\xff\xc3\xa4",
        b"\r",
        b"&ZeVnLIqe-",
        b"&AGE-",
        b"=",
        b"AGFsaWNlQGV4YW1wbGUuY29tAHg=",
        b"*",
    )
)
LINES = st.lists(WORDS, min_size=1, max_size=7).map(b" ".join)
SCRIPTS = st.lists(LINES, min_size=1, max_size=12)


class FuzzTests(ImapTestCase):
    @settings(max_examples=150, deadline=None)
    @given(script=SCRIPTS, logged_in=st.booleans(), chunk=st.sampled_from((None, 1, 7)))
    def test_no_script_breaks_a_session(
        self, script: list[bytes], logged_in: bool, chunk: int | None
    ) -> None:
        super().setUp()
        self.fill([b"one", b"two", b"three"])
        client = self.connect(chunk=chunk)
        if logged_in:
            client.send(b"l " + LOGIN + b"\r\nl SELECT INBOX\r\n")
        for number, line in enumerate(script):
            client.send(b"f%d %b\r\n" % (number, line))
            self.clock.advance(20)
        answers = client.raw()
        self.assertNotIn(b"SERVERBUG", answers)
        self.assertEqual(self.flushLoggedErrors(), [])
        client.lose()
        self.assertEqual(self.store.sessions, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
