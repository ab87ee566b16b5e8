"""curl sends to the MX and fetches over IMAP, in clear on loopback and over TLS."""

from tests.clients.common import ADDRESS, SENDER, ClientTestCase, message, need


class CurlTests(ClientTestCase):
    def curl(self, *words: str, stdin: bytes = b"") -> bytes:
        need("curl")
        return self.program("curl", "--silent", "--show-error", *words, stdin=stdin).stdout

    def test_send_and_fetch(self) -> None:
        self.curl(
            f"smtp://127.0.0.1:{self.server.smtp_port}",
            "--mail-from",
            SENDER,
            "--mail-rcpt",
            ADDRESS,
            "--upload-file",
            "-",
            stdin=message("By curl"),
        )
        fetched = self.curl(
            f"imaps://localhost:{self.server.imaps_port}/INBOX;MAILINDEX=1",
            "--cacert",
            str(self.server.ca),
            "--user",
            f"{ADDRESS}:{self.password}",
        )
        self.assertTrue(fetched.endswith(message("By curl")), fetched)

    def test_append_and_fetch_by_uid(self) -> None:
        content = message("Appended", "." * 70 + "\r\n.\r\n..\r\n")
        url = f"imap://127.0.0.1:{self.server.imap_port}"
        user = f"{ADDRESS}:{self.password}"
        file = self.server.root / "message"
        file.write_bytes(content)
        self.curl(f"{url}/Archive", "--user", user, "--upload-file", str(file))
        self.assertEqual(self.curl(f"{url}/Archive;UID=1", "--user", user), content)

    def test_starttls_on_both(self) -> None:
        self.curl(
            f"smtp://localhost:{self.server.smtp_port}",
            "--ssl-reqd",
            "--cacert",
            str(self.server.ca),
            "--mail-from",
            SENDER,
            "--mail-rcpt",
            ADDRESS,
            "--upload-file",
            "-",
            stdin=message("Sealed on the way"),
        )
        fetched = self.curl(
            f"imap://localhost:{self.server.imap_port}/INBOX;UID=1",
            "--ssl-reqd",
            "--cacert",
            str(self.server.ca),
            "--user",
            f"{ADDRESS}:{self.password}",
        )
        self.assertIn(b"with ESMTPS", fetched)
