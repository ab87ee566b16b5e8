"""A real mailsrv in a process of its own, on loopback ports, for tests that need one.

Blocking: tests that use it are plain ``SynchronousTestCase``.
"""

import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mailsrv.cli.commands import main

STARTUP_SECONDS = 30.0
PORTS = (25, 143, 993)


def free_port_base() -> int:
    """A port base at which no listener's port is taken now."""
    for _ in range(200):
        base = random.randrange(21000, 31000)
        if all(_is_free(base + port) for port in PORTS):
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
    """A data directory under the temporary directory, and the server on it."""

    def __init__(self) -> None:
        self.base = free_port_base()
        self.root = Path(tempfile.mkdtemp(prefix="mailsrv-test-"))
        self.folder = self.root / "data"
        self.config = self.folder / "mailsrv.toml"
        self.log = self.root / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.command("init", str(self.folder), "--port-base", str(self.base), config=False)

    smtp_port = property(lambda self: self.base + 25)
    imap_port = property(lambda self: self.base + 143)
    imaps_port = property(lambda self: self.base + 993)
    ca = property(lambda self: self.folder / "tls" / "ca.pem")

    def command(self, *words: str, config: bool = True, stdin: str = "") -> Any:
        """Run ``mailsrv --json WORDS`` in this process, where it starts faster; its answer."""
        options = ["--json", *(["--config", str(self.config)] if config else [])]
        done = CliRunner().invoke(main, [*options, *words], input=stdin)
        if done.exit_code:
            raise RuntimeError(f"mailsrv {words}: {done.output}")
        return json.loads(done.stdout)

    def environment(self) -> dict[str, str]:
        root = str(Path(__file__).parents[1])
        environment = {key: value for key, value in os.environ.items() if key != "MAILSRV_CONFIG"}
        return {**environment, "PYTHONPATH": root, "TMPDIR": str(self.root)}

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
