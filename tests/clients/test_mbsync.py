"""mbsync keeps a Maildir and the mailbox the same, and a second run finds nothing to do."""

import imaplib
from pathlib import Path

from tests.clients.common import ADDRESS, ClientTestCase, message, need


class MbsyncTests(ClientTestCase):
    def setUp(self) -> None:
        need("mbsync")
        super().setUp()
        self.mail = self.server.root / "mail"
        self.mail.mkdir()
        self.configuration = self.server.root / "mbsyncrc"
        self.configuration.write_text(f"""\
IMAPAccount there
Host localhost
Port {self.server.imaps_port}
User {ADDRESS}
Pass "{self.password}"
SSLType IMAPS
CertificateFile {self.server.ca}

IMAPStore far
Account there

MaildirStore near
Path {self.mail}/
Inbox {self.mail}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
""")

    def sync(self) -> str:
        done = self.program(
            "mbsync", "-V", "-c", str(self.configuration), "-a", HOME=str(self.server.root)
        )
        return (done.stdout + done.stderr).decode()

    def files(self, folder: str) -> list[Path]:
        return sorted(
            path for name in ("cur", "new") for path in (self.mail / folder / name).glob("*")
        )

    def state(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.mail)): path.read_bytes()
            for path in self.mail.rglob("*")
            if path.is_file()
        }

    def test_both_ways_and_then_nothing(self) -> None:
        for number in range(5):
            self.deliver(message(f"Message {number}"))
        self.sync()
        self.assertEqual(len(self.files("INBOX")), 5)
        self.assertTrue((self.mail / "Archive").is_dir())

        new = self.mail / "Archive" / "new" / "1.local.test"
        new.write_bytes(message("From the Maildir").replace(b"\r\n", b"\n"))
        self.sync()
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port)
        self.addCleanup(client.shutdown)
        client.login(ADDRESS, self.password)
        client.select("Archive")
        (_, fetched), _ = client.fetch("1", "(BODY.PEEK[])")[1]
        self.assertIn(b"Subject: From the Maildir\r\n", fetched)
        client.store("1", "+FLAGS", "(\\Flagged)")
        client.select("INBOX")
        client.store("2", "+FLAGS", "(\\Deleted)")
        client.expunge()

        self.sync()
        self.assertEqual(len(self.files("INBOX")), 4)
        self.assertIn("F", self.files("Archive")[0].name.rpartition(",")[2])

        before = self.state()
        self.sync()
        self.assertEqual(self.state(), before)

        moved = self.files("INBOX")[0]
        moved.unlink()
        self.sync()
        self.assertEqual(client.select("INBOX")[1], [b"3"])

    def test_folder_made_locally_appears(self) -> None:
        for name in ("cur", "new", "tmp"):
            (self.mail / "Projects" / name).mkdir(parents=True)
        self.sync()
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port)
        self.addCleanup(client.shutdown)
        client.login(ADDRESS, self.password)
        self.assertEqual(client.select("Projects")[0], "OK")
