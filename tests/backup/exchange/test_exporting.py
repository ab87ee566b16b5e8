"""Taking mail away, and that nothing of it is lost: the exports of what came back are equal."""

import mailbox as library
import os

from mailsrv.backup.exchange import exporting
from mailsrv.backup.exchange.exporting import PARTIAL
from mailsrv.backup.exchange.formats.index import MANIFEST
from mailsrv.errors import InvalidInput, MailboxBusy, StorageFailed
from mailsrv.mailbox.values import Flags, NewMessage, StoreFlags
from tests.backup.exchange.boxes import FORMATS, BoxCase, Cut, CutAfter, held


class RoundTripTests(BoxCase):
    def test_exports_of_what_came_back_are_equal(self) -> None:
        mine = self.filled()
        for form in FORMATS:
            done = self.export(mine, form, form)
            other = self.box(form)
            came = self.bring(other, form)
            self.assertEqual((came.messages, came.known), (done.messages, 0), form)
            self.assertEqual(came.left, 0, came.told)
            self.assertEqual(held(other.mailbox), held(mine.mailbox), form)
            for again in FORMATS:
                self.export(other, again, f"{form}-{again}")
            self.assert_equal_trees(form, f"{form}-{form}")
        for form in FORMATS:
            for again in FORMATS:
                self.assert_equal_trees(f"{form}-{again}", again)

    def test_folders_uses_and_subscriptions(self) -> None:
        mine = self.filled()
        self.export(mine, "mbox", "out")
        other = self.box("other")
        self.bring(other, "out")

        def told(one: object) -> list[tuple[str, str | None, bool]]:
            return [(f.name, f.special_use, f.subscribed) for f in one.mailbox.folders()]

        self.assertEqual(told(other), told(mine))
        self.assertEqual(other.mailbox.subscriptions(), mine.mailbox.subscriptions())

    def test_nobody_else_may_read(self) -> None:
        mine = self.filled()
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        for form in FORMATS:
            self.export(mine, form, form)
            for path in (self.base / form, *(self.base / form).rglob("*")):
                mode = 0o700 if path.is_dir() else 0o600
                self.assertEqual(path.stat().st_mode & 0o777, mode, path)

    def test_an_empty_mailbox(self) -> None:
        mine = self.box()
        for form in FORMATS:
            self.assertEqual(self.export(mine, form, form).messages, 0)
            other = self.box(form)
            self.assertEqual(self.bring(other, form).messages, 0)
            self.export(other, form, f"{form}-again")
            self.assert_equal_trees(form, f"{form}-again")


class OtherProgramsTests(BoxCase):
    """What the library of Python sees, which knows nothing of our indexes."""

    def test_mbox(self) -> None:
        mine = self.box()
        text = b"Subject: s\r\n\r\nFrom the start\r\n"
        new = [
            NewMessage(text, Flags(1 | 4, "todo"), "2026-11-23T10:15:00Z"),
            NewMessage(b"From: x@example.org\r\n\r\nno end", Flags(2 | 8 | 16)),
        ]
        mine.mailbox.append("INBOX", new)
        self.export(mine, "mbox", "out")
        theirs = library.mbox(str(self.base / "out" / "INBOX.mbox"), create=False)
        self.addCleanup(theirs.close)
        first, second = theirs
        self.assertEqual(first.get_flags(), "ROF")
        self.assertEqual(first["X-Keywords"], "todo")
        self.assertEqual(first.get_from(), "MAILER-DAEMON Mon Nov 23 10:15:00 2026")
        self.assertEqual(first.get_payload(), ">From the start\n")
        self.assertEqual(second.get_flags(), "OADT")
        self.assertIn("x@example.org ", second.get_from())

    def test_maildir(self) -> None:
        mine = self.box()
        mine.mailbox.create_folder("Wörk/Sub")
        new = [NewMessage(b"Subject: s\r\n\r\nhello\r\n", Flags(1 | 4), "2026-11-23T10:15:00Z")]
        mine.mailbox.append("Wörk/Sub", new)
        self.export(mine, "maildir", "out")
        theirs = library.Maildir(str(self.base / "out"), create=False)
        self.assertEqual(len(theirs), 0)
        self.assertIn("W&APY-rk.Sub", theirs.list_folders())
        (one,) = theirs.get_folder("W&APY-rk.Sub")
        self.assertEqual((one.get_flags(), one.get_payload()), ("FS", "hello\n"))
        self.assertEqual(one.get_date(), 1795428900.0)


class ResumingTests(BoxCase):
    def test_cut_anywhere(self) -> None:
        self.patch_checkpoints(3)
        mine = self.filled()
        total = mine.mailbox.usage().messages
        for form in FORMATS:
            self.export(mine, form, form)
            for cut in (0, 1, 17, total - 1):
                name = f"{form}-{cut}"
                self.assertRaises(Cut, self.export, mine, form, name, CutAfter(cut))
                self.assertFalse((self.base / name / MANIFEST).exists())
                if cut < total // 2:
                    self.assertRaises(Cut, self.export, mine, form, name, CutAfter(4))
                done = self.export(mine, form, name)
                self.assertEqual(done.messages, total)
                self.assert_equal_trees(name, form)

    def patch_checkpoints(self, messages: int) -> None:
        self.patch(exporting, "MESSAGES_AT_ONCE", messages)

    def test_what_is_done_is_not_done_again(self) -> None:
        self.patch_checkpoints(3)
        mine = self.filled()
        total = mine.mailbox.usage().messages
        self.assertRaises(Cut, self.export, mine, "mbox", "out", CutAfter(total - 1))
        seen: list[int] = []
        self.export(mine, "mbox", "out", lambda _folder, messages, _octets: seen.append(messages))
        self.assertLess(len(seen), total // 2)
        self.assertEqual(seen[-1], total)

    def test_what_changed_meanwhile(self) -> None:
        self.patch_checkpoints(3)
        for form in FORMATS:
            mine = self.filled(form)
            box = mine.mailbox
            total = box.usage().messages
            self.assertRaises(Cut, self.export, mine, form, f"{form}-cut", CutAfter(total - 2))
            inbox = box.folders()[0]
            box.store_flags(inbox.id, StoreFlags(((1, 3),), "add", Flags(8, "later")))
            box.expunge(inbox.id, ((1, 3),))
            box.append("work", [NewMessage(b"new")])
            box.delete_folder("con")
            box.rename_folder("Work", "Moved")
            self.export(mine, form, f"{form}-cut")
            self.export(mine, form, form)
            self.assert_equal_trees(f"{form}-cut", form)

    def test_writes_nowhere_else(self) -> None:
        mine = self.box()
        (self.base / "full").mkdir()
        (self.base / "full" / "letter").write_text("mine")
        error = self.assertRaises(InvalidInput, self.export, mine, "mbox", "full")
        self.assertIn("expected an empty directory", str(error))
        self.assertEqual([p.name for p in (self.base / "full").iterdir()], ["letter"])
        self.export(mine, "mbox", "out")
        error = self.assertRaises(InvalidInput, self.export, mine, "mbox", "out")
        self.assertIn("complete", str(error))
        self.assertRaises(Cut, self.export, self.filled("b"), "eml", "cut", CutAfter(1))
        error = self.assertRaises(InvalidInput, self.export, mine, "mbox", "cut")
        self.assertIn("--format eml", str(error))
        error = self.assertRaises(InvalidInput, self.bring, mine, "cut")
        self.assertIn("cut short", str(error))

    def test_killed_at_the_very_end(self) -> None:
        mine = self.filled()
        self.export(mine, "eml", "out")
        (self.base / "out" / PARTIAL).write_text("{}")
        error = self.assertRaises(InvalidInput, self.export, mine, "eml", "out")
        self.assertIn("complete", str(error))
        self.export(mine, "eml", "other")
        self.assert_equal_trees("out", "other")

    def test_one_at_a_time(self) -> None:
        mine = self.filled()

        def meanwhile(*_: object) -> None:
            self.assertRaises(MailboxBusy, self.export, other, "mbox", "out")

        other = self.box("other")
        self.export(mine, "mbox", "out", meanwhile)

    def test_a_link_leads_nowhere(self) -> None:
        mine = self.filled()
        self.assertRaises(Cut, self.export, mine, "eml", "out", CutAfter(2))
        (self.base / "else").write_bytes(b"")
        first = self.base / "out" / "INBOX" / "00000001.eml"
        first.unlink()
        first.symlink_to(self.base / "else")
        self.assertRaises(StorageFailed, self.export, mine, "eml", "out")
        self.assertEqual((self.base / "else").read_bytes(), b"")
        self.assertTrue((self.base / "out" / PARTIAL).exists())
