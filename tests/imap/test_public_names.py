"""Only what Twisted promises to keep is used of it, and it is there."""

import ast
import inspect
from pathlib import Path

from twisted.internet.protocol import Protocol
from twisted.mail import imap4
from twisted.protocols.policies import TimeoutMixin
from twisted.trial.unittest import SynchronousTestCase

import mailsrv.imap
from mailsrv.imap.server import ImapServer

FOLDER = Path(mailsrv.imap.__file__).parent


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


class PublicNamesTests(SynchronousTestCase):
    def test_no_private_name_of_twisted_is_imported_or_reached(self) -> None:
        paths = sorted(FOLDER.rglob("*.py"))
        self.assertGreater(len(paths), 20)
        inherited = {name for name in dir(imap4.IMAP4Server) if private(name)}
        for path in paths:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twisted"):
                    parts = [*str(node.module).split("."), *(alias.name for alias in node.names)]
                    self.assertFalse([part for part in parts if private(part)], path)
                if isinstance(node, ast.Attribute) and path.name == "server.py":
                    self.assertNotIn(node.attr, inherited, path)

    def test_none_of_our_names_hides_a_private_one(self) -> None:
        hidden = {name for name in dir(imap4.IMAP4Server) if private(name)}
        self.assertEqual(set(vars(ImapServer)) & hidden, set())

    def test_what_we_use_is_there(self) -> None:
        for name in ("capabilities", "listCapabilities", "connectionMade", "timeoutConnection"):
            method = getattr(imap4.IMAP4Server, name)
            self.assertEqual(list(inspect.signature(method).parameters), ["self"], name)
        self.assertEqual(
            list(inspect.signature(imap4.IMAP4Server.connectionLost).parameters),
            ["self", "reason"],
        )
        self.assertEqual(
            list(inspect.signature(Protocol.dataReceived).parameters), ["self", "data"]
        )
        self.assertEqual(
            list(inspect.signature(TimeoutMixin.callLater).parameters), ["self", "period", "func"]
        )
        for name in ("setTimeout", "resetTimeout", "timeOut"):
            self.assertTrue(hasattr(TimeoutMixin, name))
        for name in ("startedTLS", "timeOut"):
            self.assertTrue(hasattr(imap4.IMAP4Server, name))
