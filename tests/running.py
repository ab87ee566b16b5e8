"""A real mailsrv in a process of its own, on loopback ports, for tests that need one.

Blocking: tests that use it are plain ``SynchronousTestCase``.
"""

import json
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mailsrv.cli.commands import main
from tests.children import environment

STARTUP_SECONDS = 30.0
PORTS = (25, 143, 993)
HEALTH_PORT = 80
LINK_PORT = 190


def free_port_base() -> int:
    """A port base at which no listener's port is taken now."""
    for _ in range(200):
        base = random.randrange(21000, 31000)
        if all(_is_free(base + port) for port in (*PORTS, HEALTH_PORT, LINK_PORT)):
            return base
    raise RuntimeError("no free ports on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class RunningServer:
    """A data directory under the temporary directory, and the server on it.

    ``top`` are keys for the beginning of its configuration, ``tables`` tables for its end: with
    ``top="workers = 2"`` this is a primary with two workers. It answers for its health.
    """

    def __init__(self, top: str = "", tables: str = "") -> None:
        self.base = free_port_base()
        self.root = Path(tempfile.mkdtemp(prefix="mailsrv-test-"))
        self.folder = self.root / "data"
        self.config = self.folder / "mailsrv.toml"
        self.log = self.root / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.command("init", str(self.folder), "--port-base", str(self.base), config=False)
        health = f'[health]\nlisten = ["tcp:{self.health_port}:interface=127.0.0.1"]\n'
        self.config.write_text(f"{top}\n{self.config.read_text()}\n{health}{tables}")

    def serve_link(self) -> None:
        """Have the primary serve the link to other machines, too."""
        with self.config.open("a") as config:
            config.write(f'[link]\nlisten = ["tcp:{self.link_port}:interface=127.0.0.1"]\n')

    smtp_port = property(lambda self: self.base + 25)
    imap_port = property(lambda self: self.base + 143)
    imaps_port = property(lambda self: self.base + 993)
    health_port = property(lambda self: self.base + HEALTH_PORT)
    link_port = property(lambda self: self.base + LINK_PORT)
    ca = property(lambda self: self.folder / "tls" / "ca.pem")

    def command(self, *words: str, config: bool = True, stdin: str = "") -> Any:
        """Run ``mailsrv --json WORDS`` in this process, where it starts faster; its answer."""
        options = ["--json", *(["--config", str(self.config)] if config else [])]
        done = CliRunner().invoke(main, [*options, *words], input=stdin)
        if done.exit_code:
            raise RuntimeError(f"mailsrv {words}: {done.output}")
        return json.loads(done.stdout)

    def environment(self) -> dict[str, str]:
        return environment(TMPDIR=str(self.root))

    def add(self, address: str) -> str:
        """Make the alias (and its domain), give its generated password."""
        domain = address.rpartition("@")[2]
        if domain not in {known["name"] for known in self.command("domain", "list")}:
            self.command("domain", "add", domain)
        self.command("alias", "add", address)
        return self.command("password", address)["password"]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mailsrv.cli", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=self.root,
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            for port in (self.smtp_port, self.imap_port, self.imaps_port):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    def missing(self) -> list[str] | None:
        """What keeps the server from being ready, as /readyz tells; None: no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz") as answer:
                return json.load(answer)["missing"]
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)["missing"]
        except OSError:
            return None

    def await_ready(self, seconds: float = STARTUP_SECONDS) -> None:
        """Wait until everything works that is configured, workers and links too."""
        deadline = time.monotonic() + seconds
        while (missing := self.missing()) != []:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready: {missing}\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def worker_pids(self) -> list[int]:
        """The processes of the workers, oldest first."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sorted(map(int, children))

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        self.process = None
        return status

    def stop(self) -> None:
        """Stop the server if it runs and remove everything."""
        if self.process is not None:
            self.kill(signal.SIGTERM)
        shutil.rmtree(self.root, ignore_errors=True)

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


class RunningSecondary(RunningServer):
    """Front ends on a machine without mailboxes, linked to the primary of another server.

    By its unix socket, or over TCP with TLS when that server was told to ``serve_link``.
    """

    def __init__(
        self, primary: RunningServer, top: str = "", tables: str = "", *, tls: bool = False
    ) -> None:
        if tls:
            where = f'endpoint = "tcp:127.0.0.1:{primary.link_port}"\nhostname = "localhost"\n'
        else:
            where = f'endpoint = "unix:{primary.folder}/link.sock"\n'
        link = (
            f'[link.primaries.primary]\n{where}ca = "{primary.ca}"\n'
            f'token_file = "{primary.folder}/link.token"\n'
        )
        super().__init__(f'roles = ["imap", "mx"]\n{top}', f"{link}{tables}")
