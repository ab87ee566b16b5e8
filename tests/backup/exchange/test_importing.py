"""Bringing mail in: nothing twice and nothing missing, however often it was cut short."""

from collections.abc import Iterator, Sequence
from typing import Any

from mailsrv.backup.exchange import importing
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.backup.exchange.importing import our_name
from mailsrv.backup.exchange.opening import MailboxSource, is_mailbox
from mailsrv.errors import BackupDamaged, InvalidInput, MailboxMoved, OverQuota
from mailsrv.mailbox.incoming import marked
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.outgoing import open_copy
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.mailbox.values import ALL_UIDS, DELETED, Flags, NewMessage, StoreFlags
from tests.backup.exchange.boxes import FORMATS, LARGEST, MESSAGES, BoxCase, Cut, CutAfter, held
from tests.store.world import now

DATE = "2026-11-23T10:15:00Z"


class Given:
    """A source of what a test says."""

    def __init__(
        self, *found: Found | Skipped, folders: Sequence[MailFolder] = (), whole: bool = False
    ) -> None:
        self._found, self._folders, self.whole = found, folders, whole

    def folders(self) -> Sequence[MailFolder]:
        return self._folders

    def subscriptions(self) -> Sequence[str]:
        return ()

    def messages(self) -> Iterator[Found | Skipped]:
        yield from self._found

    def close(self) -> None:
        pass


def found(content: bytes, folder: str = "INBOX", **more: Any) -> Found:
    return Found(folder, Mail(content, Flags(), DATE), **more)


class ResumingTests(BoxCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(importing, "MESSAGES_AT_ONCE", 7)

    def test_cut_anywhere(self) -> None:
        mine = self.filled()
        total = mine.mailbox.usage().messages
        for form, cut in zip(FORMATS, (1, 16, total - 1), strict=True):
            self.export(mine, form, form)
            other = self.box(form)
            self.assertRaises(Cut, self.bring, other, form, CutAfter(cut))
            self.assertRaises(Cut, self.bring, other, form, CutAfter(cut // 2))
            came = self.bring(other, form)
            self.assertEqual(came.messages + came.known, total)
            self.assertEqual(held(other.mailbox), held(mine.mailbox))
            self.export(other, form, f"{form}-again")
            self.assert_equal_trees(form, f"{form}-again")

    def test_again_brings_nothing(self) -> None:
        mine = self.filled()
        before = held(mine.mailbox)
        for form in FORMATS:
            self.export(mine, form, form)
            came = self.bring(mine, form)
            self.assertEqual((came.messages, came.known), (0, mine.mailbox.usage().messages))
            self.assertEqual(held(mine.mailbox), before)

    def test_what_was_deleted_comes_back(self) -> None:
        mine = self.filled()
        before = held(mine.mailbox)
        self.export(mine, "mbox", "out")
        box = mine.mailbox
        box.delete_folder("work")
        inbox = box.folders()[0]
        box.store_flags(inbox.id, StoreFlags(((2, 5),), "add", Flags(8)))
        gone = len(box.expunge(inbox.id, ALL_UIDS).uids)
        self.assertGreater(gone, 0)
        self.bring(mine, "out")
        self.assertEqual(held(box), before)

    def test_what_a_killed_run_did_not_count(self) -> None:
        mine = self.box()
        mine.mailbox.append("INBOX", [NewMessage(b"one", Flags(), DATE)])
        self.bring(mine, Given(found(b"one")))
        self.assertEqual(self.world.directory.usage(mine.alias.id).octets, 3)

    def test_usage_is_known_at_the_end(self) -> None:
        mine = self.filled()
        self.export(mine, "eml", "out")
        other = self.box("other")
        self.bring(other, "out")
        usage = self.world.directory.usage(other.opened.alias)
        self.assertEqual((usage.octets, usage.messages), vars_of(mine.mailbox.usage()))
        self.assertIn(other.opened.alias, self.world.directory.touched([other.opened.alias]))


def vars_of(usage: Any) -> tuple[int, int]:
    return usage.octets, usage.messages


class LimitsTests(BoxCase):
    def test_quota(self) -> None:
        mine = self.box(quota=1000)
        source = Given(*(found(b"%0300d" % number) for number in range(5)))
        error = self.assertRaises(OverQuota, self.bring, mine, source)
        self.assertIn("3 messages came", str(error))
        self.assertEqual(mine.mailbox.usage().messages, 3)
        self.assertEqual(self.world.directory.usage(mine.alias.id).octets, 900)
        self.world.directory.set_quota("alias", mine.alias.id, None)
        self.assertEqual(self.bring(mine, source).messages, 2)
        self.assertEqual(mine.mailbox.usage().messages, 5)

    def test_what_was_expunged_makes_room(self) -> None:
        mine = self.box(quota=1000)
        appended = mine.mailbox.append("INBOX", [NewMessage(b"%0300d" % 9, Flags(DELETED))] * 3)
        mine.mailbox.expunge(appended.folder_id, ALL_UIDS)
        mine.usages.measure(mine.alias.id, mine.mailbox)
        mine.usages.flush()
        self.assertEqual(mine.mailbox.usage().recoverable, 900)
        came = self.bring(mine, Given(*(found(b"%0300d" % number) for number in range(2))))
        self.assertEqual(came.messages, 2)
        self.assertEqual(self.world.directory.usage(mine.alias.id).octets, 900)

    def test_quota_counts_only_what_is_new(self) -> None:
        mine = self.box(quota=1000)
        source = Given(*(found(b"%0300d" % number) for number in range(3)))
        self.bring(mine, source)
        came = self.bring(mine, source)
        self.assertEqual((came.messages, came.known), (0, 3))

    def test_too_large(self) -> None:
        mine = self.box()
        came = self.bring(mine, Given(found(b"x" * (LARGEST + 1)), found(b"small")))
        self.assertEqual((came.messages, came.left), (1, 1))
        self.assertIn(f"larger than {LARGEST}", came.told[0].what)

    def test_too_large_in_each_format(self) -> None:
        mine = self.box()
        mine.mailbox.append("INBOX", [NewMessage(b"x" * (LARGEST + 1)), NewMessage(b"small")])
        for form in FORMATS:
            self.export(mine, form, form)
            other = self.box(form)
            came = self.bring(other, form)
            self.assertEqual((came.messages, came.left), (1, 1), came.told)

    def test_a_thousand_keywords(self) -> None:
        mine = self.box()
        new = [
            Found("INBOX", Mail(b"%d" % number, Flags(1, f"k{number}"), DATE))
            for number in range(1001)
        ]
        came = self.bring(mine, Given(*new))
        self.assertEqual(came.messages, 1001)
        self.assertIn("without keywords", came.told[-1].what)

    def test_a_mark_goes_with_its_messages(self) -> None:
        mine = self.box(quota=700)
        source = Given(*(found(b"%0300d" % n, mark=("m", n)) for n in range(1, 4)))
        self.assertRaises(OverQuota, self.bring, mine, source)
        self.assertEqual(marked(mine.mailbox, "m"), 0)
        self.world.directory.set_quota("alias", mine.alias.id, None)
        self.bring(mine, source)
        self.assertEqual(marked(mine.mailbox, "m"), 3)
        self.assertEqual(mine.mailbox.usage().messages, 3)

    def test_after_a_password_change(self) -> None:
        mine = self.filled()
        self.export(mine, "mbox", "out")
        other = self.box("other")
        self.patch(importing, "MESSAGES_AT_ONCE", 7)
        changed: list[object] = []

        def meanwhile(_folder: str, messages: int, _octets: int) -> None:
            if messages == 20:
                lifecycle = self.world.lifecycle
                changed.append(lifecycle.start_over("other@example.com"))

        self.assertRaises(MailboxMoved, self.bring, other, "out", meanwhile)
        self.assertEqual(len(changed), 1)


class FoldersTests(BoxCase):
    def uses(self, mailbox: Mailbox) -> dict[str, str | None]:
        return {one.name: one.special_use for one in mailbox.folders()}

    def test_one_use_one_folder_in_a_new_mailbox(self) -> None:
        mine = self.box()
        folders = [MailFolder("Gesendet", "\\Sent"), MailFolder("Other", "\\Flagged")]
        self.bring(mine, Given(folders=folders))
        uses = self.uses(mine.mailbox)
        self.assertNotIn("Sent", uses)
        self.assertEqual((uses["Gesendet"], uses["Other"]), ("\\Sent", None))
        self.assertEqual(uses["Trash"], "\\Trash")

    def test_a_mailbox_in_use_keeps_its_folders(self) -> None:
        mine = self.box()
        mine.mailbox.append("INBOX", [NewMessage(b"one")])
        folders = [MailFolder("Gesendet", "\\Sent"), MailFolder("Trash", None, subscribed=False)]
        self.bring(mine, Given(folders=folders, whole=True))
        uses = self.uses(mine.mailbox)
        self.assertEqual((uses["Gesendet"], uses["Sent"]), ("\\Sent", "\\Sent"))
        self.assertEqual(uses["Trash"], "\\Trash")
        self.assertIn("Trash", mine.mailbox.subscriptions())

    def test_names_that_are_none_here(self) -> None:
        mine = self.box()
        names = ["a//b", "\x07bell", "/", "/".join("x" * 120), "y" * 3000, "inbox/Sub", "e\u0301"]
        came = self.bring(mine, Given(*(found(b"%d" % n, name) for n, name in enumerate(names))))
        self.assertEqual(came.messages, len(names))
        self.assertEqual(len(came.told), len(names) - 1)
        self.assertEqual(
            [our_name(one) for one in (names[0], names[1], names[2], names[5], names[6])],
            ["a/b", "_bell", "_", "INBOX/Sub", "\xe9"],
        )
        self.assertEqual(our_name(names[3]).count("/"), 99)
        self.assertLessEqual(len(our_name(names[4])), 1000)

    def test_a_folder_that_shows_all(self) -> None:
        mine = self.box()
        everywhere = [found(content, "All", unless_known=True) for content in MESSAGES[:4]]
        self.bring(mine, Given(*(found(one) for one in MESSAGES[:2]), *everywhere))
        self.assertEqual(
            {name: sum(c.values()) for name, c in held(mine.mailbox).items() if c},
            {"INBOX": 2, "All": 2},
        )


class DamageTests(BoxCase):
    """An export that somebody changed is read as far as it can be, and what is not so is told."""

    def exported(self, form: Any) -> None:
        mine = self.box()
        new = [NewMessage(b"Subject: %d\r\n\r\ntext\r\n" % n, Flags(1)) for n in range(3)]
        mine.mailbox.append("INBOX", new)
        self.export(mine, form, form)

    def test_a_message_is_gone(self) -> None:
        self.exported("maildir")
        (path,) = (self.base / "maildir" / "cur").glob("*M00000002*")
        path.unlink()
        other = self.box("other")
        came = self.bring(other, "maildir")
        self.assertEqual((came.messages, came.left), (2, 1))
        self.assertIn("removed", came.told[0].what)

    def test_a_mail_program_used_the_maildir(self) -> None:
        self.exported("maildir")
        cur = self.base / "maildir" / "cur"
        (path,) = cur.glob("*M00000002*")
        path.rename(path.with_name(path.name.replace(":2,S", ":2,FRS")))
        (cur / "1.new:2,S").write_bytes(b"Subject: new\n\nhello\n")
        other = self.box("other")
        came = self.bring(other, "maildir")
        self.assertEqual((came.messages, came.left), (4, 0))
        flags = sorted(flags for _, flags, _, _ in held(other.mailbox)["INBOX"].elements())
        self.assertEqual(flags, [1, 1, 1, 7])

    def test_a_mail_program_wrote_the_mbox(self) -> None:
        self.exported("mbox")
        path = self.base / "mbox" / "INBOX.mbox"
        path.write_bytes(path.read_bytes().replace(b"Status: RO", b"Status: RO\nX-Status: F", 1))
        other = self.box("other")
        came = self.bring(other, "mbox")
        self.assertEqual((came.messages, came.left), (3, 1))
        self.assertIn("without its index", came.told[0].what)
        flags = sorted(flags for _, flags, _, _ in held(other.mailbox)["INBOX"].elements())
        self.assertEqual(flags, [1, 1, 5])

    def test_octets_that_changed_are_told(self) -> None:
        self.exported("eml")
        path = self.base / "eml" / "INBOX" / "00000001.eml"
        path.write_bytes(path.read_bytes().replace(b"text", b"TEXT"))
        came = self.bring(self.box("other"), "eml")
        self.assertEqual((came.messages, came.left), (3, 1))
        self.assertIn("not what was exported", came.told[0].what)

    def test_a_manifest_that_leads_elsewhere(self) -> None:
        for form, path in (("eml", "../secret"), ("mbox", "a/../../b"), ("maildir", "..")):
            mine = self.box(form)
            self.export(mine, form, form)
            manifest = self.base / form / "mailsrv-export.json"
            text = manifest.read_text()
            was = '"path": ""' if form == "maildir" else '"path": "INBOX"'
            self.assertIn(was, text)
            manifest.write_text(text.replace(was, f'"path": "{path}"'))
            self.assertRaises(BackupDamaged, self.bring, mine, form)

    def test_a_link_in_an_export(self) -> None:
        outside = self.base / "outside"
        outside.mkdir()
        (outside / "00000001.eml").write_bytes(b"Subject: secret\r\n\r\n")
        other = self.box("other")
        for form, name in (("eml", "INBOX"), ("maildir", "cur"), ("mbox", "INBOX.mbox")):
            mine = self.box(form)
            mine.mailbox.append("INBOX", [NewMessage(b"x")])
            self.export(mine, form, form)
            path = self.base / form / name
            path.rename(outside / name)
            path.symlink_to((outside / name).absolute())
            self.assertRaises(BackupDamaged, self.bring, other, form)
        self.assertEqual(other.mailbox.usage().messages, 0)

    def test_an_index_that_lies(self) -> None:
        for number, (form, was, now_) in enumerate(
            (
                ("mbox", '"offset":', '"offset":-'),
                ("mbox", '"stored":', '"stored":99999999999999999999'),
                ("eml", "00000001.eml", "../../x"),
                ("eml", "00000001.eml", "a\\u0000b"),
                ("eml", "{", "{" + " " * 2_000_000),
            )
        ):
            mine = self.box(f"box{number}")
            mine.mailbox.append("INBOX", [NewMessage(b"x")])
            self.export(mine, form, f"{number}")
            indexes = (self.base / f"{number}").rglob("*.jsonl")
            index = next(one for one in indexes if one.stat().st_size)
            index.write_text(index.read_text().replace(was, now_, 1))
            other = self.box(f"other{number}")
            if form == "mbox":  # read as any mbox file
                self.assertEqual(self.bring(other, f"{number}").messages, 1)
            else:
                self.assertRaises(BackupDamaged, self.bring, other, f"{number}")

    def test_keywords_of_an_index_are_no_more_than_keywords(self) -> None:
        mine = self.box()
        mine.mailbox.append("INBOX", [NewMessage(b"x", Flags(0, "todo"))])
        self.export(mine, "eml", "out")
        index = self.base / "out" / "INBOX" / "index.jsonl"
        index.write_text(index.read_text().replace('"todo"', '"a) b\\r\\n* BYE"'))
        other = self.box("other")
        self.bring(other, "out")
        ((_, _, keywords, _),) = held(other.mailbox)["INBOX"]
        self.assertEqual(keywords, "a_b_BYE")

    def test_no_source(self) -> None:
        mine = self.box()
        (self.base / "empty").mkdir()
        (self.base / "text").write_text("hello")
        for name in ("empty", "text", "missing"):
            self.assertRaises(InvalidInput, self.bring, mine, name)


class MailboxFileTests(BoxCase):
    def test_a_backup_is_a_source_and_stays_as_it_is(self) -> None:
        mine = self.filled()
        path = self.base / ("b" * 24 + ".sqlite")
        copy_under_new_key(mine.mailbox, path, mine.opened.key)
        self.assertTrue(is_mailbox(path))
        before = path.read_bytes()
        source = MailboxSource(open_copy(path, mine.opened.key, now))
        other = self.box("other")
        self.bring(other, source)
        source.close()
        self.assertEqual(held(other.mailbox), held(mine.mailbox))
        self.assertEqual(path.read_bytes(), before)
        self.assertEqual([p.name for p in self.base.glob("b*")], [path.name])
        self.export(mine, "mbox", "one")
        self.export(other, "mbox", "two")
        self.assert_equal_trees("one", "two")


class WaitingMailTests(BoxCase):
    def test_it_comes_along_and_comes_once(self) -> None:
        from mailsrv.store.secret import ServerSecret
        from mailsrv.store.values import Delivery
        from mailsrv.store.waiting import WaitingFiles

        mine = self.box()
        files = WaitingFiles(self.world.volume, ServerSecret(self.world.volume.server_key()))
        _, public_key = mine.mailbox.keys()
        content = b"Subject: sealed\r\n\r\nhello\r\n"
        deliveries = [Delivery(content, f"id-{number}", DATE) for number in range(120)]
        files.add(public_key, mine.alias.id, deliveries)
        files.close(public_key)
        self.assertEqual(mine.bring_in_waiting(), 120)
        self.assertEqual(mine.bring_in_waiting(), 120)
        self.assertEqual(mine.mailbox.usage().messages, 120)
        self.assertTrue(files.exist(public_key))
