"""Nothing that the server writes holds a password, a key or text of a message.

Everything that a session does is done once with words that occur nowhere else; then every file of
the data directory and the temporary directory, the log, the environment and the process title
are searched for them.
"""

import contextlib
import imaplib
import re
import smtplib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.filekey import derive_file_key
from tests.running import RunningServer

ADDRESS = "hello@example.com"
CANARIES = {
    "subject": "Zanzibarquux",
    "body": "Flibbertigibbetz",
    "attachment": "Kakorrhaphiophob",
    "folder": "Sesquipedalianx",
    "search": "Antidisestabli",
    "keyword": "Floccinaucinih",
    "wrong password": "Honorificabilit",
}
BIG = 300_000


def contents(root: Path) -> dict[str, bytes]:
    """Of all files under a folder; a server at work may take one away meanwhile."""
    found: dict[str, bytes] = {}
    for path in root.rglob("*"):
        if path.is_file():
            with contextlib.suppress(FileNotFoundError):
                found[str(path)] = path.read_bytes()
    return found


class CanaryTests(SynchronousTestCase):
    configuration = ""

    def setUp(self) -> None:
        self.server = RunningServer(self.configuration)
        self.addCleanup(self.server.stop)
        self.password = self.server.add(ADDRESS)
        self.server.start()

    def message(self) -> bytes:
        filler = f"{CANARIES['attachment']} {CANARIES['attachment'][::-1]}\r\n" * 5000
        return (
            f"From: a@example.org\r\nTo: {ADDRESS}\r\nSubject: {CANARIES['subject']}\r\n"
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            f"--b\r\n\r\n{CANARIES['body']}\r\n"
            f"--b\r\nContent-Disposition: attachment\r\n\r\n{filler[:BIG]}\r\n--b--\r\n"
        ).encode()

    def use_everything(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.sendmail("a@example.org", ADDRESS, self.message())
            client.docmd(f"MAIL FROM:<{CANARIES['wrong password']}@example.org> BROKEN=1")
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=60)
        self.assertRaises(imaplib.IMAP4.error, client.login, ADDRESS, CANARIES["wrong password"])
        client.login(ADDRESS, self.password)
        client.create(CANARIES["folder"])
        client.append(CANARIES["folder"], f"({CANARIES['keyword']})", None, self.message())
        client.select()
        client.fetch("1", "(BODY[])")
        client.search(None, "TEXT", CANARIES["search"])
        client.copy("1", CANARIES["folder"])
        # what the parser does not understand
        self.assertRaises(
            imaplib.IMAP4.error, client.xatom, f"X{CANARIES['search']}", CANARIES["body"]
        )
        self.assertRaises(imaplib.IMAP4.error, client.fetch, "1", f"(BODY[{CANARIES['search']}])")
        for pid in (self.server.process.pid, *self.server.worker_pids()):
            self.running = Path(f"/proc/{pid}")
            self.look(self.live_places())
        client.logout()
        secure = imaplib.IMAP4_SSL(
            "localhost", self.server.imaps_port, ssl_context=self.server.tls_context()
        )
        secure.login(ADDRESS, self.password)
        secure.shutdown()

    def live_places(self) -> dict[str, bytes]:
        places = {
            name: (self.running / name).read_bytes() for name in ("cmdline", "environ", "comm")
        }
        for descriptor in (self.running / "fd").iterdir():
            target = descriptor.resolve()
            if target.is_file():
                places[f"open file {target}"] = descriptor.read_bytes()
        return places

    def look(self, places: dict[str, bytes]) -> None:
        secrets = {**CANARIES, "password": self.password}
        for path in (self.server.folder / "mailboxes").glob("*.sqlite"):
            with path.open("rb") as file:
                key = derive_file_key(self.password, file.read(16))
            secrets[f"key of {path.name}"] = key.raw.hex()
            for place, content in places.items():
                self.assertNotIn(key.raw, content, place)
        for what, secret in secrets.items():
            pattern = re.compile(re.escape(secret.encode()), re.IGNORECASE)
            for place, content in places.items():
                self.assertIsNone(pattern.search(content), f"{what} in {place}")

    def test_a_leak_would_be_found(self) -> None:
        (self.server.root / "leak").write_bytes(b"x" + CANARIES["body"].lower().encode())
        files = [path for path in self.server.root.rglob("*") if path.is_file()]
        with self.assertRaises(self.failureException) as caught:
            self.look({str(path): path.read_bytes() for path in files})
        self.assertIn("leak", str(caught.exception))

    def test_nothing_leaks(self) -> None:
        self.use_everything()
        files = contents(self.server.root)
        self.assertGreater(len(files), 5)
        self.look(files)
        self.server.kill(15)
        files = [path for path in self.server.root.rglob("*") if path.is_file()]
        self.look({str(path): path.read_bytes() for path in files})
        for path in files:
            if not path.name.startswith("directory.sqlite"):
                self.assertFalse(path.read_bytes().startswith(b"SQLite format 3"), path.name)
        log = self.server.log.read_text()
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Unhandled", log)


class WorkersCanaryTests(CanaryTests):
    """The same with passwords and keys on their way between processes."""

    configuration = "workers = 1"
