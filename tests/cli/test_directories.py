"""``mailsrv directory dump`` and ``load``, as a person types them."""

from pathlib import Path

from tests.cli.test_commands import ADDRESS, CommandTestCase


class DirectoryTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.make(self.folder)
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.password = self.json("password", ADDRESS)["password"]
        self.dump = Path(self.mktemp()).resolve()

    def make(self, folder: Path) -> None:
        self.ok("init", str(folder), "--hostname", "mail.example.com", config=False)

    def turn_to_a_new_one(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.config = self.folder / "mailsrv.toml"
        self.make(self.folder)

    def test_to_a_file_and_back(self) -> None:
        before = self.json("alias", "list")
        said = self.ok("directory", "dump", str(self.dump))
        self.assertIn("no passwords", said)
        self.assertEqual(self.dump.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(self.password, self.dump.read_text())
        again = self.json("directory", "dump", str(self.dump))
        self.assertEqual(again["file"], str(self.dump))
        self.assertEqual(len(self.dump.read_bytes().splitlines()), again["rows"] + 2)
        self.assertEqual(
            [path.name for path in self.dump.parent.glob(f"{self.dump.name}*")], [self.dump.name]
        )
        self.turn_to_a_new_one()
        self.assertEqual(self.json("directory", "load", str(self.dump))["rows"], again["rows"])
        self.assertEqual(self.json("alias", "list"), before)
        self.assertIn("not empty", self.refused("directory", "load", str(self.dump)))

    def test_through_pipes(self) -> None:
        dump = self.ok("directory", "dump", "-")
        self.turn_to_a_new_one()
        self.ok("directory", "load", "-", stdin=dump)
        self.assertEqual(self.json("alias", "list")[0]["address"], ADDRESS)

    def test_what_cannot_be_read_or_written(self) -> None:
        self.assertIn("No such file", self.refused("directory", "load", str(self.dump)))
        self.assertIn("No such file", self.refused("directory", "dump", f"{self.dump}/x/y"))
        self.turn_to_a_new_one()
        self.dump.write_bytes(b"\0" * 1000)
        self.assertIn("no dump", self.refused("directory", "load", str(self.dump)))
