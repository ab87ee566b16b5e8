"""A client of servers that may say anything."""

import contextlib
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.exchange import imap_client
from mailsrv.backup.exchange.formats.layouts import levels_of
from mailsrv.backup.exchange.formats.paths import paths
from mailsrv.backup.exchange.formats.values import Found, Skipped
from mailsrv.backup.exchange.imap_client import ImapClient, _parsed, _responses
from mailsrv.backup.exchange.imap_source import Address, ImapSource, verified
from mailsrv.backup.exchange.importing import our_name
from mailsrv.errors import AuthenticationFailed, InvalidInput, Unavailable
from mailsrv.mailbox.values import Flags
from tests.backup.exchange.imap_script import ScriptedServer

LARGEST = 1000


class ScriptCase(SynchronousTestCase):
    """``answers`` are untagged answers by the beginning of a command; what is missing is OK."""

    def setUp(self) -> None:
        self.answers: dict[bytes, bytes | Iterator[bytes] | None] = {
            b"CAPABILITY": b"* CAPABILITY IMAP4rev1 LITERAL+ NAMESPACE SPECIAL-USE\r\n",
            b"NAMESPACE": b'* NAMESPACE (("INBOX." ".")) (("~" ".")) NIL\r\n',
            b"LIST": b'* LIST (\\HasNoChildren) "." INBOX\r\n',
            b"EXAMINE": b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 1] ok\r\n",
        }
        self.server = ScriptedServer(Path(self.mktemp()), self.answer)
        self.addCleanup(self.server.close)

    def answer(self, tag: bytes, rest: bytes) -> bytes | Iterator[bytes] | None:
        for start, untagged in self.answers.items():
            if rest.startswith(start):
                if untagged is None or not isinstance(untagged, bytes):
                    return untagged
                if untagged.startswith(b"!"):
                    return tag + b" " + untagged[1:] + b"\r\n"
                return untagged + tag + b" OK done\r\n"
        return tag + b" OK done\r\n"

    def client(self, timeout: float = 10) -> ImapClient:
        client = ImapClient(
            "localhost", self.server.port, verified(self.server.ca), LARGEST, timeout=10
        )
        self.addCleanup(client.close)
        client.login("user", 'pass"word')
        client._imap.sock.settimeout(timeout)
        return client

    def source(self, timeout: float = 10) -> ImapSource:
        address = Address("user", "localhost", self.server.port)
        return ImapSource(self.client(timeout), address, LARGEST, lambda _: 0)

    def refused(self, timeout: float = 10) -> str:
        """Why no messages come."""
        with contextlib.closing(self.source(timeout)) as source:
            return str(self.assertRaises(Unavailable, list, source.messages()))


class ClientTests(ScriptCase):
    def test_folders_elsewhere(self) -> None:
        self.answers[b"LIST"] = (
            b'* LIST (\\HasChildren) "." INBOX\r\n'
            b'* LIST (\\Sent) "." "INBOX.Sent &- more/less"\r\n'
            b'* LIST (\\Noselect) "." INBOX.W&APY-rk\r\n'
            b'* LIST () "." {11}\r\nINBOX."a\\b"\r\n'
            b'* LIST () "." ~someone\r\n'
            b'* LIST () NIL "INBOX.flat"\r\n'
        )
        self.answers[b"LSUB"] = b'* LSUB () "." INBOX.W&APY-rk\r\n* LSUB () "." INBOX.gone\r\n'
        found = {one.levels: one for one in self.client().folders()}
        self.assertEqual(
            list(found),
            [("INBOX",), ("Sent & more_less",), ("Wörk",), ('"a\\b"',), ("flat",), ("gone",)],
        )
        self.assertIn("\\sent", found["Sent & more_less",].attributes)
        self.assertEqual(
            [one.subscribed for one in found.values()], [False] * 2 + [True] + [False] * 2 + [True]
        )

    def test_messages(self) -> None:
        self.answers[b"EXAMINE"] = b"* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 10] ok\r\n"
        self.answers[b"UID FETCH 1:9"] = (
            b"* 1 FETCH (UID 3 FLAGS (\\Seen \\Recent $Todo) RFC822.SIZE 5 "
            b'INTERNALDATE " 3-Nov-2026 10:15:00 +0200")\r\n* 5 EXISTS\r\n'
            b'* 2 FETCH (RFC822.SIZE 5000 FLAGS () UID 4 INTERNALDATE "nonsense")\r\n'
            b"* 3 FETCH (FLAGS (\\Seen))\r\n"
            b'* 4 FETCH (UID 8 RFC822.SIZE 3 INTERNALDATE "23-Nov-2026 10:15:00 +0000")\r\n'
            b"* 5 FETCH (UID 99 RFC822.SIZE 3)\r\n"
        )
        self.answers[b"UID FETCH 3,8"] = (
            b"* 1 FETCH (UID 3 BODY[] {5}\r\n(a\r\n) FLAGS (\\Seen))\r\n* 2 EXPUNGE\r\n"
            b"* 2 FETCH (FLAGS () UID 4)\r\n"
        )
        found = list(self.source().messages())
        first, second, third = found
        assert isinstance(first, Found)
        self.assertEqual(first.mail.content, b"(a\r\n)")
        self.assertEqual(first.mail.flags, Flags(1, "$Todo"))
        self.assertEqual(first.mail.date, "2026-11-03T08:15:00Z")
        assert first.mark is not None
        self.assertEqual(first.mark[1], 3)
        assert isinstance(second, Skipped)
        assert isinstance(third, Skipped)
        self.assertIn("UID 4 has 5000 octets", second.what)
        self.assertIn("UID 8 has gone", third.what)

    def test_views_are_not_opened_and_all_mail_comes_last(self) -> None:
        self.answers[b"LIST"] = (
            b'* LIST (\\All) "/" "[Gmail]/All Mail"\r\n* LIST (\\Flagged) "/" "[Gmail]/Starred"\r\n'
            b'* LIST () "/" INBOX\r\n* LIST (\\Noselect) "/" "[Gmail]"\r\n'
        )
        self.answers[b"NAMESPACE"] = b'* NAMESPACE (("" "/")) NIL NIL\r\n'
        source = self.source()
        names = [one.name for one in source.folders()]
        self.assertEqual(names, ["INBOX", "[Gmail]/All Mail"])
        (skipped,) = source.messages()
        self.assertEqual(skipped.folder, "[Gmail]/Starred")

    def test_a_folder_that_cannot_be_opened(self) -> None:
        self.answers[b"EXAMINE"] = b"!NO [NOPERM] no"
        (skipped,) = self.source().messages()
        self.assertIn("does not let", skipped.what)


class HostileTests(ScriptCase):
    def test_more_than_was_asked_for(self) -> None:
        self.answers[b"EXAMINE"] = b"* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n"
        self.answers[b"UID FETCH 1:1"] = b"* 1 FETCH (UID 1 RFC822.SIZE 5)\r\n"
        self.answers[b"UID FETCH 1 "] = b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\nxxxx"
        self.refused()

    def test_never_answers(self) -> None:
        self.answers[b"EXAMINE"] = iter(())
        self.assertEqual(self.refused(timeout=0.3), "localhost does not answer")

    def test_an_answer_that_drips(self) -> None:
        def drips() -> Iterator[bytes]:
            while True:
                yield b"* OK and so on\r\n"
                time.sleep(0.01)

        self.patch(imap_client, "COMMAND_SECONDS", 0.5)
        self.answers[b"EXAMINE"] = drips()
        self.refused()

    def test_answers_without_end(self) -> None:
        self.patch(imap_client, "_BESIDE_BODIES", 1024 * 1024)
        for what in (b"* 1 EXISTS\r\n", b"* OK ", b"* 1 FETCH (X {9}\r\n" + b"x" * 9):
            self.answers[b"EXAMINE"] = itertools.repeat(what * 1000)
            self.refused()

    def test_what_nobody_asked_for_does_not_pile_up(self) -> None:
        self.answers[b"STATUS"] = b"* 1 EXISTS\r\n" * 1000
        client = self.client()
        for _ in range(3):
            client.count(b"INBOX")
        self.assertEqual(len(client._imap.untagged_responses["EXISTS"]), 1000)

    def test_sizes_of_literals_that_are_wrong(self) -> None:
        self.answers[b"EXAMINE"] = b"* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n"
        self.answers[b"UID FETCH 1:1"] = b"* 1 FETCH (UID 1 RFC822.SIZE 5)\r\n"
        for size in (b"900", b"9" * 5000):
            self.answers[b"UID FETCH 1 "] = b"* 1 FETCH (UID 1 BODY[] {%b}\r\nxxxxx)\r\n" % size
            self.refused(timeout=0.3)

    def test_a_string_that_does_not_end(self) -> None:
        self.assertEqual(_parsed([b'"' + b'\\"' * 100_000]), [b'"' * 100_000])

    def test_a_goodbye_in_the_middle(self) -> None:
        self.answers[b"EXAMINE"] = b"* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n"
        self.answers[b"UID FETCH 1:1"] = b"* BYE enough\r\n"
        self.assertEqual(self.refused(), "localhost ended the connection")

    def test_any_octets_are_no_more_than_unavailable(self) -> None:
        dice = random.Random(4)
        words = (
            b'* ( ) " \\ {3} {99} ~ OK NO BYE LIST FETCH UID BODY[] FLAGS 7 [ ] + \xff \x00'.split()
        )
        for _ in range(40):
            for name in (b"LIST", b"LSUB", b"NAMESPACE", b"EXAMINE", b"STATUS", b"UID FETCH"):
                said = b" ".join(dice.choices(words, k=dice.randrange(9)))
                self.answers[name] = dice.choice((b"* ", b"")) + said + b"\r\n"
            client = self.client(timeout=0.05)
            with contextlib.suppress(Unavailable), contextlib.closing(client):
                source = ImapSource(client, Address("user", "localhost", 1), LARGEST, lambda _: 0)
                source.folders()
                list(itertools.islice(source.messages(), 10))

    def test_folders_that_lead_elsewhere(self) -> None:
        names = (b"../../up", b"..", b"/etc/passwd", b"a/../b", b"~root", b"C:\\x", b"a//b")
        listed = [b'* LIST () "/" {%d}\r\n%b\r\n' % (len(one), one) for one in names]
        odd = b'* LIST () "/" {6}\r\na\r\nb\0c\r\n'
        self.answers[b"LIST"] = b"".join(listed) + odd
        self.answers[b"NAMESPACE"] = b'* NAMESPACE (("" "/")) NIL NIL\r\n'
        source = self.source()
        found = paths([our_name(one.name) for one in source.folders()])
        for levels in found.values():
            self.assertEqual(levels_of("/".join(levels)), levels)
        self.assertEqual(len(found), len(names) + 1)

    def test_hangs_up(self) -> None:
        self.answers[b"EXAMINE"] = None
        self.assertEqual(self.refused(), "localhost ended the connection")

    def test_nonsense(self) -> None:
        self.answers[b"LIST"] = b"* LIST (((((\r\n* LIST\r\n* LIST ) ( ) x\r\n* 1 FETCH \x00\r\n"
        self.answers[b"EXAMINE"] = b"* OK [UIDVALIDITY x] ok\r\n"
        self.answers[b"STATUS"] = b"* STATUS ((((\r\n"
        client = self.client()
        self.assertEqual(client.folders(), [])
        self.assertEqual(client.count(b"INBOX"), None)
        self.assertEqual(client.examine(b"INBOX"), (0, 2**32))

    def test_names_that_cannot_be_said(self) -> None:
        client = self.client()
        for name in (b"a\r\nx LOGOUT", b"\xff", b"a\0"):
            self.assertRaises(InvalidInput, client.examine, name)
        self.assertFalse([line for line in self.server.lines if b"x LOGOUT" in line])

    def test_a_refused_password_is_in_no_message(self) -> None:
        self.answers[b"LOGIN"] = b'!NO pass"word is wrong'
        error = self.assertRaises(AuthenticationFailed, self.client)
        self.assertNotIn("word is", str(error))

    def test_an_unknown_authority(self) -> None:
        error = self.assertRaises(
            Unavailable, ImapClient, "localhost", self.server.port, verified(None), LARGEST
        )
        self.assertIn("not to be trusted", str(error))

    def test_nobody_there(self) -> None:
        self.server.close()
        error = self.assertRaises(
            Unavailable, ImapClient, "localhost", self.server.port, verified(None), LARGEST
        )
        self.assertIn("cannot be reached", str(error))


class AddressTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for url, address in (
            (
                "imaps://me@example.org@imap.example.org/",
                ("me@example.org", "imap.example.org", 993),
            ),
            (
                "imaps://me%40example.org@imap.example.org:9993",
                ("me@example.org", "imap.example.org", 9993),
            ),
            ("imaps://me@[::1]:1/", ("me", "::1", 1)),
        ):
            self.assertEqual(Address.parse(url), address)

    def test_what_is_none(self) -> None:
        for url in (
            "imap://a@b/",
            "imaps://b/",
            "imaps://a@b/INBOX",
            "imaps://a@b:x/",
            "imaps://a@/",
            "imaps://a%0D%0AX%20LOGOUT@b/",
        ):
            self.assertRaises(InvalidInput, Address.parse, url)
        error = self.assertRaises(InvalidInput, Address.parse, "imaps://a:secret@b/")
        self.assertIn("the password is asked for", str(error))
        self.assertNotIn("secret", str(error))

    def test_a_file_that_is_no_certificate(self) -> None:
        self.assertRaises(InvalidInput, verified, Path(__file__))
        self.assertRaises(InvalidInput, verified, Path("/nowhere"))


class ParsingTests(SynchronousTestCase):
    def test_literals_are_never_parsed(self) -> None:
        data = [(b"1 (UID 3 BODY[] {6}", b') ("UI'), b' X "a\\"b" ())']
        (pieces,) = _responses(data)
        self.assertEqual(
            _parsed(pieces), [b"1", [b"UID", b"3", b"BODY[]", b') ("UI', b"X", b'a"b', []]]
        )
