"""What the documents tell people to type works."""

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

DOCS = Path(__file__).parents[1] / "docs"
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
