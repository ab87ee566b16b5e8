"""The new password is shown before it becomes valid, and only when nothing else can go wrong."""

import secrets
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import AuthenticationFailed
from mailsrv.store.lifecycle import PasswordChanged
from tests.store.cases import ADDRESS
from tests.store.world import World


class TerminalGoneError(Exception):
    """The owner could not be shown the password."""


class RevealTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.addCleanup(self.world.directory.close)
        self.lifecycle = self.world.lifecycle
        self.shown: list[PasswordChanged] = []

    def refuse(self, _changed: PasswordChanged) -> None:
        raise TerminalGoneError

    def open_with(self, password: str) -> None:
        """AuthenticationFailed unless it is the main password: an app password needs that."""
        self.lifecycle.add_app_password(ADDRESS, password, secrets.token_hex(4), ("imap",))

    def test_first_password(self) -> None:
        self.world.alias(ADDRESS)
        self.assertRaises(
            TerminalGoneError, self.lifecycle.set_first_password, ADDRESS, reveal=self.refuse
        )
        self.assertEqual(self.world.files("*.sqlite"), [])
        password = self.lifecycle.set_first_password(ADDRESS, reveal=self.shown.append)
        self.assertEqual([changed.password for changed in self.shown], [password])

    def test_change(self) -> None:
        _, old = self.world.mailbox(ADDRESS)
        self.assertRaises(
            AuthenticationFailed,
            self.lifecycle.change_password,
            ADDRESS,
            "x" * 24,
            reveal=self.shown.append,
        )
        self.assertEqual(self.shown, [])
        self.assertRaises(
            TerminalGoneError, self.lifecycle.change_password, ADDRESS, old, reveal=self.refuse
        )
        self.open_with(old)
        changed = self.lifecycle.change_password(ADDRESS, old, reveal=self.shown.append)
        self.assertEqual(self.shown, [changed])
        self.open_with(changed.password)
        self.assertRaises(AuthenticationFailed, self.open_with, old)

    def test_start_over(self) -> None:
        _, old = self.world.mailbox(ADDRESS)
        self.assertRaises(TerminalGoneError, self.lifecycle.start_over, ADDRESS, reveal=self.refuse)
        self.open_with(old)
        new = self.lifecycle.start_over(ADDRESS, reveal=self.shown.append)
        self.assertEqual(self.shown[0].password, new)
        self.open_with(new)
