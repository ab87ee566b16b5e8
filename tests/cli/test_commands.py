"""The commands as a person types them, in this process, against a data directory of their own."""

import json
import os
from pathlib import Path
from unittest import mock

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.cli.commands import main
from mailsrv.settings import load

ADDRESS = "hello@example.com"
STRONG = "copper-walrus-lantern-7-orbit"


class CommandTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.config = self.folder / "mailsrv.toml"

    def run_command(self, *words: str, stdin: str | bytes = "", config: bool = True) -> Result:
        options = ["--config", str(self.config)] if config else []
        return CliRunner().invoke(
            main, [*words, *options], input=stdin, env={"MAILSRV_CONFIG": None}
        )

    def ok(self, *words: str, stdin: str = "", config: bool = True) -> str:
        result = self.run_command(*words, stdin=stdin, config=config)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout

    def json(self, *words: str, stdin: str = "") -> dict:
        return json.loads(self.ok(*words, "--json", stdin=stdin))

    def refused(self, *words: str, stdin: str | bytes = "") -> str:
        result = self.run_command(*words, stdin=stdin)
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1)
        return result.stderr


class InitTests(CommandTestCase):
    def test_makes_a_data_directory(self) -> None:
        said = self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        self.assertIn(str(self.config), said)
        settings = load(self.config)
        self.assertEqual(settings.hostname, "mail.example.com")
        self.assertEqual(settings.imap.listen_tls, ("tcp:993",))
        self.assertEqual(settings.imap.cleartext_login_from, ())
        for name in ("ca.pem", "cert.pem", "key.pem"):
            self.assertTrue((self.folder / "tls" / name).exists())
        for path in (self.folder, self.folder / "mailboxes"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)
        for name in ("mailsrv.toml", "directory.sqlite", "tls/key.pem"):
            self.assertEqual((self.folder / name).stat().st_mode & 0o077, 0, name)

    def test_port_base(self) -> None:
        self.ok("init", str(self.folder), "--port-base", "20000", config=False)
        settings = load(self.config)
        self.assertEqual(settings.imap.listen, ("tcp:20143:interface=127.0.0.1",))
        self.assertEqual(settings.imap.listen_tls, ("tcp:20993:interface=127.0.0.1",))
        self.assertEqual(settings.mx.listen, ("tcp:20025:interface=127.0.0.1",))
        self.assertIn("127.0.0.0/8", settings.imap.cleartext_login_from)

    def test_refuses_a_second_time(self) -> None:
        self.ok("init", str(self.folder), config=False)
        before = self.config.read_text()
        self.assertIn("already there", self.refused("init", str(self.folder)))
        self.assertEqual(self.config.read_text(), before)

    def test_a_name_that_is_none_leaves_nothing_behind(self) -> None:
        for name in ("bad host", "ex\u00e4mple.com", 'a"\nb="c', "my_host"):
            self.assertIn(
                "--hostname: expected a host name",
                self.refused("init", str(self.folder), "--hostname", name),
            )
        with mock.patch("socket.getfqdn", return_value="my_host"):
            self.assertIn("--hostname", self.refused("init", str(self.folder)))
        self.assertFalse(self.folder.exists())

    def test_what_the_system_refuses_is_one_line(self) -> None:
        self.assertIn(
            "/proc/none: No such file", self.refused("init", "/proc/none", "--hostname", "a")
        )

    def test_port_base_out_of_range(self) -> None:
        for base in ("0", "-5", "65000"):
            self.assertIn(
                "--port-base", self.refused("init", str(self.folder), "--port-base", base)
            )


class AddressTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)

    def test_domain_and_alias(self) -> None:
        self.assertIn("example.com", self.ok("domain", "add", "Example.COM"))
        self.assertEqual(self.json("domain", "list"), [{"name": "example.com", "quota": None}])
        added = self.json("alias", "add", "Hello@example.com", "--quota", "2G")
        self.assertEqual(
            added,
            {
                "address": ADDRESS,
                "quota": 2 * 1024**3,
                "enabled": True,
                "primary": "primary",
            },
        )
        (row,) = self.json("alias", "list")
        self.assertEqual((row["address"], row["password"], row["messages"]), (ADDRESS, False, 0))
        self.assertIn(ADDRESS, self.ok("alias", "list"))

    def test_mistakes_are_one_line(self) -> None:
        self.assertIn("example.com", self.refused("alias", "add", ADDRESS))
        self.ok("domain", "add", "example.com")
        self.assertIn("already", self.refused("domain", "add", "example.com"))
        self.ok("alias", "add", ADDRESS)
        self.assertIn(ADDRESS, self.refused("alias", "add", ADDRESS))
        self.refused("alias", "add", "no address")
        self.assertIn("nobody@example.com", self.refused("password", "nobody@example.com"))

    def test_what_was_typed_wrong_is_one_line(self) -> None:
        for words in (
            ("domain", "ad"),
            ("alias", "add"),
            ("alias", "list", "--nonsense"),
            ("--nonsense",),
            ("domain", "add", "example.com", "--quota", "lots"),
        ):
            result = self.run_command(*words)
            self.assertEqual((result.exit_code, result.stdout), (2, ""))
            self.assertRegex(result.stderr, r"\Amailsrv: .* --help tells more\)\n\Z")
            result = self.run_command("--json", *words)
            self.assertEqual(list(json.loads(result.stderr)), ["error"])
        self.assertIn("Commands:", self.run_command("domain").output)

    def test_only_the_owner_of_the_data_directory_changes_it(self) -> None:
        with mock.patch("os.geteuid", return_value=os.geteuid() + 1):
            message = self.refused("domain", "add", "example.com")
        self.assertIn("run this as that user", message)
        self.assertEqual(self.json("domain", "list"), [])

    def test_addresses_are_shown_as_they_are(self) -> None:
        self.ok("domain", "add", "example.com")
        for address in ('"[/b]"@example.com', '"[bold]"@example.com', '":smile:"@example.com'):
            self.assertIn(f"Added {address}.", self.ok("alias", "add", address))
            self.assertIn(f" {address} ", self.ok("alias", "list"))
            self.assertIn(address, self.ok("alias", "disable", address))
            self.assertIn(address, self.ok("credential", "list", address))
            self.assertIn(address, self.ok("password", address))

    def test_errors_as_json(self) -> None:
        result = self.run_command("alias", "add", ADDRESS, "--json")
        self.assertEqual(list(json.loads(result.stderr)), ["error"])

    def test_disable_and_enable(self) -> None:
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.ok("alias", "disable", ADDRESS)
        self.assertEqual([row["enabled"] for row in self.json("alias", "list")], [False])
        self.ok("alias", "enable", ADDRESS)
        self.assertEqual([row["enabled"] for row in self.json("alias", "list")], [True])

    def test_bad_quota(self) -> None:
        result = self.run_command("domain", "add", "example.com", "--quota", "lots")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("expected a size such as 500M", result.stderr)

    def test_config_from_the_environment(self) -> None:
        result = CliRunner().invoke(
            main, ["domain", "list"], env={"MAILSRV_CONFIG": str(self.config)}
        )
        self.assertEqual(result.exit_code, 0)
        result = CliRunner().invoke(main, ["domain", "list"], env={"MAILSRV_CONFIG": None})
        self.assertIn("MAILSRV_CONFIG", result.stderr)

    def test_broken_configuration(self) -> None:
        self.config.write_text('hostname = "a"\nport = 3\n')
        self.assertIn("port: unknown key", self.refused("domain", "list"))


class PasswordTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), config=False)
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)

    def test_generated_once(self) -> None:
        made = self.json("password", ADDRESS)
        self.assertEqual(set(made), {"address", "password"})
        self.assertGreaterEqual(len(made["password"]), 24)
        changed = self.json("password", ADDRESS, stdin=made["password"] + "\n")
        self.assertNotEqual(changed["password"], made["password"])

    def test_old_one_is_asked_for(self) -> None:
        self.json("password", ADDRESS)
        self.assertIn("expected a line", self.refused("password", ADDRESS))
        self.refused("password", ADDRESS, stdin="x" * 24 + "\n")

    def test_own_password(self) -> None:
        said = self.ok("password", ADDRESS, "--stdin", stdin=STRONG + "\n")
        self.assertNotIn(STRONG, said)
        self.json("password", ADDRESS, stdin=STRONG + "\n")

    def test_weak_password_is_refused(self) -> None:
        for weak in ("qwerty", "hello123", "aaaaaaaaaaaaaaaa"):
            message = self.refused("password", ADDRESS, "--stdin", stdin=weak + "\n")
            self.assertNotIn(weak, message)

    def test_start_over(self) -> None:
        self.json("password", ADDRESS)
        before = set((self.folder / "mailboxes").glob("*.sqlite"))
        made = self.json("password", ADDRESS, "--start-over")
        after = set((self.folder / "mailboxes").glob("*.sqlite"))
        self.assertEqual(len(after - before), 1)
        self.assertEqual(before - after, set())
        self.json("password", ADDRESS, stdin=made["password"] + "\n")

    def test_app_password(self) -> None:
        main_password = self.json("password", ADDRESS)["password"]
        words = ("password", ADDRESS, "--label", "phone", "--scope", "imap")
        made = self.json(*words, stdin=main_password + "\n")
        self.assertNotEqual(made["password"], main_password)
        rows = self.json("credential", "list", ADDRESS)
        self.assertEqual([row["label"] for row in rows], ["main", "phone"])
        self.assertEqual(rows[1]["scopes"], ["imap"])
        self.assertIn("label", self.refused(*words, stdin=main_password + "\n"))
        self.ok("credential", "revoke", ADDRESS, "phone")
        self.assertEqual(len(self.json("credential", "list", ADDRESS)), 1)
        self.assertIn("phone", self.refused("credential", "revoke", ADDRESS, "phone"))
        self.refused("credential", "revoke", ADDRESS, "main")
        self.refused(*words, stdin="x" * 24 + "\n")

    def test_labels_are_shown_as_they_are(self) -> None:
        main_password = self.json("password", ADDRESS)["password"]
        for label in ("[/x]", "[red]phone", "tail\\"):
            words = ("password", ADDRESS, "--label", label)
            said = self.ok(*words, stdin=main_password + "\n")
            self.assertIn(f"App password {label} of {ADDRESS}", said)
            self.assertIn(f" {label} ", self.ok("credential", "list", ADDRESS))
            self.assertIn(f"Revoked {label} of", self.ok("credential", "revoke", ADDRESS, label))

    def test_no_app_password_is_called_main(self) -> None:
        main_password = self.json("password", ADDRESS)["password"]
        words = ("password", ADDRESS, "--label", " main ")
        self.assertIn("label: expected", self.refused(*words, stdin=main_password + "\n"))
        self.assertIn("no app password", self.refused("credential", "revoke", ADDRESS, "main"))

    def test_what_is_no_text_is_refused(self) -> None:
        self.assertIn(
            "expected text in UTF-8", self.refused("password", ADDRESS, "--stdin", stdin=b"\xff\n")
        )

    def test_app_passwords_outlive_a_generated_change_and_not_a_chosen_one(self) -> None:
        first = self.json("password", ADDRESS)["password"]
        self.json("password", ADDRESS, "--label", "phone", stdin=first + "\n")
        second = self.json("password", ADDRESS, stdin=first + "\n")
        self.assertNotIn("dropped", second)
        chosen = self.json(
            "password", ADDRESS, "--stdin", stdin=f"{second['password']}\n{STRONG}\n"
        )
        self.assertEqual(chosen["dropped"], ["phone"])

    def test_words_that_do_not_go_together(self) -> None:
        for words in (
            ("--label", "x", "--stdin"),
            ("--scope", "imap"),
            ("--label", "x", "--start-over"),
        ):
            self.assertEqual(self.run_command("password", ADDRESS, *words).exit_code, 2)


class ServeTests(CommandTestCase):
    def test_is_twistd(self) -> None:
        self.ok("init", str(self.folder), config=False)
        with mock.patch("mailsrv.cli.serve.twistd.run") as run, mock.patch("sys.argv", []):
            self.ok("serve")
            import sys

            expected = [
                "twistd",
                "--nodaemon",
                "--pidfile=",
                "mailsrv",
                "--config",
                str(self.config),
            ]
            self.assertEqual(sys.argv, expected)
        run.assert_called_once_with()
