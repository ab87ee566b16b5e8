"""The configuration file: what is read, and what a mistake is answered with."""

import tomllib
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mailsrv import settings
from mailsrv.errors import InvalidInput

EXAMPLE = Path(__file__).parents[1] / "conf" / "mailsrv.toml"


class LoadCase(SynchronousTestCase):
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


class LoadTests(LoadCase):
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
        plain_keys: set[str] = set()
        loaded = settings.load(EXAMPLE)
        for table in msgspec.structs.fields(settings.Settings):
            if table.name == "base":
                continue
            if not isinstance(getattr(loaded, table.name), msgspec.Struct):
                self.assertIn(table.name, document)
                plain_keys.add(table.name)
                continue
            keys = {
                field.name for field in msgspec.structs.fields(type(getattr(loaded, table.name)))
            }
            self.assertEqual(set(document.pop(table.name)), keys - {"primaries", "s3"})
        self.assertEqual(set(document), plain_keys)
        plain = self.load('hostname = "mail.example.com"')
        for table in (
            *("roles", "workers", "redis_url", "imap", "mx", "limits", "health", "proxy"),
            *("erase", "operator"),
        ):
            self.assertEqual(getattr(loaded, table), getattr(plain, table))
        backup = msgspec.structs.replace(loaded.backup, folder=plain.backup.folder)
        self.assertEqual(backup, plain.backup)
        self.assertEqual(loaded.store.threads, plain.store.threads)
        link = msgspec.structs.replace(plain.link, socket=Path(), token_file=Path())
        self.assertEqual(
            msgspec.structs.replace(loaded.link, socket=Path(), token_file=Path()), link
        )

    def test_the_other_examples_are_read(self) -> None:
        names = {path.name for path in EXAMPLE.parent.glob("*.toml")}
        self.assertEqual(names, {"mailsrv.toml", "workers.toml", "primary.toml", "secondary.toml"})
        for name in names:
            settings.load(EXAMPLE.parent / name)

    def test_unknown_key(self) -> None:
        self.assertEqual(
            self.refused('hostname="a"\n[imap]\nlisten_ssl=[]'),
            "imap.listen_ssl: unknown key, expected one of listen, listen_tls, "
            "cleartext_login_from, connections_per_address",
        )
        tables = (
            "hostname, roles, workers, redis_url, tls, imap, mx, directory, limits, store, "
            "backup, erase, operator, link, health, proxy"
        )
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


class BackupTests(LoadCase):
    HOST = 'hostname="mail.example.com"\n'
    BUCKET = '[backup.s3]\nbucket="mail"\naccess_key_id="id"\nsecret_file="s3.secret"\n'

    def test_paths(self) -> None:
        loaded = self.load(f'{self.HOST}[backup]\nto="s3"\n{self.BUCKET}')
        base = self.path.parent.resolve()
        self.assertEqual(loaded.backup.folder, base / "backups")
        self.assertEqual(loaded.backup.s3.secret_file, base / "s3.secret")

    def test_refusals(self) -> None:
        for text, key in (
            ('[backup]\nto="tape"', "backup.to: "),
            ('[backup]\nto="s3"', "backup.s3: expected a table with bucket"),
            ("[backup]\nkeep_last=0", "backup.keep_last: expected at least 1"),
            ("[store]\nundelete_days=-1", "store.undelete_days: expected at least 0"),
            ("[erase]\ngrace_days=1e9", "erase.grace_days: expected at most"),
            (f'{self.BUCKET}style="tape"', "backup.s3.style: "),
            (f'{self.BUCKET}secret="s"', "backup.s3.secret: unknown key, expected one of bucket"),
            (f'{self.BUCKET}endpoint="https://a:b@c"', "backup.s3.endpoint: expected https://HOST"),
            (f'{self.BUCKET}region="a b"', "backup.s3.region: expected a region"),
            (f'{self.BUCKET}prefix="../a"', "backup.s3.prefix: expected words"),
            (f'{self.BUCKET}endpoint="ftp://a"', "backup.s3.endpoint: expected https"),
            (self.BUCKET.replace('"mail"', '""'), "backup.s3.bucket: expected the name"),
            ('[backup.s3]\nbucket="mail"', "backup.s3.access_key_id: expected a value"),
        ):
            found = self.refused(self.HOST + text)
            self.assertTrue(found.startswith(key), found)


class RolesTests(LoadCase):
    HOST = 'hostname="mail.example.com"\n'
    REMOTE = '[link.primaries.b]\nendpoint="tcp:b.example.com:4190"\nca="b.pem"\n'

    def test_all_in_one_needs_no_link(self) -> None:
        loaded = self.load(self.HOST)
        self.assertEqual(loaded.roles, settings.ROLES)
        self.assertEqual(loaded.front_ends, ("imap", "mx"))
        self.assertFalse(loaded.needs_link)

    def test_what_needs_the_link(self) -> None:
        for text in ("workers=2", f'roles=["mx"]\n{self.REMOTE}', self.REMOTE):
            self.assertTrue(self.load(self.HOST + text).needs_link, text)
        own = '[link.primaries.primary]\nendpoint="unix:link.sock"\n'
        self.assertFalse(self.load(self.HOST + own).needs_link)

    def test_roles_that_do_not_go_together(self) -> None:
        for text, said in (
            (
                'roles=["imap", "fax"]',
                "roles: unknown role 'fax', expected some of primary, imap, mx",
            ),
            ("roles=[]", "roles: expected at least one of primary, imap, mx"),
            ('roles=["mx", "mx"]', "roles: mx is named more than once"),
            (
                'roles=["imap", "mx"]',
                (
                    "roles: imap and mx without primary: expected [link.primaries.NAME] "
                    "with the primaries to reach"
                ),
            ),
            (
                'roles=["primary"]\nworkers=2',
                "workers: expected 0, or a front end in roles for 2 workers to run",
            ),
            ("workers=-1", "workers: expected at least 0, got -1"),
            ("workers=65", "workers: expected at most 64, got 65"),
        ):
            self.assertEqual(self.refused(self.HOST + text), said)

    def test_primaries_are_reached_at_absolute_paths(self) -> None:
        base = self.path.parent.resolve()
        b = self.load(self.HOST + self.REMOTE).link.primaries["b"]
        self.assertEqual(b.hostname, "b.example.com")
        self.assertEqual(b.ca, base / "b.pem")
        self.assertEqual(b.token_file, base / "link.token")
        c = self.load(
            f'{self.HOST}[link.primaries.c]\nendpoint="unix:c.sock"\ntoken_file="c.token"'
        ).link.primaries["c"]
        self.assertEqual(c.endpoint, f"unix:{base}/c.sock")
        self.assertEqual(c.token_file, base / "c.token")

    def test_wrong_links(self) -> None:
        table = f"{self.HOST}[link.primaries.b]\n"
        for text, key in (
            (f'{table}endpoint="b:1"', "link.primaries.b.endpoint: expected unix:PATH or tcp:"),
            (f'{table}endpoint="tcp:b:many"', "link.primaries.b.endpoint: expected"),
            (f'{table}endpoint="unix:"', "link.primaries.b.endpoint: expected"),
            (f'{table}endpoint="tcp:b:1"', "link.primaries.b.ca: expected the PEM file"),
            (f'{table}ca="x"', "link.primaries.NAME.endpoint: expected a value"),
            (
                f'{table}host="x"',
                "link.primaries.NAME.host: unknown key, expected one of endpoint, hostname, ca",
            ),
            (f'{self.HOST}[link]\nname="My Primary"', "link.name, link.primaries: expected"),
            (f'{table}endpoint="tcp:a b:1"\nca="x"', "link.primaries.b.endpoint: expected a host"),
            (
                f'{table}endpoint="tcp:b:1"\nca="x"\nhostname="a b"',
                "link.primaries.b.hostname: expected a host name or an address, got 'a b'",
            ),
            (f"{self.HOST}[link]\npatience_seconds=inf", "link.patience_seconds: expected at most"),
            (f'{self.HOST}[health]\nlisten=["haproxy:tcp:80"]', "health.listen: takes no haproxy:"),
            (f'{self.HOST}[link]\nlisten=["haproxy:tcp:1"]', "proxy.allow_from: expected"),
            (
                f'{self.HOST}[mx]\nlisten=["haproxy:haproxy:tcp:1"]',
                "mx.listen: expected haproxy: once",
            ),
            (f"{self.HOST}[link]\nlease_seconds=0", "link.lease_seconds: expected at least 1"),
            (f'{self.HOST}[link]\nallow_from=["x"]', "link.allow_from: expected networks"),
            (f'{self.HOST}redis_url="localhost"', "redis_url: expected redis://"),
            (f'{self.HOST}[proxy]\nallow_from=["x"]', "proxy.allow_from: expected networks"),
            (
                f'{self.HOST}[imap]\nlisten=["haproxy:tcp:143"]',
                "proxy.allow_from: expected the networks of the load balancers for imap.listen",
            ),
        ):
            self.assertTrue(self.refused(text).startswith(key), self.refused(text))
