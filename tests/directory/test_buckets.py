"""A domain may have a bucket; it goes with the domain's wish, and its secret stays sealed."""

from sqlalchemy import update

from mailsrv.directory import schema
from mailsrv.errors import InvalidInput, NoSuchDomain, StorageFailed
from mailsrv.settings import BucketPlace
from tests.directory.databases import DirectoryCase, OnPostgreSQL, OnSQLite

PLACE = BucketPlace(
    bucket="mail",
    access_key_id="AKIA",
    endpoint="https://s3.example.com",
    region="eu-central-1",
    prefix="backups",
    style="host",
)


class BucketTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.domain = self.directory.add_domain("one.example")
        self.directory.add_domain("two.example")

    def test_set_and_remove(self) -> None:
        self.assertIsNone(self.directory.bucket("one.example"))
        self.assertEqual(self.directory.buckets(), [])
        self.directory.set_bucket("One.Example", PLACE, b"sealed")
        known = self.open().bucket("one.example")
        self.assertEqual((known.domain_id, known.domain), (self.domain.id, "one.example"))
        self.assertEqual((known.place, known.sealed_secret), (PLACE, b"sealed"))
        self.assertIsNone(self.directory.bucket("two.example"))
        other = BucketPlace(bucket="other", access_key_id="AKIA")
        self.directory.set_bucket("one.example", other, b"again")
        self.directory.set_bucket("two.example", PLACE, b"sealed")
        places = {one.domain: one.place for one in self.directory.buckets()}
        self.assertEqual(places, {"one.example": other, "two.example": PLACE})
        self.assertTrue(self.directory.remove_bucket("ONE.example"))
        self.assertFalse(self.directory.remove_bucket("one.example"))
        self.assertEqual([one.domain for one in self.directory.buckets()], ["two.example"])

    def test_domains_that_are_not_ours(self) -> None:
        with self.assertRaises(NoSuchDomain):
            self.directory.set_bucket("three.example", PLACE, b"")
        self.assertIsNone(self.directory.bucket("three.example"))
        self.assertFalse(self.directory.remove_bucket("three.example"))
        with self.assertRaises(InvalidInput):
            self.directory.bucket("no domain")

    def test_entry_that_cannot_be_read(self) -> None:
        self.directory.set_bucket("one.example", PLACE, b"")
        with self.directory._database.writing() as connection:
            connection.execute(update(schema.bucket).values(settings="{}"))
        with self.assertRaisesRegex(StorageFailed, "one.example"):
            self.directory.bucket("one.example")


class BucketOnSQLiteTests(BucketTests, OnSQLite):
    pass


class BucketOnPostgreSQLTests(BucketTests, OnPostgreSQL):
    pass


del BucketTests
