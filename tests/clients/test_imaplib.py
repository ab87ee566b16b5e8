"""Python's imaplib: log in, list, select, fetch, store, search, idle, all over real sockets."""

import imaplib
import re

from tests.clients.common import ADDRESS, ClientTestCase, message


class ImaplibTests(ClientTestCase):
    def connect(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=30)
        self.addCleanup(client.shutdown)
        return client

    def login(self) -> imaplib.IMAP4:
        client = self.connect()
        client.login(ADDRESS, self.password)
        return client

    def test_delivered_message_is_read_back(self) -> None:
        self.deliver(message("First"))
        client = self.login()
        self.assertEqual(client.select()[1], [b"1"])
        (_, content), _ = client.fetch("1", "(BODY.PEEK[])")[1]
        trace, _, rest = content.partition(b"From: You")
        self.assertEqual(b"From: You" + rest, message("First"))
        self.assertRegex(trace, rb"\AReturn-Path: <you@example.org>\r\nReceived: from ")

    def test_appended_bytes_come_back(self) -> None:
        client = self.login()
        content = message("Draft", "line\r\n" * 1000 + "ünï\r\n")
        status, answer = client.append("Drafts", "(\\Draft)", None, content)
        self.assertEqual(status, "OK")
        self.assertRegex(answer[0], rb"APPENDUID \d+ 1\]")
        client.select("Drafts")
        (_, fetched), _ = client.uid("FETCH", "1", "(BODY[])")[1]
        self.assertEqual(fetched, content)
        self.assertRegex(client.fetch("1", "(FLAGS)")[1][0], rb"\\Seen")

    def test_over_tls_and_starttls(self) -> None:
        context = self.server.tls_context()
        with imaplib.IMAP4_SSL("localhost", self.server.imaps_port, ssl_context=context) as client:
            client.login(ADDRESS, self.password)
        client = imaplib.IMAP4("localhost", self.server.imap_port)
        client.starttls(context)
        client.login(ADDRESS, self.password)
        client.logout()

    def test_wrong_password(self) -> None:
        client = self.connect()
        with self.assertRaises(imaplib.IMAP4.error) as caught:
            client.login(ADDRESS, "x" * 24)
        self.assertIn("AUTHENTICATIONFAILED", str(caught.exception))

    def test_app_password_is_revoked_at_once(self) -> None:
        made = self.server.command(
            "password", ADDRESS, "--label", "phone", "--scope", "imap", stdin=f"{self.password}\n"
        )
        client = self.connect()
        client.login(ADDRESS, made["password"])
        client.select()
        self.server.command("credential", "revoke", ADDRESS, "phone")
        with self.assertRaises(imaplib.IMAP4.abort):
            for _ in range(100):
                client.noop()
                self.eventually(lambda: True)
                __import__("time").sleep(0.1)
        again = self.connect()
        self.assertRaises(imaplib.IMAP4.error, again.login, ADDRESS, made["password"])
        self.login()

    def test_search_copy_expunge(self) -> None:
        for subject in ("Alpha", "Beta", "Gamma"):
            self.deliver(message(subject, f"the {subject.lower()} word\r\n"))
        client = self.login()
        client.select()
        self.assertEqual(client.search(None, "BODY", '"beta word"')[1], [b"2"])
        self.assertEqual(client.search(None, "SUBJECT", "gam", "UNSEEN")[1], [b"3"])
        self.assertRegex(client.copy("2:3", "Archive")[1][0], rb"COPYUID \d+ 2:3 1:2")
        client.store("1,3", "+FLAGS", "(\\Deleted)")
        self.assertEqual(client.expunge()[1], [b"3", b"1"])
        self.assertEqual(client.status("Archive", "(MESSAGES)")[1], [b"Archive (MESSAGES 2)"])

    def test_idle_hears_of_a_delivery(self) -> None:
        client = self.login()
        client.select()
        tag = client._new_tag()
        client.send(tag + b" IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+"))
        self.deliver(message("Now"))
        self.assertEqual(client.readline(), b"* 1 EXISTS\r\n")
        client.send(b"DONE\r\n")
        line = client.readline()
        while not line.startswith(tag):
            line = client.readline()
        self.assertTrue(re.match(rb"\S+ OK ", line))
        (_, content), _ = client.fetch("1", "(BODY[TEXT])")[1]
        self.assertEqual(content, b"Hello.\r\n")
