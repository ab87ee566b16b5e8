"""Threads and processes at the same time, and processes killed in the middle."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mailsrv.directory.directory import Usage
from mailsrv.errors import MailboxMoved
from tests.directory.databases import DirectoryCase, OnNewPostgreSQL, OnPostgreSQL, OnSQLite
from tests.directory.worker import CREDENTIALS, switch_to

ROOT = Path(__file__).parents[2]
KILLS = 6


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run ``work(number)`` in threads that start together; return what they raised."""
    raised: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


class ConcurrencyTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias()

    def worker(self, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.directory.worker", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        def end() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def start_together(self, processes: "list[subprocess.Popen[str]]") -> list[str]:
        for process in processes:
            assert process.stdout
            self.assertEqual(process.stdout.readline(), "ready\n")
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate(timeout=30)[0].strip() for process in processes]

    def check_whole(self) -> str | None:
        """All that names the file must name the same one."""
        current = self.directory.mailbox(self.alias.id)
        credentials = self.directory.credentials(self.alias.id)
        parameters = self.directory.scram_parameters(self.alias.address)
        if current is None:
            self.assertEqual((credentials, parameters), ([], None))
            return None
        marker = bytes.fromhex(current.id)
        self.assertEqual(current.public_key, marker)
        self.assertEqual([one.label for one in credentials], [current.id] * CREDENTIALS)
        self.assertEqual({one.sealed_file_key for one in credentials}, {marker})
        self.assertEqual(parameters, (self.alias.id, marker, 1))
        self.assertNotIn(current.id, self.directory.discarded_mailboxes())
        return current.id

    def test_two_threads_switch_one_wins(self) -> None:
        old = "0" * 24
        switch_to(self.directory, self.alias.id, old, None)
        for turn in range(1, 11):
            names = [f"{turn:08}{number:016}" for number in range(2)]

            def switch(number: int, names: list[str] = names, old: str = old) -> None:
                switch_to(self.directory, self.alias.id, names[number], old)

            raised = in_threads(2, switch)
            self.assertEqual([type(error) for error in raised], [MailboxMoved])
            current = self.check_whole()
            self.assertIn(current, names)
            old = current or ""

    def test_two_processes_switch_one_wins(self) -> None:
        old = "0" * 24
        switch_to(self.directory, self.alias.id, old, None)
        answers = self.start_together(
            [self.worker("race", self.url, self.alias.id, old) for _ in range(2)]
        )
        self.assertEqual(answers.count("moved"), 1)
        self.assertIn(self.check_whole(), answers)

    def test_threads_count_usage(self) -> None:
        def add(number: int) -> None:
            for _ in range(25):
                self.directory.add_usage(self.alias.id, 10, 1)

        self.assertEqual(in_threads(4, add), [])
        self.assertEqual(self.directory.usage(self.alias.id), Usage(octets=1000, messages=100))

    def test_readers_see_whole_changes(self) -> None:
        switch_to(self.directory, self.alias.id, f"{0:024}", None)
        finished = threading.Event()

        def write() -> None:
            for turn in range(20):
                switch_to(self.directory, self.alias.id, f"{turn + 1:024}", f"{turn:024}")

        def work(number: int) -> None:
            if number == 0:
                try:
                    write()
                finally:
                    finished.set()
            while not finished.is_set():
                credentials = self.directory.credentials(self.alias.id)
                self.assertEqual(len({one.label for one in credentials}), 1)
                self.assertEqual(len(credentials), CREDENTIALS)

        self.assertEqual(in_threads(4, work), [])
        self.assertEqual(self.check_whole(), f"{20:024}")

    def test_revision_sees_other_processes(self) -> None:
        other = self.open()
        before = other.revision()
        self.directory.set_alias_enabled(self.alias.id, False)
        self.assertGreater(other.revision(), before)
        before = other.revision()
        with self.assertRaises(MailboxMoved):
            switch_to(self.directory, self.alias.id, "0" * 24, "1" * 24)
        self.assertEqual(other.revision(), before)

    def test_killed_while_switching(self) -> None:
        chance = random.Random(5)
        for _ in range(KILLS):
            process = self.worker("switch", self.url, self.alias.id)
            assert process.stdout
            first = process.stdout.readline().strip()
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            printed = [first, *process.communicate()[0].split()]
            current = self.check_whole()
            # the kill may fall between the commit and the line that tells of it
            self.assertTrue(current == printed[-1] or current not in printed)
            self.assertEqual(
                set(printed) - {current} - set(self.directory.discarded_mailboxes()), set()
            )


class MigrateTogetherTests(DirectoryCase):
    def setUp(self) -> None:
        self.url = self.new_url()

    worker = ConcurrencyTests.worker
    start_together = ConcurrencyTests.start_together

    def test_processes_migrate_together(self) -> None:
        answers = self.start_together([self.worker("migrate", self.url) for _ in range(3)])
        self.assertEqual(answers, ["0", "0", "0"])


class ConcurrencyOnSQLiteTests(ConcurrencyTests, OnSQLite):
    pass


class ConcurrencyOnPostgreSQLTests(ConcurrencyTests, OnPostgreSQL):
    pass


class MigrateTogetherOnSQLiteTests(MigrateTogetherTests, OnSQLite):
    pass


class MigrateTogetherOnPostgreSQLTests(MigrateTogetherTests, OnNewPostgreSQL):
    pass


del ConcurrencyTests, MigrateTogetherTests
