"""A primary and its secondaries as processes on loopback, each link through a proxy that can fail.

Every process is a real one, with a data directory and a configuration of its own, and can be
killed, paused and started again. All of them end with the test process, however it ends.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mailsrv.cli.commands import main
from mailsrv.tls import make_self_signed
from tests.children import die_with_parent, environment
from tests.clients.imap_client import Client
from tests.clients.smtp_client import Smtp
from tests.faults.common import now
from tests.faults.link_proxy import LinkProxy
from tests.running import STARTUP_SECONDS, free_port_base

LOOPBACK = '["127.0.0.0/8"]'

# Linux ends such children with the thread that started them, so one that lives on starts them all
_launcher = ThreadPoolExecutor(1, "launcher")


def program(*words: str, **options: Any) -> "subprocess.Popen[bytes]":
    """A child that ends with this process, whichever thread asks for it."""
    return _launcher.submit(
        subprocess.Popen, words, preexec_fn=die_with_parent(), **options
    ).result()


class Node:
    """One process of mailsrv. ``ready`` tells whether it serves."""

    program = "mailsrv.cli"

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.folder = root / name
        self.folder.mkdir()
        self.config = self.folder / "mailsrv.toml"
        self.log = root / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ready(self) -> bool:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return environment(TMPDIR=str(self.folder))

    def spawn(self, *words: str, **options: Any) -> "subprocess.Popen[bytes]":
        """``mailsrv WORDS`` in a process of its own, with this node's configuration."""
        command = [sys.executable, "-m", self.program, "--config", str(self.config), *words]
        return program(*command, env=self.environment(), cwd=self.folder, **options)

    def launch(self) -> None:
        """Start, and wait for nothing."""
        with self.log.open("ab") as log:
            self.process = self.spawn("serve", stdout=log, stderr=log)

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def await_ready(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self.ready():
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not serve:\n{self.log.read_text()}")
            time.sleep(0.02)

    def send(self, number: int) -> None:
        """SIGSTOP, SIGCONT and the like."""
        os.kill(self.pid, number)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        status = self.process.wait(timeout=30)
        self.process = None
        return status

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.kill()


class Primary(Node):
    """Owns a volume, and shares the directory of the cluster."""

    def __init__(self, root: Path, name: str, directory: str, rest: str = "") -> None:
        super().__init__(root, name)
        (self.folder / "mailboxes").mkdir(mode=0o700)
        self.socket = self.folder / "link.sock"
        self.config.write_text(
            f'hostname = "localhost"\nroles = ["primary"]\n'
            f'[tls]\ncertificate = "{root}/tls/cert.pem"\nprivate_key = "{root}/tls/key.pem"\n'
            f'[directory]\nurl = "{directory}"\n{rest}'
        )

    def ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def command(self, *words: str, stdin: str = "") -> Any:
        """``mailsrv --json WORDS`` in this process, where it starts faster; its answer."""
        options = ["--json", "--config", str(self.config)]
        done = CliRunner().invoke(main, [*options, *words], input=stdin)
        if done.exit_code:
            raise RuntimeError(f"mailsrv {words}: {done.output}")
        return json.loads(done.stdout)

    def add(self, address: str, *words: str) -> str:
        """Make the alias (and its domain), give its generated password."""
        domain = address.rpartition("@")[2]
        if domain not in {known["name"] for known in self.command("domain", "list")}:
            self.command("domain", "add", domain)
        self.command("alias", "add", address, *words)
        return self.command("password", address)["password"]

    def waiting_files(self) -> list[Path]:
        return list((self.folder / "mailboxes").glob("*.waiting.sqlite"))


class Secondary(Node):
    """Has front ends only, and one proxy for each primary."""

    def __init__(self, root: Path, name: str, primaries: list[Primary], rest: str = "") -> None:
        super().__init__(root, name)
        base = free_port_base()
        self.imap_port, self.smtp_port = base + 143, base + 25
        self.proxies = {
            one.name: LinkProxy(root / f"{name}-{one.name}.sock", one.socket) for one in primaries
        }
        links = "".join(
            f'[link.primaries.{one.name}]\nendpoint = "unix:{self.proxies[one.name].path}"\n'
            f'token_file = "{one.folder}/link.token"\n'
            for one in primaries
        )
        self.config.write_text(
            f'hostname = "localhost"\nroles = ["imap", "mx"]\n{rest}\n'
            f'[tls]\ncertificate = "{root}/tls/cert.pem"\nprivate_key = "{root}/tls/key.pem"\n'
            f'[imap]\nlisten = ["tcp:{self.imap_port}:interface=127.0.0.1"]\nlisten_tls = []\n'
            f"cleartext_login_from = {LOOPBACK}\nconnections_per_address = 1000\n"
            f'[mx]\nlisten = ["tcp:{self.smtp_port}:interface=127.0.0.1"]\n'
            f"connections_per_address = 400\n{links}"
        )

    @property
    def proxy(self) -> LinkProxy:
        """The only one."""
        (proxy,) = self.proxies.values()
        return proxy

    def ready(self) -> bool:
        try:
            for port in (self.smtp_port, self.imap_port):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    def imap(self, address: str, password: str, folder: str = "INBOX") -> Client:
        """A client that is logged in, with the folder selected unless that is empty."""
        client = Client(self.imap_port)
        client.socket.settimeout(60)
        client.ok(f'LOGIN {address} "{password}"')
        if folder:
            client.ok(f"SELECT {folder}")
        return client

    def smtp(self) -> Smtp:
        client = Smtp(self.smtp_port)
        client.socket.settimeout(60)
        return client

    def deliver(self, content: bytes, address: str) -> str:
        """The short reply to the message."""
        client = self.smtp()
        try:
            return client.deliver(content, address)
        finally:
            client.close()

    def stop(self) -> None:
        super().stop()
        for proxy in self.proxies.values():
            proxy.close()


class Cluster:
    """``primaries`` by name, ``a`` and ``b`` the secondaries. Seconds are configuration.

    ``eager`` secondaries are those of ``eager_links``.
    """

    def __init__(
        self,
        names: tuple[str, ...] = ("primary",),
        patience: float = 30.0,
        lease: float = 2.0,
        directory: str = "",
        redis: str = "",
        *,
        idle: float = 5.0,
        eager: bool = False,
    ) -> None:
        self.lease = lease
        self.root = Path(tempfile.mkdtemp(prefix="mailsrv-link-"))
        make_self_signed(self.root / "tls", "localhost", now())
        self.directory = directory or f"sqlite:///{self.root / 'directory.sqlite'}"
        links = "".join(
            f'[link.primaries.{name}]\nendpoint = "unix:{self.root}/{name}/link.sock"\n'
            f'token_file = "{self.root}/{name}/link.token"\n'
            for name in names
        )
        self.primaries = {
            name: Primary(
                *(self.root, name, self.directory),
                f'[link]\nname = "{name}"\nlease_seconds = {lease}\n{links}'
                f"[store]\nidle_seconds = {idle}\n",
            )
            for name in names
        }
        rest = f'redis_url = "{redis}"\n[link]\npatience_seconds = {patience}\n'
        known = list(self.primaries.values())
        self.a = Secondary(self.root, "a", known, rest)
        self.b = Secondary(self.root, "b", known, rest)
        if eager:
            self.a.program = self.b.program = "tests.faults.eager_links"
        atexit.register(self.stop)

    @property
    def primary(self) -> Primary:
        """The only one, or the first."""
        return next(iter(self.primaries.values()))

    def waiting_files(self) -> list[Path]:
        """Of all primaries: where mail waits sealed."""
        return [file for one in self.primaries.values() for file in one.waiting_files()]

    @property
    def nodes(self) -> list[Node]:
        return [*self.primaries.values(), self.a, self.b]

    def start(self) -> "Cluster":
        try:
            for primary in self.primaries.values():
                primary.launch()
            for primary in self.primaries.values():
                primary.await_ready()
            for node in (self.a, self.b):
                node.launch()
            for node in (self.a, self.b):
                node.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def heal(self) -> None:
        """Good links, and every process running: where each test begins."""
        for node in (self.a, self.b):
            for proxy in node.proxies.values():
                proxy.heal()
        for node in self.nodes:
            if node.process is None or node.process.poll() is not None:
                node.launch()
            node.send(signal.SIGCONT)
        for node in self.nodes:
            node.await_ready()

    def stop(self) -> None:
        """End everything and remove the files. May be called twice."""
        atexit.unregister(self.stop)
        for node in self.nodes:
            node.stop()
        shutil.rmtree(self.root, ignore_errors=True)


@cache
def shared() -> Cluster:
    """One cluster for all tests of this process that leave it whole; it ends with the process."""
    return Cluster(eager=True).start()
