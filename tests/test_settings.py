"""The configuration file: what is read, and what a mistake is answered with."""

import tomllib
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mailsrv import settings
from mailsrv.errors import InvalidInput

EXAMPLE = Path(__file__).parents[1] / "conf" / "mailsrv.toml"


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "mailsrv.toml"

    def load(self, text: str) -> settings.Settings:
        self.path.write_text(text)
        return settings.load(self.path)

    def refused(self, text: str) -> str:
        with self.assertRaises(InvalidInput) as caught:
            self.load(text)
        message = str(caught.exception)
        self.assertTrue(message.startswith(f"{self.path}: "), message)
        self.assertNotIn("\n", message)
        return message.removeprefix(f"{self.path}: ")

    def test_defaults(self) -> None:
        loaded = self.load('hostname = "mail.example.com"')
        base = self.path.parent.resolve()
        self.assertEqual(loaded.imap.listen_tls, ("tcp:993",))
        self.assertEqual(loaded.imap.cleartext_login_from, ())
        self.assertEqual(loaded.store.mailboxes, base / "mailboxes")
        self.assertEqual(loaded.directory.url, f"sqlite:///{base / 'directory.sqlite'}")
        self.assertEqual(loaded.tls.private_key, base / "tls/key.pem")

    def test_absolute_path_stays(self) -> None:
        loaded = self.load('hostname = "a.example"\n[store]\nmailboxes = "/srv/mail"')
        self.assertEqual(loaded.store.mailboxes, Path("/srv/mail"))

    def test_example_names_every_key_with_its_default(self) -> None:
        document = tomllib.loads(EXAMPLE.read_text())
        loaded = settings.load(EXAMPLE)
        for table in msgspec.structs.fields(settings.Settings):
            if table.name in ("hostname", "base"):
                continue
            keys = {
                field.name for field in msgspec.structs.fields(type(getattr(loaded, table.name)))
            }
            self.assertEqual(set(document.pop(table.name)), keys)
        self.assertEqual(set(document), {"hostname"})
        plain = self.load('hostname = "mail.example.com"')
        for table in ("imap", "mx", "limits"):
            self.assertEqual(getattr(loaded, table), getattr(plain, table))
        self.assertEqual(loaded.store.threads, plain.store.threads)

    def test_unknown_key(self) -> None:
        self.assertEqual(
            self.refused('hostname="a"\n[imap]\nlisten_ssl=[]'),
            "imap.listen_ssl: unknown key, expected one of listen, listen_tls, "
            "cleartext_login_from, connections_per_address",
        )
        tables = "hostname, tls, imap, mx, directory, limits, store"
        for key in ("host", "base"):
            self.assertEqual(
                self.refused(f'hostname="a"\n{key}="b"'),
                f"{key}: unknown key, expected one of {tables}",
            )

    def test_wrong_type(self) -> None:
        self.assertEqual(
            self.refused('hostname="a"\n[mx]\nrecipients="many"'),
            "mx.recipients: expected int, got str",
        )
        self.assertEqual(
            self.refused('hostname="a"\n[imap]\nlisten="tcp:143"'),
            "imap.listen: expected array, got str",
        )
        self.assertIn(
            "imap.listen[0]: expected str", self.refused('hostname="a"\n[imap]\nlisten=[143]')
        )
        self.assertIn(
            "tls.certificate: expected", self.refused('hostname="a"\n[tls]\ncertificate=3')
        )

    def test_missing_key(self) -> None:
        self.assertIn("hostname: expected a value", self.refused(""))

    def test_wrong_value(self) -> None:
        for text, key in (
            ('hostname="-- no --"', "hostname: expected a host name"),
            ('hostname="a"\n[imap]\ncleartext_login_from=["home"]', "imap.cleartext_login_from"),
            ('hostname="a"\n[limits]\nmessage_size=10', "limits.message_size: expected at least"),
            (
                'hostname="a"\n[limits]\nmessage_size=536870913',
                "limits.message_size: expected at most",
            ),
            ('hostname="a"\n[store]\nidle_seconds=nan', "store.idle_seconds: expected at least 0"),
            ('hostname="a"\n[store]\nidle_seconds=inf', "store.idle_seconds: expected at least 0"),
            ('hostname="a"\n[store]\nthreads=0', "store.threads: expected at least 1"),
            ('hostname="a"\n[directory]\nurl="mysql://"', "directory.url: expected sqlite"),
        ):
            self.assertTrue(self.refused(text).startswith(key), text)

    def test_not_toml(self) -> None:
        self.assertIn("not a TOML file", self.refused("hostname: a"))

    def test_missing_file(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            settings.load(self.path)
        self.assertIn("cannot be read: No such file", str(caught.exception))
