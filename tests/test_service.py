"""The service as twistd and twist start it: listening, refusing to start, reloading, stopping."""

import imaplib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.tls import make_self_signed
from tests.refusing import started
from tests.running import HEALTH_PORT, PORTS, RunningServer, free_port_base
from tests.waiting import eventually

ADDRESS = "hello@example.com"


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.stop)

    def refused(self, *words: str) -> str:
        """Start in the foreground, which must end by itself with status 1; what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "mailsrv.cli", *words],
            capture_output=True,
            text=True,
            check=False,
            env=self.server.environment(),
            cwd=self.server.root,
            timeout=30,
        )
        return self.refusal(done.returncode, done.stdout + done.stderr)

    def refusal(self, status: int, output: str) -> str:
        self.assertEqual(status, 1, output)
        self.assertNotIn("Traceback", output)
        lines = output.splitlines()
        # before the log begins it is a bare line, afterwards one of the log
        return "\n".join(line for line in lines if re.search(r"(^|\] )mailsrv: ", line))

    def serve_refused(self) -> str:
        status, output = started("serve", "--config", str(self.server.config))
        said = self.refusal(status, output)
        self.assertEqual(said.count("mailsrv: "), 1, said)
        return said

    def launched(self, *words: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, *words, "mailsrv", "--config", str(self.server.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.server.environment(),
            cwd=self.server.root,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def eventually_greets(self) -> None:
        def greets() -> bool:
            try:
                imaplib.IMAP4("127.0.0.1", self.server.imap_port).shutdown()
            except OSError:
                return False
            return True

        self.assertTrue(eventually(greets, 30), "nobody listens")

    def daemon(self) -> "subprocess.CompletedProcess[str]":
        pid, log = (self.server.root / name for name in ("pid", "log.txt"))
        code = "from twisted.scripts.twistd import run; run()"
        words = [f"--pidfile={pid}", f"--logfile={log}", "mailsrv", "--config", self.server.config]
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=self.server.environment(),
            cwd=self.server.root,
            timeout=30,
        )

    def test_in_the_background(self) -> None:
        done = self.daemon()
        self.assertEqual(done.returncode, 0, done.stderr)
        file = self.server.root / "pid"
        pid = int(file.read_text())
        try:
            self.eventually_greets()
            shared = self.server.folder / "directory.sqlite-shm"
            held = f" {pid} .*:{shared.stat().st_ino} "
            # a lock that was taken before the fork would not be this process's
            self.assertRegex(Path("/proc/locks").read_text(), held)
        finally:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while file.exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_in_the_background_a_refused_start_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", self.server.smtp_port)):
            done = self.daemon()
        self.assertEqual(done.returncode, 1)
        self.assertIn("mx.listen", done.stderr)
        self.assertRegex(self.server.log.read_text(), "cannot listen: .*Address already in use")
        self.assertFalse((self.server.root / "pid").exists())

    def test_twist_and_twistd_know_the_plugin(self) -> None:
        twistd = "from twisted.scripts.twistd import run; run()"
        for words in (("-m", "twisted"), ("-c", twistd, "-n", "--pidfile=")):
            process = self.launched(*words)
            self.eventually_greets()
            process.terminate()
            process.wait()

    def test_taken_port(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.server.imaps_port))
            taken.listen()
            said = self.serve_refused()
        self.assertIn(f"imap.listen_tls 'tcp:{self.server.imaps_port}", said)
        self.assertIn("Address already in use", said)

    def test_port_that_is_none(self) -> None:
        port = f"tcp:{self.server.smtp_port}:"
        text = self.server.config.read_text()
        for wrong in ("tcp:99999:", "tcp:-1:"):
            self.server.config.write_text(text.replace(port, wrong))
            self.assertIn(
                f"mx.listen '{wrong}interface=127.0.0.1': cannot listen", self.serve_refused()
            )

    def test_twist_stops_too_when_a_port_is_taken(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.server.imaps_port))
            taken.listen()
            self.assertEqual(self.launched("-m", "twisted").wait(20), 1)

    def test_demo_starts_says_what_to_type_and_stops(self) -> None:
        folder = self.server.root / "demo"
        words = ("demo", str(folder), "--port-base", str(free_port_base()))
        with (self.server.root / "demo.txt").open("wb") as said:
            demo = subprocess.Popen(
                [sys.executable, "-m", "mailsrv.cli", *words],
                stdout=said,
                stderr=said,
                env=self.server.environment(),
            )
        self.addCleanup(demo.wait)
        self.addCleanup(demo.terminate)
        text = self.server.root / "demo.txt"
        deadline = time.monotonic() + 30
        while "Ctrl-C stops" not in text.read_text():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertIn("is taken", self.refused(*words))
        commands = re.findall(r"^  (python3 -c .*)$", text.read_text(), re.MULTILINE)
        # trial tells its workers where the modules of its own Python are, which may be another
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        send, read = (
            subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, check=True, env=plain
            )
            for command in commands
        )
        self.assertEqual(send.stdout, "")
        self.assertIn("Subject: Hello\n\nIt works.", read.stdout.replace("\r", ""))
        demo.send_signal(signal.SIGINT)
        self.assertEqual(demo.wait(20), 0)
        self.assertNotIn("Traceback", text.read_text())

    def test_second_server_on_the_same_directory(self) -> None:
        self.server.start()
        text, base = self.server.config.read_text(), free_port_base()
        for port in (*PORTS, HEALTH_PORT):
            text = text.replace(f"tcp:{self.server.base + port}:", f"tcp:{base + port}:")
        other = self.server.folder / "other.toml"
        other.write_text(text)
        said = self.refused("serve", "--config", str(other))
        self.assertIn("another mailsrv serves it already", said)

    def test_bad_endpoint(self) -> None:
        text = self.server.config.read_text()
        port = f"tcp:{self.server.smtp_port}:interface=127.0.0.1"
        for wrong in ("nonsense:25", "tcp:many", "tcp", "ssl:25", "systemd:domain=INET:index=0"):
            self.server.config.write_text(text.replace(port, wrong))
            self.assertIn(
                f"mx.listen: expected an endpoint such as tcp:143, got '{wrong}'",
                self.serve_refused(),
            )

    def test_broken_certificate(self) -> None:
        (self.server.folder / "tls" / "cert.pem").write_text("nothing")
        said = self.serve_refused()
        self.assertIn(f"{self.server.config}: tls.certificate: expected a PEM certificate", said)

    def test_directory_that_cannot_be_had(self) -> None:
        text = self.server.config.read_text()
        for url, expected in (
            ("sqlite:///none/directory.sqlite", "directory.url: cannot create"),
            (
                "postgresql+psycopg://me:canary@127.0.0.1:1/x",
                "directory.url names cannot be reached",
            ),
        ):
            self.server.config.write_text(f'{text}\n[directory]\nurl = "{url}"\n')
            said = self.serve_refused()
            self.assertIn(expected, said)
            self.assertNotIn("canary", said)

    def test_nobody_else_may_read_what_it_writes(self) -> None:
        process = self.launched(
            "-c",
            "import os; os.umask(0); from twisted.scripts.twistd import run; run()",
            "-n",
            "--pidfile=",
        )
        self.eventually_greets()
        status = Path(f"/proc/{process.pid}/status").read_text()
        self.assertIn("Umask:\t0077", status)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        folder = self.server.folder
        for path in (folder, *folder.rglob("*")):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_missing_and_broken_configuration(self) -> None:
        self.server.config.write_text("hostname = 3")
        self.assertIn("hostname: expected str, got int", self.serve_refused())
        self.server.config.unlink()
        self.assertIn("cannot be read", self.serve_refused())

    def test_certificates_are_read_again_on_hangup(self) -> None:
        self.server.start()
        for name in ("ca.pem", "cert.pem", "key.pem"):
            (self.server.folder / "tls" / name).unlink()
        make_self_signed(self.server.folder / "tls", "localhost", datetime.now(UTC))
        renewed = self.server.tls_context()
        self.assertRaises(ssl.SSLCertVerificationError, self.secure_greeting, renewed)
        self.server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.secure_greeting(renewed)
            except ssl.SSLCertVerificationError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            else:
                break

    def secure_greeting(self, context: ssl.SSLContext) -> None:
        imaplib.IMAP4_SSL("localhost", self.server.imaps_port, ssl_context=context).shutdown()

    def test_stop_says_goodbye(self) -> None:
        password = self.server.add(ADDRESS)
        self.server.start()
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=30)
        client.login(ADDRESS, password)
        begin = time.monotonic()
        self.server.kill(signal.SIGTERM)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertTrue(client.readline().startswith(b"* BYE "))
        client.shutdown()
        self.assertEqual(list((self.server.folder / "mailboxes").glob("*-wal")), [])
        self.assertNotIn("Unhandled", self.server.log.read_text())
