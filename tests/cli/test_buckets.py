"""A domain's bucket, set, shown and removed; it has to prove itself first."""

from typing import Any

from mailsrv.backup.stores import BackupStores
from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.settings import load
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume
from tests.backup import s3_case
from tests.backup.strict_service import ACCESS_KEY, REGION, SECRET, Answer, error
from tests.cli import test_commands


class BucketTests(test_commands.CommandTestCase, s3_case.BucketCase):
    def setUp(self) -> None:
        s3_case.BucketCase.setUp(self)
        test_commands.CommandTestCase.setUp(self)
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        self.ok("domain", "add", "example.com")

    def words(self, **other: str) -> list[str]:
        options = {
            "bucket": self.bucket,
            "endpoint": self.strict.url,
            "region": REGION,
            "access-key-id": ACCESS_KEY,
            "prefix": "mail",
            **other,
        }
        pairs = [(f"--{name}", value) for name, value in options.items()]
        return ["backup", "bucket", "set", "example.com", *(one for pair in pairs for one in pair)]

    def refused_setting(self, said: str, secret: str = SECRET, **other: str) -> None:
        message = self.refused(*self.words(**other), stdin=f"{secret}\n")
        self.assertIn(said, message)
        self.assertNotIn(SECRET, message)
        self.assertEqual(self.json("backup", "bucket", "show"), [])
        self.assertEqual(self.keys(), [])

    def test_set_show_use_and_remove(self) -> None:
        document = {
            "domain": "example.com",
            "bucket": self.bucket,
            "endpoint": self.strict.url,
            "region": REGION,
            "prefix": "mail",
            "style": "path",
            "access_key_id": ACCESS_KEY,
        }
        made = self.json(*self.words(), stdin=f"{SECRET}\n")
        self.assertEqual(made, {**document, "keeps_versions": False})
        self.assertEqual(self.keys(), [])
        for words in ((), ("Example.com",)):
            rows = self.json("backup", "bucket", "show", *words)
            self.assertEqual(rows, [{**document, "secret_known": True}])
        self.use()
        self.assertIn("stays there", self.ok("backup", "bucket", "remove", "example.com"))
        self.assertEqual(self.json("backup", "bucket", "show", "example.com"), [])
        said = self.refused("backup", "bucket", "remove", "example.com")
        self.assertIn("has no bucket of its own", said)
        for path in self.folder.rglob("*"):
            if path.is_file():
                self.assertNotIn(SECRET.encode(), path.read_bytes(), path)

    def use(self) -> None:
        """As the server does, with what the command left in the data directory."""
        settings = load(self.config)
        directory = Directory(settings.directory.url, now)
        self.addCleanup(directory.close)
        server = ServerSecret(Volume(settings.base).server_key())
        store = BackupStores(settings.backup, directory, server).of_domain("example.com")
        store.write("a", b"1")
        self.assertEqual(self.keys(), ["mail/a"])
        store.remove(["a"])

    def test_none_to_show(self) -> None:
        self.assertIn("where [backup] says", self.ok("backup", "bucket", "show"))

    def test_bucket_that_refuses(self) -> None:
        self.refused_setting("SignatureDoesNotMatch", secret="wrong")
        self.refused_setting("InvalidAccessKeyId", **{"access-key-id": "AKIAOTHER"})
        for operation in ("PutObject", "GetObject", "ListObjects"):
            self.strict.faults.clear()
            self.fault(operation, before=lambda _: error(403, "AccessDenied"))
            self.refused_setting("AccessDenied (these credentials may not do that)")
        self.strict.faults.clear()
        self.fault("DeleteObjects", before=lambda _: error(403, "AccessDenied"))
        message = self.refused(*self.words(), stdin=f"{SECRET}\n")
        self.assertIn("cannot remove objects: AccessDenied", message)

    def test_bucket_that_anybody_can_read(self) -> None:
        self.strict.public = True
        self.refused_setting("is public: anybody can list or read")
        self.strict.public = False
        self.fault("GetObject", before=to_anybody)
        self.refused_setting("is public: anybody can list or read")
        self.strict.faults.clear()
        self.fault("ListObjects", before=overloaded_for_strangers)
        self.refused_setting("cannot ask without credentials: SlowDown")

    def test_bucket_that_keeps_versions(self) -> None:
        self.direct.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        said = self.ok(*self.words(), stdin=f"{SECRET}\n")
        self.assertIn("keeps versions", said)

    def test_what_is_typed_wrong(self) -> None:
        for name, value in (
            ("bucket", "a b"),
            ("endpoint", "s3.example.com"),
            ("endpoint", "https://me:password@s3.example.com"),
            ("region", "no region"),
            ("prefix", "../x"),
            ("access-key-id", "two words"),
        ):
            message = self.refused(*self.words(**{name: value}), stdin=f"{SECRET}\n")
            self.assertIn(f"--{name}: expected", message)
            self.assertNotIn("password", message)
        for stdin in ("", "\n", "two words\n"):
            self.assertIn("ecret access key", self.refused(*self.words(), stdin=stdin))
        self.assertIn("no such domain", self.refused("backup", "bucket", "show", "example.org"))
        self.assertEqual(self.strict.seen, [])

    def test_is_for_the_machine_of_the_primary(self) -> None:
        with self.config.open("a") as file:
            file.write('\n[link.primaries.primary]\nendpoint = "unix:link.sock"\n')
        text = self.config.read_text()
        self.config.write_text(f'roles = ["imap"]\n{text}')
        message = self.refused(*self.words(), stdin=f"{SECRET}\n")
        self.assertIn("run this where the primary is", message)

    def test_secret_that_another_server_was_told(self) -> None:
        self.ok(*self.words(), stdin=f"{SECRET}\n")
        (self.folder / "server.key").write_bytes(bytes(32))
        (row,) = self.json("backup", "bucket", "show")
        self.assertFalse(row["secret_known"])


def to_anybody(request: Any) -> Any:
    """Like a bucket whose objects can be read by who knows their names."""
    return None if "authorization" in request.headers else Answer(200, {"content-length": "0"}, b"")


def overloaded_for_strangers(request: Any) -> Any:
    """Then nobody knows whether it would have answered."""
    return None if "authorization" in request.headers else error(503, "SlowDown")
