"""Backups as an operator or an owner types for them."""

import hashlib
import json
from pathlib import Path

import apsw
import msgspec

from mailsrv.backup.layout import CopyManifest, decode_copy, encode_manifest
from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.settings import load
from tests.cli.test_commands import ADDRESS, CommandTestCase

MARK = b"a mark that must be nowhere in clear"


class BackupTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.password = self.json("password", ADDRESS)["password"]
        self.directory = Directory(load(self.config).directory.url, now)
        self.addCleanup(self.directory.close)
        self.alias = self.directory.alias(ADDRESS).id

    def add_message(self, text: bytes = MARK) -> None:
        record = self.directory.mailbox(self.alias)
        path = self.folder / "mailboxes" / f"{record.id}.sqlite"
        key = derive_file_key(self.password, path.read_bytes()[:16])
        with Mailbox.open(path, key, now) as mailbox:
            mailbox.append("INBOX", [NewMessage(b"Subject: x\r\n\r\n" + text)], None)

    def back_up(self) -> dict:
        return self.json("backup", "now", ADDRESS, stdin=f"{self.password}\n")

    def manifests(self) -> list[CopyManifest]:
        paths = sorted((self.folder / "backups").rglob("*.json"))
        return [decode_copy(path.read_bytes()) for path in paths]

    def path_of(self, manifest: CopyManifest) -> Path:
        return self.folder / "backups" / manifest.name

    def damage(self, manifest: CopyManifest) -> None:
        path = self.path_of(manifest)
        octets = bytearray(path.read_bytes())
        octets[5000] ^= 1
        path.write_bytes(octets)

    def state(self) -> str:
        (row,) = self.json("backup", "list")
        return row["state"]

    def test_now(self) -> None:
        self.assertEqual(self.state(), "none yet")
        self.add_message()
        first = self.back_up()
        self.assertEqual((first["outcome"], first["address"]), ("taken", ADDRESS))
        self.assertEqual(self.back_up(), first | {"outcome": "unchanged"})
        self.assertEqual(self.state(), "kept")
        (row,) = self.json("backup", "list", ADDRESS)
        self.assertEqual((row["taken"], row["messages"]), (first["taken"], 1))
        self.assertEqual((row["octets"], row["password"]), (first["octets"], "today's"))
        self.assertEqual(list((self.folder / "backups.tmp").iterdir()), [])

    def test_now_for_whom_it_is_not(self) -> None:
        said = self.refused("backup", "now", ADDRESS, stdin="wrong\n")
        self.assertEqual(said, "mailsrv: wrong address or password\n")
        self.assertIn("expected a line", self.refused("backup", "now", ADDRESS))
        self.assertIn("no such", self.refused("backup", "now", "x@example.com", stdin="x\n"))
        with self.config.open("a") as file:
            file.write('[backup]\nto = "nowhere"\n')
        said = self.refused("backup", "now", ADDRESS, stdin=f"{self.password}\n")
        self.assertIn("no backups are made", said)

    def test_a_folder_that_is_away(self) -> None:
        with self.config.open("a") as file:
            file.write('[backup]\nfolder = "/nowhere/at/all"\n')
        said = self.refused("backup", "now", ADDRESS, stdin=f"{self.password}\n")
        self.assertIn("/nowhere/at", said)
        self.assertEqual(self.state(), "failed")

    def test_download(self) -> None:
        self.add_message()
        taken = self.back_up()
        file = self.folder / "copy.sqlite"
        said = self.json("backup", "download", ADDRESS, str(file))
        self.assertEqual(
            said,
            {"file": str(file), "taken": taken["taken"], "octets": taken["octets"], "messages": 1},
        )
        self.assertEqual(file.stat().st_mode & 0o077, 0)
        self.assertNotIn(MARK, file.read_bytes())
        connection = apsw.Connection(str(file))
        self.addCleanup(connection.close)
        connection.pragma("cipher", "chacha20")
        connection.pragma("key", self.password)
        self.assertEqual(list(connection.execute("SELECT subject FROM field")), [("x",)])
        self.assertIn("already there", self.refused("backup", "download", ADDRESS, str(file)))

    def test_download_of_a_time(self) -> None:
        other = self.folder / "other.sqlite"
        self.back_up()
        words = ("backup", "download", ADDRESS, str(other), "--at")
        self.assertIn("no backup of 2020-01-01", self.refused(*words, "2020-01-01"))
        self.assertIn("expected a time", self.refused(*words, "yesterday"))
        self.assertFalse(other.exists())
        self.assertEqual(self.json(*words, now().strftime("%Y-%m-%d"))["file"], str(other))

    def test_verify(self) -> None:
        self.assertIn("no backup is kept", self.refused("backup", "verify", ADDRESS))
        self.add_message()
        self.back_up()
        self.assertFalse(self.json("backup", "verify", ADDRESS)["opened"])
        stdin = f"{self.password}\n"
        said = self.json("backup", "verify", ADDRESS, "--password", stdin=stdin)
        self.assertTrue(said["opened"])
        said = self.refused("backup", "verify", ADDRESS, "--password", stdin="wrong\n")
        self.assertIn("expected the main password", said)
        self.assertEqual(self.state(), "kept")
        (row,) = self.json("backup", "verify", "--all")
        self.assertEqual((row["address"], row["good"]), (ADDRESS, True))

    def test_verify_one_of_an_older_version(self) -> None:
        self.back_up()
        (manifest,) = self.manifests()
        path = self.path_of(manifest)
        key = derive_file_key(self.password, path.read_bytes()[:16])
        with Mailbox.open(path, key, now) as mailbox:
            mailbox.connection.execute("ALTER TABLE folder DROP COLUMN deleted")
            # of before the machine was started again, when modseqs that were reserved are passed by
            mailbox.connection.execute("UPDATE meta SET value = 'other' WHERE name = 'boot'")
            mailbox.connection.execute("UPDATE folder SET reserved = highestmodseq + 1000")
            mailbox.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        octets = path.read_bytes()
        older = msgspec.structs.replace(
            manifest, octets=len(octets), sha256=hashlib.sha256(octets).hexdigest()
        )
        (self.folder / "backups" / manifest.manifest_name).write_bytes(encode_manifest(older))
        said = self.json("backup", "verify", ADDRESS, "--password", stdin=f"{self.password}\n")
        self.assertTrue(said["opened"])
        self.assertEqual(path.read_bytes(), octets)

    def test_verify_a_damaged_one(self) -> None:
        self.back_up()
        (manifest,) = self.manifests()
        self.damage(manifest)
        said = self.refused("backup", "verify", ADDRESS)
        self.assertIn(f"{manifest.name}: its octets are not those that were put there", said)
        (row,) = self.json("backup", "list")
        self.assertEqual(row["state"], "failed")
        self.assertIn("its octets", row["problem"])
        result = self.run_command("backup", "verify", "--all", "--json")
        self.assertEqual(result.exit_code, 1)
        self.assertFalse(json.loads(result.stdout)[0]["good"])
        # nothing has changed in the mailbox, and still another copy is made
        self.assertEqual(self.back_up()["outcome"], "taken")
        self.assertEqual(self.state(), "kept")
        self.assertIsNotNone(self.json("backup", "verify", ADDRESS))

    def test_verify_what_has_gone(self) -> None:
        self.back_up()
        (manifest,) = self.manifests()
        self.path_of(manifest).unlink()
        self.assertIn("only its manifest", self.refused("backup", "verify", ADDRESS))
        (self.folder / "backups" / manifest.manifest_name).unlink()
        self.assertIn("is not there any more", self.refused("backup", "verify", ADDRESS))
        self.assertEqual(self.back_up()["outcome"], "taken")

    def test_a_manifest_that_cannot_be_read(self) -> None:
        self.back_up()
        (manifest,) = self.manifests()
        (self.folder / "backups" / manifest.manifest_name).write_text("{}")
        result = self.run_command("backup", "list", ADDRESS)
        self.assertEqual(result.exit_code, 1)
        self.assertIn(manifest.manifest_name, result.stderr)

    def test_after_a_change_of_the_password(self) -> None:
        self.back_up()
        before = self.password
        self.password = self.json("password", ADDRESS, stdin=f"{before}\n")["password"]
        (row,) = self.json("backup", "list", ADDRESS)
        self.assertEqual(row["password"], "that of then")
        words = ("backup", "verify", ADDRESS, "--password")
        self.assertTrue(self.json(*words, stdin=f"{before}\n")["opened"])
        self.assertIn("does not open", self.refused(*words, stdin=f"{self.password}\n"))

    def test_what_to_verify(self) -> None:
        for words in ((), (ADDRESS, "--all"), ("--all", "--password")):
            self.assertEqual(self.run_command("backup", "verify", *words).exit_code, 2)
