"""swaks sends to the MX: STARTTLS, pipelining, UTF-8 addresses, and what must be refused."""

from tests.clients.common import ADDRESS, SENDER, ClientTestCase, need


class SwaksTests(ClientTestCase):
    def swaks(self, *words: str, to: str = ADDRESS) -> str:
        need("swaks")
        server = f"localhost:{self.server.smtp_port}"
        done = self.program(
            "swaks",
            "--server",
            server,
            "--from",
            SENDER,
            "--to",
            to,
            "--ehlo",
            "client.example.org",
            *words,
        )
        return done.stdout.decode("utf-8", "replace")

    def test_starttls(self) -> None:
        said = self.swaks("--tls", "--tls-verify", "--tls-ca-path", str(self.server.ca))
        self.assertIn("TLS started with cipher TLSv1.3", said)
        self.assertIn("<~  250 2.", said)

    def test_pipelining(self) -> None:
        said = self.swaks("--pipeline")
        self.assertRegex(said, r"250[- ]PIPELINING")
        self.assertRegex(said, r"354 ")

    def test_utf8_addresses(self) -> None:
        self.server.command("domain", "add", "bücher.example")
        self.server.command("alias", "add", "grüße@bücher.example")
        self.server.command("password", "grüße@bücher.example")
        need("swaks")
        said = self.program(
            "swaks",
            "--server",
            f"localhost:{self.server.smtp_port}",
            "--from",
            "jürgen@example.org",
            "--to",
            "grüße@bücher.example",
            "--protocol",
            "ESMTP",
        ).stdout.decode("utf-8", "replace")
        self.assertIn("SMTPUTF8", said)
        self.assertRegex(said, r"<-\s+250 2\.1\.5")

    def test_unknown_recipient(self) -> None:
        need("swaks")
        words = ("--from", SENDER, "--to", "nobody@example.com", "--quit-after", "RCPT")
        self.assertIn(
            "550 5.1.1",
            self.refused("swaks", "--server", f"localhost:{self.server.smtp_port}", *words),
        )

    def test_relay_is_refused(self) -> None:
        need("swaks")
        words = ("--from", SENDER, "--to", "somebody@elsewhere.example", "--quit-after", "RCPT")
        self.assertRegex(
            self.refused("swaks", "--server", f"localhost:{self.server.smtp_port}", *words),
            r"<\*\* 55\d 5\.7\.1",
        )

    def refused(self, *words: str) -> str:
        with self.assertRaises(self.failureException) as caught:
            self.program(*words)
        return str(caught.exception)
