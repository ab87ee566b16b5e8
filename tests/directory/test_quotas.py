"""Usage is counted per alias and pooled over domain and account."""

from mailsrv.directory.directory import QuotaLevel, QuotaLevels, Usage
from mailsrv.errors import InvalidInput, NoSuchAlias
from tests.directory.databases import DirectoryCase, OnPostgreSQL, OnSQLite


class QuotaTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.account = self.directory.add_account("me")
        self.domain = self.directory.add_domain("one.example", account="me")
        self.directory.add_domain("two.example", account="me")
        self.directory.add_domain("free.example")
        self.one = self.directory.add_alias("a@one.example")
        self.peer = self.directory.add_alias("b@one.example")
        self.cousin = self.directory.add_alias("c@two.example")
        self.free = self.directory.add_alias("d@free.example")

    def test_usage(self) -> None:
        self.assertEqual(self.directory.usage(self.one.id), Usage(octets=0, messages=0))
        self.directory.set_usage(self.one.id, 2**40, 3)
        self.directory.add_usage(self.one.id, 5, 1)
        self.directory.add_usage(self.one.id, -2, -2)
        self.assertEqual(self.open().usage(self.one.id), Usage(octets=2**40 + 3, messages=2))
        self.directory.add_usage(self.one.id, -(2**41), -9)
        self.assertEqual(self.directory.usage(self.one.id), Usage(octets=0, messages=0))
        for call in (self.directory.set_usage, self.directory.add_usage):
            with self.assertRaises(NoSuchAlias):
                call("0" * 24, 1, 1)

    def test_pools(self) -> None:
        for alias, octets in (
            (self.one, 1),
            (self.peer, 20),
            (self.cousin, 300),
            (self.free, 4000),
        ):
            self.directory.set_usage(alias.id, octets, octets * 2)
        self.directory.set_quota("account", self.account.id, 1000)
        levels = self.directory.quota(self.one.id)
        self.assertEqual(
            levels,
            QuotaLevels(
                alias=QuotaLevel(used=1, limit=None),
                domain=QuotaLevel(used=21, limit=None),
                account=QuotaLevel(used=321, limit=1000),
                messages=2,
            ),
        )
        self.assertEqual(
            self.directory.quota(self.free.id),
            QuotaLevels(
                alias=QuotaLevel(used=4000, limit=None),
                domain=QuotaLevel(used=4000, limit=None),
                account=QuotaLevel(used=0, limit=None),
                messages=8000,
            ),
        )
        with self.assertRaises(NoSuchAlias):
            self.directory.quota("0" * 24)

    def test_tightest(self) -> None:
        for alias, octets in ((self.one, 10), (self.peer, 20), (self.cousin, 30)):
            self.directory.set_usage(alias.id, octets, 1)
        self.assertEqual(self.directory.quota(self.one.id).tightest, QuotaLevel(10, None))
        self.directory.set_quota("alias", self.one.id, 100)
        self.assertEqual(self.directory.quota(self.one.id).tightest, QuotaLevel(10, 100))
        self.directory.set_quota("domain", self.domain.id, 100)
        self.assertEqual(self.directory.quota(self.one.id).tightest, QuotaLevel(30, 100))
        self.directory.set_quota("account", self.account.id, 50)
        tightest = self.directory.quota(self.one.id).tightest
        self.assertEqual((tightest, tightest.left), (QuotaLevel(60, 50), -10))
        self.directory.set_quota("account", self.account.id, None)
        self.assertEqual(self.directory.quota(self.one.id).tightest, QuotaLevel(30, 100))

    def test_zero_is_a_limit(self) -> None:
        self.directory.set_quota("alias", self.one.id, 0)
        self.assertEqual(self.directory.quota(self.one.id).tightest.left, 0)

    def test_bad_limits(self) -> None:
        for octets in (-1, 2**63):
            with self.subTest(octets), self.assertRaises(InvalidInput):
                self.directory.set_quota("alias", self.one.id, octets)
        for level in ("alias", "domain", "account"):
            with self.subTest(level), self.assertRaises(InvalidInput):
                self.directory.set_quota(level, "0" * 24, 1)

    def test_deleted_aliases_use_nothing(self) -> None:
        self.directory.set_usage(self.peer.id, 20, 1)
        self.directory.delete_alias(self.peer.id)
        self.assertEqual(self.directory.quota(self.one.id).domain.used, 0)


class QuotaOnSQLiteTests(QuotaTests, OnSQLite):
    pass


class QuotaOnPostgreSQLTests(QuotaTests, OnPostgreSQL):
    pass


del QuotaTests
