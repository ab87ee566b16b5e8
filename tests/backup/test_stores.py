"""Which store an alias has: the configured one, or its domain's bucket, as it is set now."""

import os
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.objects import open_store
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.backup.objects.s3 import S3Store
from mailsrv.backup.stores import BackupStores, sealed_secret, unsealed_secret
from mailsrv.errors import BackupStoreFailed, InvalidInput, SealBroken
from mailsrv.settings import Backup, Bucket, BucketPlace
from mailsrv.store.secret import ServerSecret
from tests.directory.databases import OnSQLite

SECRET = "Zitronenfalter/0123456789"
PLACE = BucketPlace(bucket="mail", access_key_id="AKIA", endpoint="http://127.0.0.1:1")
OTHER = msgspec.structs.replace(PLACE, bucket="other")


class SealTests(OnSQLite):
    def test_opens_for_the_same_alone(self) -> None:
        server = ServerSecret(bytes(32))
        sealed = server.seal(b"bucket", "one", SECRET.encode())
        self.assertEqual(server.unseal(b"bucket", "one", sealed), SECRET.encode())
        self.assertNotEqual(server.seal(b"bucket", "one", SECRET.encode()), sealed)
        self.assertNotIn(SECRET.encode(), sealed)
        for other, purpose, subject, octets in (
            (ServerSecret(bytes(31) + b"1"), b"bucket", "one", sealed),
            (server, b"other", "one", sealed),
            (server, b"bucket", "two", sealed),
            (server, b"bucket", "one", sealed[:-1]),
            (server, b"bucket", "one", sealed[:5]),
            (server, b"bucket", "one", b""),
        ):
            with self.assertRaises(SealBroken):
                other.unseal(purpose, subject, octets)

    def test_each_server_has_its_own(self) -> None:
        """Primaries share the directory: what one is told does not lock out the other."""
        domain = self.directory.add_domain("example.com")
        one, two = (ServerSecret(bytes([number]) * 32) for number in (1, 2))

        def tell(server: ServerSecret, place: BucketPlace, secret: str) -> None:
            before = self.directory.bucket("example.com")
            sealed = sealed_secret(server, domain.id, place, secret, before)
            self.directory.set_bucket("example.com", place, sealed)

        def ask(server: ServerSecret) -> str:
            return unsealed_secret(server, self.directory.bucket("example.com"))

        tell(one, PLACE, "first")
        self.assertEqual(ask(one), "first")
        with self.assertRaisesRegex(BackupStoreFailed, "mailsrv backup bucket set example.com"):
            ask(two)
        tell(two, PLACE, "second")
        self.assertEqual((ask(one), ask(two)), ("first", "second"))
        tell(one, OTHER, "third")
        self.assertEqual(ask(one), "third")
        self.assertRaises(BackupStoreFailed, ask, two)


class StoresTests(OnSQLite):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias("hello@example.com")
        self.other = self.add_alias("hello@example.org")
        self.domain = self.directory.domain("example.com")
        self.server = ServerSecret(bytes(32))
        self.backup = Backup(folder=Path(self.mktemp()))
        self.stores = self.make()

    def make(self, **backup: object) -> BackupStores:
        settings = msgspec.structs.replace(self.backup, **backup)
        return BackupStores(settings, self.directory, self.server)

    def tell(self, place: BucketPlace = PLACE, server: ServerSecret | None = None) -> None:
        sealed = sealed_secret(server or self.server, self.domain.id, place, SECRET, None)
        self.directory.set_bucket("example.com", place, sealed)

    def test_the_configured_one(self) -> None:
        self.assertIsInstance(self.stores.default, FolderStore)
        self.assertIs(self.stores.of(self.alias), self.stores.default)
        self.assertEqual(self.stores.everywhere(self.alias), [self.stores.default])
        nowhere = self.make(to="nowhere")
        self.assertIsNone(nowhere.of(self.alias))
        self.assertEqual(nowhere.everywhere(self.alias), [])

    def test_the_bucket_of_the_domain(self) -> None:
        self.tell()
        store = self.stores.of(self.alias)
        self.assertIsInstance(store, S3Store)
        self.assertIs(self.stores.of(self.alias), store)
        self.assertIs(self.stores.of_domain("example.com"), store)
        self.assertIs(self.stores.of(self.other), self.stores.default)
        self.assertEqual(self.stores.everywhere(self.alias), [store, self.stores.default])
        self.assertIsInstance(self.make(to="nowhere").of(self.alias), S3Store)

    def test_whose_are_kept_anywhere(self) -> None:
        for alias in (self.alias, self.other):
            self.add_mailbox(alias.id)
        standings = self.directory.all_backup_standings()
        self.assertEqual(len(standings), 2)
        self.assertEqual(self.stores.kept(standings), standings)
        nowhere = self.make(to="nowhere")
        self.assertEqual(nowhere.kept(standings), [])
        self.tell()
        (kept,) = nowhere.kept(standings)
        self.assertEqual(kept.address, "hello@example.com")

    def test_changes_count_at_once(self) -> None:
        self.tell()
        first = self.stores.of(self.alias)
        self.tell(OTHER)
        second = self.stores.of(self.alias)
        self.assertIn("mail", repr(first))
        self.assertIn("other", repr(second))
        self.directory.remove_bucket("example.com")
        self.assertIs(self.stores.of(self.alias), self.stores.default)

    def test_bucket_that_this_server_was_not_told_of(self) -> None:
        self.tell(server=ServerSecret(b"x" * 32))
        for call in (self.stores.of, self.stores.everywhere):
            with self.assertRaisesRegex(BackupStoreFailed, "example.com.*does not know"):
                call(self.alias)

    def test_no_secret_in_the_directory_or_a_repr(self) -> None:
        self.tell()
        store = self.stores.of(self.alias)
        path = Path(self.url.removeprefix("sqlite:///"))
        self.assertNotIn(SECRET.encode(), path.read_bytes())
        for one in (store, self.stores, self.directory.bucket("example.com")):
            self.assertNotIn(SECRET, repr(one))


class OpeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def open_with(self, text: bytes | None, mode: int = 0o600) -> object:
        if text is not None:
            self.path.write_bytes(text)
            os.chmod(self.path, mode)
        bucket = Bucket(bucket="mail", access_key_id="AKIA", secret_file=self.path)
        return open_store(Backup(to="s3", s3=bucket))

    def test_opens(self) -> None:
        for text in (SECRET, f"{SECRET}\n", f"  {SECRET}\r\n"):
            store = self.open_with(text.encode())
            self.assertEqual(store.requests._secret, SECRET)
            self.assertEqual(repr(store), "<S3Store bucket mail at Amazon in us-east-1>")
        self.assertIsNone(open_store(Backup(to="nowhere")))

    def test_what_is_wrong_with_the_file(self) -> None:
        for text, mode, problem in (
            (None, 0, "cannot be read: No such file"),
            (SECRET.encode(), 0o640, "expected mode 0600, found 0640"),
            (SECRET.encode(), 0o604, "expected mode 0600, found 0604"),
            (b"", 0o600, "expected one line"),
            (f"{SECRET}\n{SECRET}".encode(), 0o600, "expected one line"),
            (f"key {SECRET}".encode(), 0o600, "expected one line"),
            (b"\xff" + SECRET.encode(), 0o600, "expected one line"),
        ):
            with self.assertRaises(InvalidInput) as caught:
                self.open_with(text, mode)
            said = str(caught.exception)
            self.assertTrue(said.startswith(f"backup.s3.secret_file: {self.path}: "), said)
            self.assertIn(problem, said)
            self.assertNotIn(SECRET, said)


del OnSQLite
