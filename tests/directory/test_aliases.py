"""Accounts, domains and aliases, and where mail for an address goes."""

from mailsrv.errors import (
    AliasDisabled,
    AlreadyExists,
    InvalidInput,
    NoSuchAlias,
    NoSuchDomain,
)
from tests.directory.databases import DirectoryCase, OnPostgreSQL, OnSQLite


class AccountTests(DirectoryCase):
    def test_accounts(self) -> None:
        made = self.directory.add_account("  Zoë ", quota=10)
        self.assertEqual((made.name, made.quota), ("zoë", 10))
        self.directory.add_account("adam")
        self.assertEqual([one.name for one in self.directory.accounts()], ["adam", "zoë"])
        self.assertIn(made, self.open().accounts())
        with self.assertRaises(AlreadyExists):
            self.directory.add_account("ZOE\u0308")
        for name in ("", " ", "a\nb", "x" * 129):
            with self.subTest(name), self.assertRaises(InvalidInput):
                self.directory.add_account(name)

    def test_domains(self) -> None:
        self.directory.add_account("me")
        made = self.directory.add_domain("Example.COM", account="ME", quota=2**40)
        self.assertEqual((made.name, made.account, made.quota), ("example.com", "me", 2**40))
        plain = self.directory.add_domain("bücher.example")
        self.assertEqual(self.directory.domains(), [made, plain])
        self.assertEqual(self.directory.domain("EXAMPLE.com"), made)
        self.assertEqual(self.directory.domain("xn--bcher-kva.example"), plain)
        self.assertIsNone(plain.account)
        with self.assertRaises(AlreadyExists):
            self.directory.add_domain("example.com")
        with self.assertRaises(NoSuchDomain):
            self.directory.domain("example.org")
        with self.assertRaises(InvalidInput):
            self.directory.add_domain("exa mple.com")
        with self.assertRaises(InvalidInput):
            self.directory.add_domain("example.org", account="nobody")
        with self.assertRaises(InvalidInput):
            self.directory.add_domain("example.org", quota=-1)
        self.assertEqual(len(self.open().domains()), 2)


class AliasTests(DirectoryCase):
    def test_add_and_find(self) -> None:
        self.directory.add_domain("example.com")
        made = self.directory.add_alias("Hello@EXAMPLE.com", quota=5)
        self.assertEqual((made.address, made.quota, made.enabled), ("hello@example.com", 5, True))
        self.assertEqual(made.domain, "example.com")
        self.assertEqual(self.directory.alias('"hello"@example.com'), made)
        self.assertEqual(self.directory.alias_by_id(made.id), made)
        self.assertEqual(self.open().aliases(), [made])

    def test_one_row_for_every_spelling(self) -> None:
        self.add_alias("josé@example.com")
        for spelled in ("jose\u0301@example.com", "JOSÉ@example.com", '"josé"@EXAMPLE.COM'):
            with self.subTest(spelled), self.assertRaises(AlreadyExists):
                self.directory.add_alias(spelled)

    def test_what_is_not_there(self) -> None:
        self.add_alias()
        with self.assertRaises(NoSuchDomain):
            self.directory.add_alias("a@example.org")
        with self.assertRaises(InvalidInput):
            self.directory.add_alias("not an address")
        with self.assertRaises(InvalidInput):
            self.directory.add_alias("b@example.com", quota=2**63)
        with self.assertRaises(NoSuchAlias):
            self.directory.alias("b@example.com")
        with self.assertRaises(NoSuchDomain):
            self.directory.alias("b@example.org")
        for call in (
            lambda: self.directory.alias_by_id("0" * 24),
            lambda: self.directory.set_alias_enabled("0" * 24, False),
            lambda: self.directory.delete_alias("0" * 24),
        ):
            with self.assertRaises(NoSuchAlias):
                call()
        self.assertEqual(len(self.directory.aliases()), 1)

    def test_list_of_a_domain(self) -> None:
        for address in ("b@one.example", "a@two.example", "a@one.example"):
            self.add_alias(address)
        self.assertEqual(
            [one.address for one in self.directory.aliases()],
            ["a@one.example", "b@one.example", "a@two.example"],
        )
        self.assertEqual(
            [one.address for one in self.directory.aliases("ONE.example")],
            ["a@one.example", "b@one.example"],
        )
        with self.assertRaises(NoSuchDomain):
            self.directory.aliases("three.example")

    def test_enabled(self) -> None:
        made = self.add_alias()
        before = self.directory.revision()
        self.directory.set_alias_enabled(made.id, False)
        self.assertFalse(self.directory.alias_by_id(made.id).enabled)
        self.assertGreater(self.directory.revision(), before)
        self.directory.set_alias_enabled(made.id, True)
        self.assertTrue(self.directory.alias_by_id(made.id).enabled)

    def test_delete(self) -> None:
        made, other = self.add_alias(), self.add_alias("other@example.com")
        first = self.add_mailbox(made.id)
        second = self.add_mailbox(made.id, "main", "phone", replaces=first)
        kept = self.add_mailbox(other.id)
        before = self.directory.revision()
        self.assertEqual(sorted(self.directory.delete_alias(made.id)), sorted([first, second]))
        self.assertGreater(self.directory.revision(), before)
        self.assertEqual(self.directory.aliases(), [other])
        self.assertEqual(self.directory.credentials(made.id), [])
        self.assertIsNone(self.directory.mailbox(made.id))
        with self.assertRaises(NoSuchAlias):
            self.directory.usage(made.id)
        self.assertEqual(self.directory.discarded_mailboxes(), sorted([first, second]))
        mailbox = self.directory.mailbox(other.id)
        self.assertEqual(mailbox and mailbox.id, kept)
        self.directory.add_alias("hello@example.com")


class ResolveTests(DirectoryCase):
    def resolved(self, address: str) -> tuple[str, str | None]:
        alias, detail = self.directory.resolve(address)
        return alias.address, detail

    def test_exact_then_detail_then_catch_all(self) -> None:
        for address in ("me@example.com", "me+vip@example.com", "*@example.com"):
            self.add_alias(address)
        for address, expected in (
            ("me@example.com", ("me@example.com", None)),
            ("ME@EXAMPLE.COM", ("me@example.com", None)),
            ("me+Work@example.com", ("me@example.com", "Work")),
            ("me+vip@example.com", ("me+vip@example.com", None)),
            ("me+vip+x@example.com", ("me@example.com", "vip+x")),
            ("you@example.com", ("*@example.com", None)),
            ("you+x@example.com", ("*@example.com", "x")),
            ("*@example.com", ("*@example.com", None)),
        ):
            with self.subTest(address):
                self.assertEqual(self.resolved(address), expected)

    def test_unknown(self) -> None:
        self.add_alias()
        for address in ("you@example.com", "hell@example.com", "hello.x@example.com", "not one"):
            with self.subTest(address), self.assertRaises(NoSuchAlias):
                self.directory.resolve(address)
        with self.assertRaises(NoSuchDomain):
            self.directory.resolve("hello@example.org")
        with self.assertRaises(NoSuchDomain):
            self.directory.resolve("hello@sub.example.com")

    def test_wildcards_of_sql_mean_nothing(self) -> None:
        self.add_alias()
        for address in ("%@example.com", "h_llo@example.com", "'or'1'='1@example.com"):
            with self.subTest(address), self.assertRaises(NoSuchAlias):
                self.directory.resolve(address)

    def test_disabled_does_not_fall_through(self) -> None:
        made = self.add_alias("me@example.com")
        self.add_alias("*@example.com")
        self.directory.set_alias_enabled(made.id, False)
        for address in ("me@example.com", "me+x@example.com"):
            with self.subTest(address), self.assertRaises(AliasDisabled):
                self.directory.resolve(address)
        self.assertEqual(self.resolved("you@example.com")[0], "*@example.com")

    def test_international(self) -> None:
        self.add_alias("안녕@xn--hq1bm8jm9l.xn--3e0b707e")
        self.assertEqual(
            self.resolved("안녕+일@도메인.한국"), ("안녕@xn--hq1bm8jm9l.xn--3e0b707e", "일")
        )


class AccountOnSQLiteTests(AccountTests, OnSQLite):
    pass


class AccountOnPostgreSQLTests(AccountTests, OnPostgreSQL):
    pass


class AliasOnSQLiteTests(AliasTests, OnSQLite):
    pass


class AliasOnPostgreSQLTests(AliasTests, OnPostgreSQL):
    pass


class ResolveOnSQLiteTests(ResolveTests, OnSQLite):
    pass


class ResolveOnPostgreSQLTests(ResolveTests, OnPostgreSQL):
    pass


del AccountTests, AliasTests, ResolveTests
