"""What every store of backups does: the same tests for each."""

import os
import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.errors import BackupStoreFailed, InvalidInput, NoSuchBackup, StorageFailed
from tests.backup.moto_service import SMALL_PART

NAMES = ("a", "a-b/c", "a.b", "a/b", "a/b-c", "a/b.json", "a/c/d", "mailboxes/1/x", "z")
TOO_MUCH = 1024


class StoreCases(SynchronousTestCase):
    """Not a test case by itself: ``make_store`` gives a store with nothing in it."""

    read_limit_in: str

    def make_store(self) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.store = self.make_store()

    def file(self, data: bytes, name: str = "source") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def got(self, name: str) -> bytes:
        path = self.folder / "got"
        self.store.get(name, path)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        data = path.read_bytes()
        path.unlink()
        return data

    def names(self, prefix: str = "") -> list[str]:
        return [found.name for found in self.store.list(prefix)]

    def test_interface(self) -> None:
        verifyObject(IObjectStore, self.store)

    def test_what_is_put_comes_back(self) -> None:
        for octets in (0, 1, SMALL_PART, SMALL_PART + 1, 3 * SMALL_PART, 4 * SMALL_PART - 1):
            data = random.randbytes(octets)
            self.store.put("mailboxes/x.sqlite", self.file(data))
            self.assertEqual(self.got("mailboxes/x.sqlite"), data)
            (found,) = self.store.list("mailboxes/")
            self.assertEqual((found.name, found.octets), ("mailboxes/x.sqlite", octets))

    def test_small_objects_in_memory(self) -> None:
        self.store.write("a/x.json", b"one")
        self.assertEqual(self.store.read("a/x.json"), b"one")
        self.store.write("a/x.json", b"")
        self.assertEqual(self.store.read("a/x.json"), b"")
        self.store.put("a/x.json", self.file(b"file"))
        self.assertEqual(self.store.read("a/x.json"), b"file")

    def test_what_is_too_much_is_not_read(self) -> None:
        with mock.patch(self.read_limit_in, TOO_MUCH):
            self.store.write("a", bytes(TOO_MUCH))
            self.assertEqual(self.store.read("a"), bytes(TOO_MUCH))
            self.store.write("a", bytes(TOO_MUCH + 1))
            with self.assertRaises(BackupStoreFailed):
                self.store.read("a")

    def test_time(self) -> None:
        # to the second, up or down as the store likes
        before = datetime.now(UTC) - timedelta(seconds=1)
        self.store.write("a", b"")
        (found,) = self.store.list("")
        at = datetime.strptime(found.modified, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        self.assertTrue(before <= at <= datetime.now(UTC) + timedelta(seconds=1))

    def test_missing(self) -> None:
        self.store.write("a/b", b"x")
        for name in ("b", "a/c", "a/b/c", "a"):
            with self.assertRaises(NoSuchBackup):
                self.store.read(name)
            with self.assertRaises(NoSuchBackup):
                self.store.get(name, self.folder / "got")
            self.assertEqual(os.listdir(self.folder), [])

    def test_files_that_are_there_are_left_alone(self) -> None:
        self.store.write("a", b"x")
        path = self.file(b"mine", "got")
        with self.assertRaises(StorageFailed):
            self.store.get("a", path)
        self.assertEqual(path.read_bytes(), b"mine")

    def test_source_that_is_missing(self) -> None:
        with self.assertRaisesRegex(StorageFailed, "none"):
            self.store.put("a", self.folder / "none")
        self.assertEqual(self.names(), [])

    def test_list_by_name(self) -> None:
        for name in random.sample(NAMES, len(NAMES)):
            self.store.write(name if name != "a" else "a0", name.encode())
        self.store.remove(["a0"])
        rest = list(NAMES[1:])
        self.assertEqual(self.names(), rest)
        for prefix in ("a", "a/", "a/b", "a/b-", "a/c", "a/c/", "a-", "z", "zz", "no/such/"):
            expected = [name for name in rest if name.startswith(prefix)]
            self.assertEqual(self.names(prefix), expected, prefix)

    def test_remove(self) -> None:
        self.assertEqual(self.store.remove([]), 0)
        for name in ("a/b", "a/c", "d"):
            self.store.write(name, b"x")
        self.assertEqual(self.store.remove(["a/b", "d"]), 2)
        self.store.remove(["a/b", "no/such", "a/c/d"])
        self.assertEqual(self.names(), ["a/c"])
        self.store.remove(name for name in ("a/c",))
        self.assertEqual(self.names(), [])

    def test_names_that_lead_out(self) -> None:
        bad = ("", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", ".a", "a\0", "a b",
               "\u00e4", "a\n", "a/.b.part", "x" * 513, "a\\b", "-x")  # fmt: skip
        for name in bad:
            for call in (
                lambda name: self.store.put(name, self.file(b"x")),
                lambda name: self.store.write(name, b"x"),
                lambda name: self.store.get(name, self.folder / "got"),
                self.store.read,
                lambda name: self.store.remove([name]),
            ):
                with self.assertRaises(InvalidInput):
                    call(name)
        for prefix in ("..", "../", "/", "a/../", "a//", "./"):
            with self.assertRaises(InvalidInput):
                list(self.store.list(prefix))
        self.assertFalse((self.folder / "got").exists())

    def test_several_at_once(self) -> None:
        problems: list[BaseException] = []

        def work(number: int) -> None:
            try:
                data = random.Random(number).randbytes(SMALL_PART * 2)
                source = self.file(data, f"source-{number}")
                for turn in range(3):
                    self.store.put(f"a/{number}/{turn}", source)
                    self.store.get(f"a/{number}/{turn}", self.folder / f"got-{number}-{turn}")
                    self.assertEqual((self.folder / f"got-{number}-{turn}").read_bytes(), data)
                    self.store.remove([f"a/{number}/{turn}"])
            except BaseException as problem:  # noqa: BLE001
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.assertEqual(self.names(), [])

    def test_a_writer_and_readers_of_one_name(self) -> None:
        """A reader finds one of the objects that were there, never a mixture."""
        versions = [bytes([number]) * SMALL_PART for number in range(5)]
        self.store.write("a", versions[0])

        def write() -> None:
            for version in versions:
                self.store.write("a", version)

        writer = threading.Thread(target=write)
        writer.start()
        while writer.is_alive():
            self.assertIn(self.store.read("a"), versions)
        writer.join()
        self.assertEqual(self.store.read("a"), versions[-1])

    def test_tidy_touches_no_object(self) -> None:
        self.store.write("a/b", b"x")
        self.assertEqual(self.store.tidy(datetime.now(UTC) + timedelta(days=2)), 0)
        self.assertEqual(self.names(), ["a/b"])

    def test_like_a_dictionary(self) -> None:
        names = st.sampled_from(["a", "b/a", "b/c/d", "b-c", "b.c/x"])
        kinds = st.sampled_from(["put", "write", "remove", "read", "list"])
        steps = st.lists(st.tuples(kinds, names, st.binary(max_size=50)), max_size=12)

        @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(steps)
        def holds(steps: list[tuple[str, str, bytes]]) -> None:
            self.store.remove(self.names())
            model: dict[str, bytes] = {}
            for step in steps:
                self.do(model, *step)

        holds()

    def do(self, model: dict[str, bytes], what: str, name: str, data: bytes) -> None:
        """The same to the store and to a dictionary that tells what must be there."""
        if what == "put":
            self.store.put(name, self.file(data))
            model[name] = data
        elif what == "write":
            self.store.write(name, data)
            model[name] = data
        elif what == "remove":
            self.store.remove([name])
            model.pop(name, None)
        elif what == "list":
            expected = sorted(key for key in model if key.startswith(name))
            self.assertEqual(self.names(name), expected)
        elif name in model:
            self.assertEqual(self.store.read(name), model[name])
        else:
            with self.assertRaises(NoSuchBackup):
                self.store.read(name)
