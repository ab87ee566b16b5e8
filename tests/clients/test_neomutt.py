"""neomutt, in batch: lists, reads, tags and moves over IMAP as a person would."""

import imaplib

from tests.clients.common import ADDRESS, ClientTestCase, message, need


class NeomuttTests(ClientTestCase):
    def neomutt(self, commands: str) -> None:
        need("neomutt")
        configuration = self.server.root / "neomuttrc"
        configuration.write_text(f"""\
set imap_user = "{ADDRESS}"
set imap_pass = "{self.password}"
set folder = "imap://127.0.0.1:{self.server.imap_port}/"
set spoolfile = "+INBOX"
set ssl_starttls = no
set ssl_force_tls = no
set tmpdir = "{self.server.root}"
set header_cache = "{self.server.root}/cache"
set quit = yes
set confirmappend = no
set delete = yes
set mark_old = no
set sleep_time = 0
set wait_key = no
push "{commands}"
""")
        self.program(
            "script",
            "-qec",
            f"neomutt -n -F {configuration}",
            "/dev/null",
            TERM="xterm",
            HOME=str(self.server.root),
        )

    def test_moves_tagged_messages(self) -> None:
        need("neomutt", "script")
        for subject in ("Keep", "Move one", "Move two"):
            self.deliver(message(subject))
        self.neomutt(
            "<tag-pattern>~s Move<enter><tag-prefix><save-message>=Archive<enter>"
            "<sync-mailbox><quit>"
        )
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port)
        self.addCleanup(client.shutdown)
        client.login(ADDRESS, self.password)
        self.assertEqual(client.select("INBOX")[1], [b"1"])
        self.assertIn(b"Subject: Keep", client.fetch("1", "(BODY.PEEK[HEADER])")[1][0][1])
        self.assertEqual(client.select("Archive")[1], [b"2"])
