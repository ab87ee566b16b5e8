"""Two machines on one PostgreSQL with links by TLS: a mailbox moves while a worker reads its file.

The worker of the source has the old file open itself, and afterwards the one that came back.
"""

import imaplib
import re
import subprocess
import sys
import threading
from pathlib import Path

from tests import postgresql
from tests.running import RunningServer
from tests.test_service_processes import ADDRESS, ProcessCase, served_by

MOVE_SECONDS = 60


class Owner:
    """Appends and looks, again and again, by one connection: all that was stored is there, once."""

    def __init__(self, client: imaplib.IMAP4) -> None:
        self.stored: list[str] = []
        self.failures: list[BaseException] = []
        self._client = client
        self._over = threading.Event()
        self._rounds = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def await_rounds(self, count: int) -> None:
        """Wait until it has looked so many times more, or has failed."""
        for _ in range(count):
            self._rounds.acquire(timeout=MOVE_SECONDS)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> list[str]:
        """The subjects, in the order of the UIDs."""
        kind, found = self._client.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert kind == "OK", found
        rows = [one for one in found if isinstance(one, tuple)]
        uids = [int(re.search(rb"UID (\d+)", row[0])[1]) for row in rows]
        assert uids == sorted(set(uids)), uids
        return [row[1].decode().strip().removeprefix("Subject: ") for row in rows]

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._round(f"mark-{len(self.stored)}")
                self._rounds.release()
        except BaseException as error:  # noqa: BLE001
            self.failures.append(error)
        self._rounds.release(MOVE_SECONDS)

    def _round(self, mark: str) -> None:
        content = f"Subject: {mark}\r\n\r\nIt works.\r\n".encode()
        kind, said = self._client.append("INBOX", "", "", content)
        assert kind == "OK", said
        self.stored.append(mark)
        self._client.noop()
        assert self.look() == self.stored, "lost, doubled or stale"


class MovingTests(ProcessCase):
    if problem := postgresql.missing():
        skip = problem

    def setUp(self) -> None:
        server = postgresql.server()
        url = server.create()
        self.addCleanup(server.drop, url)
        self.a = self.running(RunningServer("workers = 1"))
        self.b = self.running(RunningServer())
        self.join(self.a, "a", self.b, "b", url)
        self.join(self.b, "b", self.a, "a", url)

    def join(
        self, here: RunningServer, name: str, there: RunningServer, far: str, url: str
    ) -> None:
        here.serve_link()
        with here.config.open("a") as config:
            config.write(
                f'name = "{name}"\n[link.primaries.{far}]\n'
                f'endpoint = "tcp:127.0.0.1:{there.link_port}"\nhostname = "localhost"\n'
                f'ca = "{there.ca}"\ntoken_file = "{there.folder}/link.token"\n'
                f'[directory]\nurl = "{url}"\n'
            )

    def move(self, target: str) -> None:
        words = ("--config", str(self.a.config), "mailbox", "move", ADDRESS, target)
        done = subprocess.run(
            [sys.executable, "-m", "mailsrv.cli", *words],
            env=self.a.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=MOVE_SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_there_and_back_under_the_eyes_of_a_worker(self) -> None:
        password = self.a.add(ADDRESS)
        for server in (self.a, self.b):
            server.start()
        for server in (self.a, self.b):
            server.await_ready()
        client = self.client(self.a, password)
        (worker,) = self.a.worker_pids()
        self.assertTrue(served_by(worker, client))
        owner = Owner(client)
        try:
            owner.await_rounds(3)
            self.assertTrue(self.reads_files(worker))
            for target in ("b", "a"):
                self.move(target)
                owner.await_rounds(3)
            self.eventually(lambda: self.reads_files(worker))
        finally:
            owner.stop()
        self.assertEqual(owner.failures, [])
        other = self.client(self.b, password)
        self.assertEqual(self.count(other), len(owner.stored))
        self.assertEqual(self.a.command("mailbox", "list")[0]["primary"], "a")

    def reads_files(self, pid: int) -> bool:
        """Whether the process has a mailbox open that is there."""
        return any(_target(one).endswith(".sqlite") for one in Path(f"/proc/{pid}/fd").iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
