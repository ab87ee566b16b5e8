"""The janitor erases what is due, and goes on with what could not be finished."""

import imaplib
import os
import smtplib
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailsrv.directory.directory import Directory
from mailsrv.service import erasing
from mailsrv.service.erasing import EraseService
from mailsrv.store.moving import Place
from mailsrv.store.volume import Volume
from tests.backup.erasure_scene import ADDRESS, OTHER, Scene, traces, waiting_files
from tests.faults.common import marked, now
from tests.running import RunningServer
from tests.waiting import eventually, until


class JanitorTests(TestCase):
    def setUp(self) -> None:
        self.scene = Scene(Path(self.mktemp()))
        self.scene.base.mkdir()
        self.scene.make()
        scene = self.scene.world()
        self.world = scene.__enter__()
        self.addCleanup(scene.__exit__, None, None, None)
        self.directory = self.world.directory
        self.gone = self.scene.ids(self.world, ADDRESS)
        self.kept = self.scene.files_of(self.scene.ids(self.world, OTHER))
        for name in ("LOOK_SECONDS", "FIRST_PAUSE"):
            self.patch(erasing, name, 0.02)
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "mailsrv.service.erasing":
            self.said.append(event["log_format"].format(**event))

    def start(self, grace: timedelta) -> EraseService:
        place = Place(self.directory, self.world.volume, waiting_files(self.world), "primary")
        service = EraseService(lambda: place, self.scene.stores, grace, now, reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def mark(self) -> None:
        self.directory.mark_deleted(self.gone[0])

    def is_gone(self) -> bool:
        known = [one.address for one in self.directory.aliases()]
        if ADDRESS in known or self.directory.erasures_of(self.gone[0]) or not self.said:
            return False
        return not traces(self.scene.base, [*self.gone, ADDRESS])

    async def test_what_is_due_at_the_start(self) -> None:
        self.mark()
        self.start(timedelta(0))
        await until(self.is_gone)
        backups = "11 objects of backups"
        self.assertEqual(
            self.said,
            [f"Erased of alias {self.gone[0]}: 2 mailboxes, 4 waiting messages, {backups}"],
        )
        kept = self.scene.files_of(self.scene.ids(self.world, OTHER))
        self.assertEqual(kept, self.kept)

    async def test_soon_after_a_command(self) -> None:
        self.start(timedelta(0))
        self.mark()
        await until(self.is_gone)

    async def test_not_before_its_time(self) -> None:
        self.patch(erasing, "FULL_LOOK_SECONDS", 0.05)
        looked = mock.Mock(side_effect=self.directory.due_erasures)
        self.patch(self.directory, "due_erasures", looked)
        self.start(timedelta(days=7))
        self.mark()
        seen = looked.call_count
        await until(lambda: looked.call_count > seen + 3)
        self.assertEqual(len(self.directory.aliases()), 2)
        self.assertEqual(self.said, [])

    async def test_what_a_killed_command_left(self) -> None:
        volume = self.world.volume
        left = volume.mailbox("0" * 24)
        lock = volume.mailboxes / f"{left.stem}.lock"
        self.patch(erasing, "FULL_LOOK_SECONDS", 0.05)
        service = self.start(timedelta(0))
        await until(lambda: service._revision is not None)
        for path in (left, lock):
            path.touch()
            os.utime(path, (0, 0))
        await until(lambda: not left.exists() and not lock.exists())
        kept = self.scene.files_of(self.scene.ids(self.world, OTHER))
        self.assertEqual(kept, self.kept)

    async def test_a_store_that_refuses_is_asked_again_and_again(self) -> None:
        self.scene.folder.refuses = {"remove"}
        self.mark()
        self.start(timedelta(0))
        await until(lambda: len(self.said) > 4)
        self.assertEqual(
            self.said[1],
            f"Alias {self.gone[0]} is not erased yet: backups: refuses to remove",
        )
        self.scene.folder.refuses = set()
        await until(self.is_gone)

    async def test_a_command_at_work_is_left_alone(self) -> None:
        service = self.start(timedelta(0))
        lock = self.world.volume.exclusive("erasing")
        with lock:
            self.mark()
            await until(lambda: service._revision is None)
            self.assertEqual(len(self.directory.aliases()), 2)
        await until(self.is_gone)

    async def test_what_nobody_expected_is_no_end(self) -> None:
        self.patch(self.directory, "due_erasures", mock.Mock(side_effect=ZeroDivisionError))
        self.start(timedelta(0))
        self.mark()
        await until(lambda: self.directory.due_erasures.call_count > 1)
        del self.directory.due_erasures
        await until(self.is_gone)

    async def test_a_stop_waits_for_what_is_under_way(self) -> None:
        service = self.start(timedelta(0))
        await until(lambda: service._revision is not None)
        stopped: Deferred[None] = service.stopService()
        await stopped
        self.mark()
        self.assertFalse(service._loop.running)


class RunningTests(SynchronousTestCase):
    """Over sockets, with a session that is open and mail that waits."""

    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.stop)
        self.password = self.server.add(ADDRESS)
        self.other = self.server.add(OTHER)
        self.server.start()
        self.directory = Directory(f"sqlite:///{self.server.folder}/directory.sqlite", now)
        self.addCleanup(self.directory.close)

    def send(self, mark: str, address: str = ADDRESS) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.sendmail("a@example.org", address, marked(mark))

    def login(self, password: str, address: str = ADDRESS) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=30)
        self.addCleanup(client.sock.close)
        client.login(address, password)
        return client

    def count(self, client: imaplib.IMAP4) -> int:
        return int(client.select()[1][0])

    def refused(self, address: str = ADDRESS) -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.ehlo()
            client.mail("a@example.org")
            return client.rcpt(address)

    def ended(self, client: imaplib.IMAP4) -> bool:
        try:
            client.noop()
        except (imaplib.IMAP4.abort, OSError):
            return True
        return False

    def back_up(self, alias: str) -> None:
        folder = self.server.folder / "backups" / "mailboxes" / alias / "copies"
        folder.mkdir(parents=True)
        (folder / f"20261123T101500Z-{'a' * 24}.sqlite").write_bytes(b"copy")

    def test_everything_at_once(self) -> None:
        alias = self.directory.alias(ADDRESS).id
        record = self.directory.mailbox(alias)
        self.send("waiting 1")
        self.send("kept", OTHER)
        session = self.login(self.password)
        self.assertEqual(self.count(session), 1)
        self.send("live")
        for one in (alias, self.directory.alias(OTHER).id):
            self.back_up(one)
        said = self.server.command("alias", "delete", ADDRESS, "--now", "--yes")
        self.assertTrue(said["erased"])
        self.assertEqual((said["mailboxes"]["files"], said["backups"][0]["files"]), (1, 1))
        self.assertEqual(self.refused()[0], 550)
        self.assertIn(b"5.1.1", self.refused()[1])
        self.assertTrue(eventually(lambda: self.ended(session)))
        self.assertRaises(imaplib.IMAP4.error, self.login, self.password)
        waiting = Volume(self.server.folder).waiting(record.public_key).name
        names = [alias, record.id, waiting, ADDRESS]
        self.assertTrue(eventually(lambda: not traces(self.server.folder, names)))
        self.assertTrue(eventually(lambda: not self.open_files(record.id)))
        new = self.server.command("alias", "add", ADDRESS)
        self.assertEqual(new["address"], ADDRESS)
        password = self.server.command("password", ADDRESS)["password"]
        self.assertEqual(self.count(self.login(password)), 0)
        self.assertEqual(self.count(self.login(self.other, OTHER)), 1)
        self.send("to the new one")
        self.assertEqual(self.count(self.login(password)), 1)
        self.assertNotIn("Traceback", self.server.log.read_text())
        self.assertNotIn("Unexpected", self.server.log.read_text())

    def test_grace(self) -> None:
        self.send("one")
        session = self.login(self.password)
        self.assertEqual(self.count(session), 1)
        said = self.server.command("alias", "delete", ADDRESS, "--yes")
        self.assertGreater(said["erased_after"], said["deleted"])
        self.assertTrue(eventually(lambda: self.ended(session)))
        self.assertEqual(self.refused()[0], 550)
        self.assertRaises(imaplib.IMAP4.error, self.login, self.password)
        self.server.command("alias", "undelete", ADDRESS)
        self.send("two")
        again = self.login(self.password)
        self.assertEqual(self.count(again), 2)
        again.logout()
        self.send("never read")
        said = self.server.command("alias", "delete", ADDRESS, "--now", "--yes")
        self.assertEqual(said["waiting"]["messages"], 1)
        self.assertEqual(list(self.server.folder.rglob("*.waiting.*")), [])

    def open_files(self, name: str) -> list[str]:
        assert self.server.process is not None
        links = Path(f"/proc/{self.server.process.pid}/fd").iterdir()
        return [one for one in (str(link.resolve()) for link in links) if name in one]
