"""Primary, workers and a secondary as real processes: what the death of one does to the others."""

import imaplib
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.link.transport.tokens import make_tokens
from mailsrv.tls import make_self_signed
from tests.refusing import started
from tests.running import RunningSecondary, RunningServer
from tests.waiting import eventually

ADDRESS = "hello@example.com"
MESSAGE = b"Subject: hi\r\n\r\nIt works.\r\n"


class ProcessCase(SynchronousTestCase):
    def running(self, server: RunningServer) -> RunningServer:
        self.addCleanup(server.stop)
        return server

    def eventually(self, condition: Callable[[], object], seconds: float = 15) -> None:
        self.assertTrue(eventually(condition, seconds), "it did not come to pass")

    def client(self, server: RunningServer, password: str) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=30)
        self.addCleanup(client.shutdown)
        client.login(ADDRESS, password)
        client.select()
        return client

    def deliver(self, server: RunningServer) -> None:
        with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
            client.sendmail("a@example.org", ADDRESS, MESSAGE)

    def count(self, client: imaplib.IMAP4) -> int:
        return int(client.status("INBOX", "(MESSAGES)")[1][0].split()[-1].strip(b")"))


@contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        yield


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def served_by(pid: int, client: imaplib.IMAP4) -> bool:
    """Whether that process has the other end of the client's connection."""
    port = client.socket().getsockname()[1]
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    links = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.exists()]
    return bool(inodes & set(links))


class WorkersTests(ProcessCase):
    def setUp(self) -> None:
        self.server = self.running(RunningServer("workers = 2"))
        self.password = self.server.add(ADDRESS)
        self.server.start()
        self.server.await_ready()

    def test_from_one_end_to_the_next(self) -> None:
        """One server for all of it: a start takes seconds."""
        self.a_killed_worker_is_followed_by_a_new_one()
        self.reload_reaches_the_workers()
        self.workers_keep_to_themselves()
        self.workers_end_with_a_killed_main_process()
        self.stop_says_goodbye_and_leaves_nobody()

    def a_killed_worker_is_followed_by_a_new_one(self) -> None:
        clients = [self.client(self.server, self.password) for _ in range(12)]
        before = self.count(clients[0])
        victim, other = self.server.worker_pids()
        its = [client for client in clients if served_by(victim, client)]
        others = [client for client in clients if client not in its]
        self.assertEqual([served_by(other, client) for client in others], [True] * len(others))
        os.kill(victim, signal.SIGKILL)
        self.eventually(lambda: self.server.missing() == ["worker 1"])
        for _ in range(3):
            self.deliver(self.server)
        for client in others:
            self.assertEqual(self.count(client), before + 3)
        for client in its:
            self.assertRaises((imaplib.IMAP4.abort, OSError), client.noop)
        self.server.await_ready()
        self.assertNotIn(victim, self.server.worker_pids())
        self.assertEqual(len(self.server.worker_pids()), 2)
        self.assertEqual(self.count(self.client(self.server, self.password)), before + 3)
        self.assertIn("worker 1 ended (signal 9)", self.server.log.read_text())

    def workers_end_with_a_killed_main_process(self) -> None:
        pids = self.server.worker_pids()
        self.client(self.server, self.password)
        self.server.kill(signal.SIGKILL)
        self.eventually(lambda: not any(map(alive, pids)))
        self.server.start()
        self.server.await_ready()
        self.client(self.server, self.password)

    def stop_says_goodbye_and_leaves_nobody(self) -> None:
        clients = [self.client(self.server, self.password) for _ in range(6)]
        pids = self.server.worker_pids()
        begin, said = time.monotonic(), len(self.server.log.read_text())
        self.server.kill(signal.SIGTERM)
        self.assertLess(time.monotonic() - begin, 5)
        for client in clients:
            self.assertTrue(client.readline().startswith(b"* BYE "))
        self.assertEqual([alive(pid) for pid in pids], [False, False])
        self.assertFalse((self.server.folder / "link.sock").exists())
        log = self.server.log.read_text()[said:]
        self.assertRegex(log, r"worker 1: \[.*SIGTERM")
        self.assertNotIn("Traceback", log)
        self.assertNotIn("ended (", log)

    def reload_reaches_the_workers(self) -> None:
        for name in ("ca.pem", "cert.pem", "key.pem"):
            (self.server.folder / "tls" / name).unlink()
        make_self_signed(self.server.folder / "tls", "localhost", datetime.now(UTC))
        (self.server.folder / "link.token").unlink()
        make_tokens(self.server.folder / "link.token")
        self.server.process.send_signal(signal.SIGHUP)

        def greeted() -> bool:
            context = self.server.tls_context()
            try:
                imaplib.IMAP4_SSL(
                    "localhost", self.server.imaps_port, ssl_context=context
                ).shutdown()
            except OSError:
                return False
            return True

        self.eventually(greeted)
        self.eventually(lambda: all(greeted() for _ in range(8)))
        os.kill(self.server.worker_pids()[0], signal.SIGKILL)  # the next needs the new token
        self.eventually(lambda: self.server.missing() != [])
        self.server.await_ready()

    def workers_keep_to_themselves(self) -> None:
        for pid in self.server.worker_pids():
            process = Path(f"/proc/{pid}")
            self.assertIn("Umask:\t0077", (process / "status").read_text())
            self.assertRegex((process / "limits").read_text(), r"Max core file size +0 +0 ")
            self.assertNotIn(self.server.folder.name.encode(), (process / "cmdline").read_bytes())
        secret = (self.server.folder / "link.token").read_bytes()
        self.assertEqual((self.server.folder / "link.token").stat().st_mode & 0o777, 0o600)
        self.assertEqual((self.server.folder / "link.sock").stat().st_mode & 0o777, 0o600)
        for pid in [self.server.process.pid, *self.server.worker_pids()]:
            seen = Path(f"/proc/{pid}/cmdline").read_bytes()
            seen += Path(f"/proc/{pid}/environ").read_bytes()
            for line in secret.splitlines():
                self.assertNotIn(line.split()[1], seen)


class BalancerTests(ProcessCase):
    def greeting(self, server: RunningServer, source: str) -> bytes:
        with socket.create_connection(("127.0.0.1", server.imap_port), timeout=30) as client:
            client.sendall(f"PROXY TCP4 {source} 192.0.2.9 1025 143\r\n".encode())
            return client.makefile("rb").readline()

    def test_workers_learn_the_real_address(self) -> None:
        proxy = '[proxy]\nallow_from = ["127.0.0.1"]\n'
        server = self.running(RunningServer("workers = 1", proxy))
        text = server.config.read_text()
        door = f"tcp:{server.imap_port}"
        server.config.write_text(text.replace(door, f"haproxy:{door}"))
        server.start()
        self.assertNotIn(b"LOGINDISABLED", self.greeting(server, "127.0.0.2"))
        self.assertIn(b"LOGINDISABLED", self.greeting(server, "192.0.2.1"))


class SecondaryTests(ProcessCase):
    def setUp(self) -> None:
        self.primary = self.running(RunningServer('roles = ["primary"]'))
        self.primary.serve_link()
        self.password = self.primary.add(ADDRESS)

    def start_primary(self) -> None:
        with self.primary.log.open("ab") as log:
            self.primary.process = subprocess.Popen(
                [sys.executable, "-m", "mailsrv.cli", "serve", "--config", self.primary.config],
                stdout=log,
                stderr=log,
                env=self.primary.environment(),
            )
        self.primary.await_ready()

    def test_ready_when_the_primary_is(self) -> None:
        secondary = self.running(RunningSecondary(self.primary, tls=True))
        secondary.start()
        self.assertEqual(secondary.missing(), ["link to primary"])
        self.start_primary()
        secondary.await_ready()
        client = self.client(secondary, self.password)
        self.deliver(secondary)
        self.assertEqual(self.count(client), 1)
        self.primary.kill(signal.SIGTERM)
        self.eventually(lambda: secondary.missing() == ["link to primary"])
        client.send(b"w NOOP\r\n")  # waits for the primary and not in vain
        self.start_primary()
        secondary.await_ready()
        self.assertEqual(client.readline()[:4], b"w OK")
        self.assertEqual(self.count(client), 1)

    def test_workers_without_a_primary_of_their_own(self) -> None:
        self.start_primary()
        secondary = self.running(RunningSecondary(self.primary, "workers = 2"))
        secondary.start()
        secondary.await_ready()
        clients = [self.client(secondary, self.password) for _ in range(4)]
        self.deliver(secondary)
        for client in clients:
            self.assertEqual(self.count(client), 1)
        self.assertFalse((secondary.folder / "link.sock").exists())
        self.primary.kill(signal.SIGTERM)
        lost = ["worker 1: link to primary", "worker 2: link to primary"]
        self.eventually(lambda: secondary.missing() == lost)

    def test_every_process_of_its_own_links_to_several_primaries(self) -> None:
        """A primary that knows of others reaches itself over the link as well."""
        self.start_primary()
        where = f'endpoint = "unix:{self.primary.folder}/link.sock"'
        other = self.running(
            RunningServer(
                tables=f'[link]\nname = "b"\n[link.primaries.primary]\n{where}\n'
                f'token_file = "{self.primary.folder}/link.token"\n'
            )
        )
        other.start()
        other.await_ready()
        self.primary.kill(signal.SIGTERM)
        self.eventually(lambda: other.missing() == ["link to primary"])


class RefusalTests(ProcessCase):
    """What a start is refused with: one line, and exit status 1."""

    def refused(self, server: RunningServer) -> str:
        status, said = started("serve", "--config", str(server.config))
        self.assertEqual(status, 1, said)
        self.assertNotIn("Traceback", said)
        lines = [line for line in said.splitlines() if "mailsrv: " in line]
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def test_one_line(self) -> None:
        server = self.running(RunningServer("workers = 2"))
        plain = server.config.read_text()
        smtp = f'"tcp:{server.smtp_port}:interface=127.0.0.1"'
        path = server.folder / "link.sock"
        for found, wrong, said in (
            (smtp, '"unix:mx.sock"', "mx.listen: workers share tcp, tcp6 and systemd endpoints"),
            (smtp, '"tcp:99999"', "mx.listen 'tcp:99999': cannot listen"),
            ("workers = 2", 'redis_url = "redis://:canary@x:y/z"', "redis"),
            (
                "workers = 2",
                'workers = 2\nredis_url = "redis://:canary@x:y/z"',
                "redis",
            ),
            (
                "[imap]",
                f'[link]\nsocket = "{"x" * 120}"\n[imap]',
                "link.socket: expected a path of",
            ),
            ("[imap]", '[link]\nsocket = "none/x"\n[imap]', "link.socket"),
        ):
            server.config.write_text(plain.replace(found, wrong, 1))
            refused = self.refused(server)
            self.assertIn(said, refused)
            self.assertNotIn("worker 1", refused)
            self.assertNotIn("canary", refused)
        server.config.write_text(plain)
        (server.folder / "link.token").chmod(0o644)
        self.assertIn("expected mode 0600", self.refused(server))
        (server.folder / "link.token").unlink()
        path.write_text("")
        self.assertIn(f"link.socket {path}: something else is there", self.refused(server))
        path.unlink()
        with listening(path):
            self.assertIn("another process serves it already", self.refused(server))

    def test_the_name_of_another_primary(self) -> None:
        first, second = (self.running(RunningServer()) for _ in range(2))
        shared = f'[directory]\nurl = "sqlite:///{first.folder}/directory.sqlite"\n'
        config = second.config.read_text()
        self.assertNotIn("\n[directory]", config)
        second.config.write_text(config + shared)
        first.start()
        said = self.refused(second)
        self.assertIn("mailsrv: link.name: primary 'primary' of this directory is another", said)
        with second.config.open("a") as file:
            file.write('[link]\nname = "b"\n')
        second.start()

    def test_secondary(self) -> None:
        primary = self.running(RunningServer())
        for top in ("", "workers = 1"):
            server = self.running(RunningSecondary(primary, top))
            (primary.folder / "link.token").rename(primary.folder / "hidden")
            said = self.refused(server)
            self.assertIn("link.primaries.primary: ", said)
            self.assertIn("link.token: cannot be read: No such file", said)
            (primary.folder / "hidden").rename(primary.folder / "link.token")
