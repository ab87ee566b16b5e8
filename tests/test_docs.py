"""What the documents tell people to type works."""

import configparser
import contextlib
import io
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.filekey import derive_file_key, new_salt
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PASSWORD = "your-password"


class OwnersTests(SynchronousTestCase):
    def test_a_mailbox_opens_without_this_server(self) -> None:
        path = Path(self.mktemp())
        key = derive_file_key(PASSWORD, new_salt())
        with Mailbox.create(path, key, lambda: datetime.now(UTC)) as mailbox:
            mailbox.append("INBOX", [NewMessage(b"Subject: found\r\n\r\nhello\r\n")], None)
        text = (DOCS / "owners.rst").read_text("utf-8")
        code = textwrap.dedent(text[text.index("    import apsw") :])
        code, replaced = re.subn(r"[0-9a-f]{24}\.sqlite", str(path), code)
        self.assertEqual(replaced, 1)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(code, {})
        self.assertIn("found", said.getvalue())


class DevelopersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = (DOCS / "developers.rst").read_text("utf-8")
        self.rooms = set(re.findall(r"^``(mailsrv/[a-z0-9_/.]+)``", self.text, re.MULTILINE))

    def test_the_rooms_are_those_that_there_are(self) -> None:
        found = {
            f"mailsrv/{path.name}{'/' if path.is_dir() else ''}"
            for path in (PROJECT / "mailsrv").iterdir()
            if (path / "__init__.py").exists()
            or (path.suffix == ".py" and path.name != "__init__.py")
        }
        for room in ("link", "backup", "mailbox"):
            inside = _packages(f"mailsrv/{room}")
            found |= {f"mailsrv/{room}/{path.parent.name}/" for path in inside}
        self.assertEqual(self.rooms, found)

    def test_what_it_names_is_there(self) -> None:
        names = set(re.findall(r"``([a-z_.]+(?:/[a-z_]+)*/(?:[a-z_]+\.[a-z]+)?)``", self.text))
        self.assertGreater(len(names), 20)
        for name in names:
            roots = (PROJECT, PROJECT / "mailsrv", PROJECT / "mailsrv" / "link")
            self.assertTrue(any((root / name).exists() for root in roots), name)

    def test_every_package_is_installed(self) -> None:
        setup = configparser.ConfigParser()
        setup.read(PROJECT / "setup.cfg", "utf-8")
        listed = set(setup["options"]["packages"].split())
        folders = [path.parent.relative_to(PROJECT) for path in _packages("mailsrv", "**")]
        self.assertEqual(
            listed, {"twisted.plugins", "mailsrv", *(".".join(one.parts) for one in folders)}
        )


def _packages(folder: str, depth: str = ".") -> list[Path]:
    """The ``__init__.py`` of all packages in a folder, or in all folders below it."""
    return list((PROJECT / folder).glob(f"{depth}/*/__init__.py"))
