"""Mail as other programs keep it."""

import errno
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.exchange.formats.gmail import folder_and_flags
from mailsrv.backup.exchange.formats.values import Found, Skipped
from mailsrv.backup.exchange.opening import open_source
from mailsrv.mailbox.values import Flags

LARGEST = 10_000


class SourceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def put(self, name: str, content: bytes, modified: int | None = None) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if modified is not None:
            os.utime(path, (modified, modified))
        return path

    def read(self, name: str = "") -> list[tuple[str, bytes, Flags, str]]:
        return [
            (one.folder, one.mail.content, one.mail.flags, one.mail.date)
            for one in open_source(self.root / name, LARGEST).messages()
            if isinstance(one, Found)
        ]

    def skipped(self, name: str = "") -> list[Skipped]:
        found: Any = open_source(self.root / name, LARGEST).messages()
        return [one for one in found if isinstance(one, Skipped)]

    def folders(self) -> list[str]:
        return [one.name for one in open_source(self.root, LARGEST).folders()]


class HostileTreeTests(SourceCase):
    """Links, pipes and what may not be read are told, and nothing of them comes."""

    def setUp(self) -> None:
        super().setUp()
        self.outside = Path(self.mktemp())
        self.outside.mkdir()
        text = b"From a@b Mon Nov 23 10:15:00 2026\nSubject: secret\n\n"
        for name in ("cur/1:2,S", "new/2", "x.eml", "x.mbox"):
            path = self.outside / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text)

    def link(self, name: str, target: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to((self.outside / target).absolute())

    def only_told(self, *names: str) -> None:
        self.assertEqual(
            [content for _, content, _, _ in self.read()], [b"Subject: mine\r\n\r\nx\r\n"]
        )
        told = "\n".join(one.what for one in self.skipped())
        for name in names:
            self.assertRegex(told, f"(?m)^{name} is (a link|neither)")

    def test_maildir(self) -> None:
        self.put("cur/1:2,S", b"Subject: mine\n\nx\n")
        self.put("new/.keep", b"")
        self.put(".Sub/new/.keep", b"")
        self.link("cur/2:2,S", "cur/1:2,S")
        self.link(".Linked")
        self.link("Nested")
        self.link(".Sub/cur", "cur")
        self.link("dovecot-keywords", "x.eml")
        os.mkfifo(self.root / "cur" / "3:2,S")
        os.mkfifo(self.root / "subscriptions")
        self.only_told("2:2,S", "3:2,S", ".Linked", "Nested")

    def test_mbox(self) -> None:
        self.put("mine.mbox", b"From a@b Mon Nov 23 10:15:00 2026\nSubject: mine\n\nx\n")
        self.link("linked.mbox", "x.mbox")
        self.link("folder")
        self.link("Apple.mbox/mbox", "x.mbox")
        os.mkfifo(self.root / "pipe")
        self.only_told("linked.mbox", "folder", "pipe", "mbox")

    def test_eml(self) -> None:
        self.put("a/mine.eml", b"Subject: mine\n\nx\n")
        self.link("a/linked.eml", "x.eml")
        self.link("folder")
        os.mkfifo(self.root / "a" / "pipe.eml")
        self.only_told("linked.eml", "folder", "pipe.eml")

    def test_a_link_that_was_named_is_followed(self) -> None:
        self.link("named")
        self.link("named.eml", "x.eml")
        self.link("named.mbox", "x.mbox")
        for name, folder in (("named", "INBOX"), ("named.eml", "INBOX"), ("named.mbox", "named")):
            self.assertIn(folder, [one[0] for one in self.read(name)])

    def test_what_may_not_be_read(self) -> None:
        self.put("a/mine.eml", b"Subject: mine\n\nx\n")
        self.put("a/other.eml", b"Subject: other\n\n")
        self.put("b/third.eml", b"Subject: third\n\n")
        opened, scanned = os.open, os.scandir

        def open_(path: Any, *options: Any) -> int:
            if Path(path).name == "other.eml":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return opened(path, *options)

        def scandir(path: Any) -> Any:
            if Path(path).name == "b":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scanned(path)

        self.patch(os, "open", open_)  # root may read everything
        self.patch(os, "scandir", scandir)
        self.assertEqual(len(self.read()), 1)
        self.assertEqual(
            [one.what for one in self.skipped()],
            ["b: Permission denied", "other.eml: Permission denied"],
        )


class MboxTests(SourceCase):
    def test_mutt_and_dovecot(self) -> None:
        self.put(
            "Old mail.mbox",
            b"From a@b Mon Nov 23 10:15:00 2026\nSubject: one\nStatus: RO\nX-Status: AF\n"
            b"X-Keywords: todo later\nX-UID: 7\n\n>From here\n>>From there\n\n"
            b"From c@d Mon Nov 23 10:16:00 2026\nSubject: two\n\nFrom today\n\nFrom 1 to 2\n",
        )
        self.assertEqual(
            self.read("Old mail.mbox"),
            [
                (
                    "Old mail",
                    b"Subject: one\r\n\r\nFrom here\r\n>From there\r\n",
                    Flags(1 | 2 | 4, "later todo"),
                    "2026-11-23T10:15:00Z",
                ),
                (
                    "Old mail",
                    b"Subject: two\r\n\r\nFrom today\r\n\r\nFrom 1 to 2\r\n",
                    Flags(),
                    "2026-11-23T10:16:00Z",
                ),
            ],
        )

    def test_thunderbird(self) -> None:
        start = b"From - Mon Nov 23 10:15:00 2026\r\n"
        self.put(
            "Inbox",
            start + b"X-Mozilla-Status: 1005\r\nX-Mozilla-Status2: 0\r\n"
            b"X-Mozilla-Keys: $label1 \r\nSubject: a\r\n\r\nbody\r\n\r\n"
            + start
            + b"X-Mozilla-Status: 0009\r\nSubject: deleted\r\n\r\nbody\r\n\r\n",
        )
        self.put("Inbox.msf", b"// mork")
        self.put("Work.sbd/Sub", b"From \r\nSubject: b\r\n\r\nFrom \r\nbody\r\n")
        self.put("Empty", b"")
        self.assertEqual(
            [(folder, content, flags) for folder, content, flags, _ in self.read()],
            [
                ("Inbox", b"Subject: a\r\n\r\nbody\r\n", Flags(1 | 4, "$Forwarded $label1")),
                ("Work/Sub", b"Subject: b\r\n\r\nFrom \r\nbody\r\n", Flags()),
            ],
        )
        self.assertEqual(self.folders(), ["Empty", "Inbox", "Work/Sub"])

    def test_apple_mail(self) -> None:
        text = b"From a@b Mon Nov 23 10:15:00 2026\nSubject: a\n\nbody\n"
        self.put("Archive.mbox/mbox", text)
        self.put("Archive.mbox/table_of_contents", b"x")
        self.assertEqual([one[0] for one in self.read()], ["Archive"])
        self.assertEqual([one[0] for one in self.read("Archive.mbox")], ["Archive"])

    def test_uw_imap(self) -> None:
        self.put(
            "mbox",
            b"From MAILER-DAEMON Mon Nov 23 10:15:00 2026\nSubject: DON'T DELETE THIS MESSAGE\n"
            b"X-IMAP: 1234 2\n\ninternal\n\n"
            b"From a@b Mon Nov 23 10:15:00 2026\nSubject: a\n\nbody\n",
        )
        self.assertEqual([one[1] for one in self.read("mbox")], [b"Subject: a\r\n\r\nbody\r\n"])

    def test_takeout(self) -> None:
        def one(labels: bytes) -> bytes:
            return (
                b"From 17@xxx Mon Nov 23 10:15:00 +0000 2026\r\nX-GM-THRID: 17\r\n"
                b"X-Gmail-Labels: " + labels + b"\r\nSubject: a\r\n\r\nbody\r\n\r\n"
            )

        self.put(
            "All mail Including Spam and Trash.mbox",
            one(b"Inbox,Important,Opened,Starred,Trips")
            + one(b"Sent,Unread")
            + one(b"=?UTF-8?Q?R=C3=A9sum=C3=A9s,Archived?=")
            + one(b"Archived,Category\r\n Updates"),
        )
        self.assertEqual(
            [(folder, content, flags) for folder, content, flags, _ in self.read()],
            [
                ("INBOX", b"Subject: a\r\n\r\nbody\r\n", Flags(1 | 4, "Trips")),
                ("Sent", b"Subject: a\r\n\r\nbody\r\n", Flags(0)),
                ("Résumés", b"Subject: a\r\n\r\nbody\r\n", Flags(1)),
                ("Archive", b"Subject: a\r\n\r\nbody\r\n", Flags(1)),
            ],
        )
        self.assertEqual(self.folders(), [])

    def test_labels(self) -> None:
        self.assertEqual(folder_and_flags(["Trash", "Inbox"])[0], "Trash")
        self.assertEqual(folder_and_flags(["Drafts"]), ("Drafts", Flags(1 | 16)))
        self.assertEqual(folder_and_flags([]), ("Archive", Flags(1)))

    def test_without_a_date(self) -> None:
        start = b"From nobody 10:15\n"
        self.put(
            "a.mbox",
            start + b"Date: Mon, 23 Nov 2026 11:15:00 +0100\n\nx\n\n" + start + b"\ny\n",
            5,
        )
        self.assertEqual(
            [one[3] for one in self.read("a.mbox")],
            ["2026-11-23T10:15:00Z", "1970-01-01T00:00:05Z"],
        )

    def test_a_large_one_is_told_and_the_next_read(self) -> None:
        start = b"From a Mon Nov 23 10:15:00 2026\n"
        self.put("a.mbox", start + b"\n" + b"x" * 20_000 + b"\n\n" + start + b"Subject: b\n\nb\n")
        self.assertEqual([one[1] for one in self.read("a.mbox")], [b"Subject: b\r\n\r\nb\r\n"])
        self.assertIn("message 1 is larger", self.skipped("a.mbox")[0].what)

    def test_links_are_not_followed(self) -> None:
        self.put("a.mbox", b"From a Mon Nov 23 10:15:00 2026\n\nx\n")
        (self.root / "loop").symlink_to(self.root)
        self.assertEqual(len(self.read()), 1)


class MaildirTests(SourceCase):
    def setUp(self) -> None:
        super().setUp()
        for folder in ("", ".W&APY-rk.Sub/", ".Sent/"):
            for name in ("cur", "new", "tmp"):
                (self.root / folder / name).mkdir(parents=True)

    def test_dovecot(self) -> None:
        self.put("dovecot-keywords", b"0 todo\n1 NonJunk\n")
        self.put("cur/100.a,S=9:2,FSab", b"Subject: b\n\nb\n", 1_000_000_000)
        self.put("cur/200.b:2,PT", b"Subject: a\r\n\r\na\n", 0)
        self.put("new/300.c", b"c")
        self.put("tmp/400.d", b"never delivered")
        self.put("dovecot-uidlist", b"3 V1 N4 Gx\n1 :200.b\n2 W9 S9 :100.a,S=9\n")
        self.put(".W&APY-rk.Sub/cur/1.x:2,", b"x")
        self.put("subscriptions", b"V\t2\n\nINBOX\nW&APY-rk\tSub\ngone\n")
        self.assertEqual(
            [(folder, content, flags) for folder, content, flags, _ in self.read()],
            [
                ("INBOX", b"Subject: a\r\n\r\na\n", Flags(8, "$Forwarded")),
                ("INBOX", b"Subject: b\r\n\r\nb\r\n", Flags(1 | 4, "NonJunk todo")),
                ("INBOX", b"c", Flags()),
                ("Wörk/Sub", b"x", Flags()),
            ],
        )
        self.assertEqual(self.read()[1][3], "2001-09-09T01:46:40Z")
        source = open_source(self.root, LARGEST)
        self.assertEqual(
            [(one.name, one.subscribed) for one in source.folders()],
            [("INBOX", True), ("Sent", False), ("Wörk/Sub", True)],
        )
        self.assertEqual(source.subscriptions(), ["gone"])

    def test_courier(self) -> None:
        self.put("courierimapsubscribed", b"INBOX\nINBOX.Sent\n")
        source = open_source(self.root, LARGEST)
        told = {one.name: one.subscribed for one in source.folders()}
        self.assertEqual(told, {"INBOX": True, "Sent": True, "Wörk/Sub": False})

    def test_directories_in_directories(self) -> None:
        for name in ("cur", "new", "tmp"):
            (self.root / "Work" / "2026" / name).mkdir(parents=True)
        self.put("Work/2026/new/1.x", b"x")
        self.assertIn("Work/2026", self.folders())
        self.assertEqual([one[0] for one in self.read()], ["Work/2026"])

    def test_too_large(self) -> None:
        self.put("new/1.x", b"x" * 20_000)
        self.assertEqual(self.read(), [])
        self.assertIn("1.x is larger", self.skipped()[0].what)


class EmlTests(SourceCase):
    def test_directories_are_folders(self) -> None:
        self.put("b.eml", b"Date: Mon, 23 Nov 2026 11:15:00 +0100\n\nx\n")
        self.put("a.EML", b"Subject: a\n\nx\n", 5)
        self.put("Work/2026/c.eml", b"Subject: c\r\n\r\nx\n")
        self.put("readme.txt", b"no mail")
        self.assertEqual(
            self.read(),
            [
                ("INBOX", b"Subject: a\r\n\r\nx\r\n", Flags(), "1970-01-01T00:00:05Z"),
                (
                    "INBOX",
                    b"Date: Mon, 23 Nov 2026 11:15:00 +0100\r\n\r\nx\r\n",
                    Flags(),
                    "2026-11-23T10:15:00Z",
                ),
                ("Work/2026", b"Subject: c\r\n\r\nx\n", Flags(), self.read()[2][3]),
            ],
        )
        self.assertEqual(len(self.read("b.eml")), 1)
