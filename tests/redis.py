"""A Redis for tests: Debian's package, a private socket in a temporary directory, no TCP.

It can be killed, stopped and started again at the same place, and ends with the test process.
Tests skip with the words of ``missing()`` where the package is not installed.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.children import die_with_parent

_START_SECONDS = 10.0


def missing() -> str | None:
    """Say why no server can be started here, or None when one can."""
    if shutil.which("redis-server") is None:
        return "Redis is not installed (Debian: apt-get install redis-server)"
    return None


class Server:
    """A server that keeps nothing on disk. ``port`` 0 means no TCP."""

    def __init__(self, *, password: str = "", port: int = 0) -> None:
        # the path of a socket has at most 107 octets, too few for trial's directories
        self.folder = Path(tempfile.mkdtemp(prefix="mailsrv-redis-"))
        self.path = self.folder / "socket"
        self._options = [
            *("--unixsocket", str(self.path), "--port", str(port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            *(["--requirepass", password] if password else []),
        ]
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        """Start it, empty; returns when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=die_with_parent(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.path))
                probe.sendall(b"PING\r\n")
                return probe.recv(100).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def ask(self, *words: str) -> str:
        """What ``redis-cli`` says to a command. Blocking."""
        login = ["--no-auth-warning", "-a", self._password] if self._password else []
        done = subprocess.run(
            ["redis-cli", "-s", str(self.path), *login, *words],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
