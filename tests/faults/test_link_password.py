"""kill -9 around a change of the password, with clients far away and mail coming in."""

import itertools
import signal
import subprocess
import time
from collections.abc import Callable

from twisted.trial.unittest import SkipTest

from tests.clients.imap_client import Client
from tests.faults.common import SOAK
from tests.faults.link_case import SECONDS, LinkTestCase
from tests.faults.link_model import GONE, Deliver, Session

_numbers = itertools.count()


class PasswordChangeTests(LinkTestCase):
    """Exactly one of two passwords opens the mailbox, and nothing is lost or doubled."""

    def setUp(self) -> None:
        super().setUp()
        self.fill("INBOX", "first")
        self.agree()

    def change(self, new: str) -> "subprocess.Popen[bytes]":
        process = self.primary.spawn(
            *("password", self.address, "--stdin"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        process.stdin.write(f"{self.password}\n{new}\n".encode())
        process.stdin.close()
        return process

    def opens(self, password: str) -> bool:
        client = Client(self.cluster.b.imap_port)
        client.socket.settimeout(60)
        try:
            status = client.command(f'LOGIN {self.address} "{password}"').status
        finally:
            client.close()
        self.assertNotEqual(status.code, "UNAVAILABLE")
        return status.kind == "OK"

    def round(self, disturb: Callable[["subprocess.Popen[bytes]"], object]) -> bool:
        """Whether the password was changed."""
        new = f"copper-walrus-lantern-7-orbit-{next(_numbers)}"
        client = self.a.client("INBOX")
        process = self.change(new)
        time.sleep(self.dice.uniform(0, 1.5))
        disturb(process)
        mark = f"mail-{next(_numbers)}"
        self.do(Deliver(mark), self.b)
        process.wait(60)
        changed = self.opens(new)
        self.assertNotEqual(self.opens(self.password), changed)
        if changed:
            self.leaves(client)
            self.password = new
            self.a, self.b = (self.session(node) for node in (self.cluster.a, self.cluster.b))
        self.agree()
        return changed

    def session(self, node: object) -> Session:
        session = super().session(node)
        session.password = self.password
        return session

    def leaves(self, client: Client) -> None:
        """A session of the old password comes to its end."""
        deadline = time.monotonic() + SECONDS
        try:
            while time.monotonic() < deadline:
                client.command("NOOP")
                time.sleep(0.1)
        except GONE:
            return
        self.fail("a session of the old password lives on")

    def test_nobody_dies(self) -> None:
        self.assertTrue(self.round(lambda process: None))

    def test_the_primary_dies(self) -> None:
        for _ in range(50 if SOAK else 1):
            self.round(lambda process: self.primary.restart())

    def test_the_command_dies(self) -> None:
        for _ in range(50 if SOAK else 1):
            self.round(lambda process: process.send_signal(signal.SIGKILL))

    def test_the_secondary_dies(self) -> None:
        if not SOAK:
            raise SkipTest("in make soak: it takes no part in the change")
        for _ in range(50):
            self.round(lambda process: self.cluster.b.restart())
