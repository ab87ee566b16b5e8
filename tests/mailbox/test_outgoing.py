"""A mailbox as it is at one moment."""

from mailsrv.errors import MailboxDamaged, SchemaMismatch, WrongKey
from mailsrv.mailbox.outgoing import open_copy, snapshot
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.mailbox.values import Flags, NewMessage
from tests.mailbox.support import MailboxTestCase, message, new_key


class SnapshotTests(MailboxTestCase):
    def test_in_order_and_from_anywhere(self) -> None:
        contents = [message(number) for number in range(100)]
        self.put(*contents, flags=Flags(1, "todo"))
        with snapshot(self.mailbox) as view:
            found = list(view.messages(self.inbox))
            self.assertEqual([one.content for one in found], contents)
            self.assertEqual([one.uid for one in found], list(range(1, 101)))
            self.assertEqual({one.flags for one in found}, {Flags(1, "todo")})
            self.assertEqual({one.internal_date for one in found}, {self.now.text})
            self.assertEqual([one.uid for one in view.messages(self.inbox, 97)], [98, 99, 100])
            self.assertEqual(len(view.folders()), 6)

    def test_what_others_do_meanwhile_is_not_seen(self) -> None:
        self.put(*[message(number) for number in range(40)])
        other = self.open()
        with snapshot(self.mailbox) as view:
            messages = view.messages(self.inbox)
            first = next(messages)
            other.move(self.inbox, ((30, 40),), "Archive")
            other.append("INBOX", [NewMessage(message(99))])
            self.assertEqual(len([first, *messages]), 40)
            self.assertEqual(list(view.messages(self.folder_id(view, "Archive"))), [])
        self.assertEqual(self.folder("Archive").messages, 11)

    def folder_id(self, view: object, name: str) -> int:
        return next(one.id for one in view.folders() if one.name == name)

    def test_octets_that_are_not_what_they_were(self) -> None:
        self.put(message(1), message(2))
        with self.mailbox.writing() as writer:
            writer.connection.execute("UPDATE content SET sha256 = zeroblob(32) WHERE id = 2")
        with snapshot(self.mailbox) as view:
            error = self.assertRaises(MailboxDamaged, list, view.messages(self.inbox))
        self.assertIn("UID 2", str(error))


class OpenCopyTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(message())
        self.copy = self.directory / ("b" * 24 + ".sqlite")
        copy_under_new_key(self.mailbox, self.copy, self.key)

    def test_it_stays_as_it_is(self) -> None:
        before = self.copy.read_bytes()
        with open_copy(self.copy, self.key, self.now) as mailbox:
            self.assertEqual(mailbox.usage().messages, 1)
        self.assertEqual(self.copy.read_bytes(), before)
        self.assertEqual([path.name for path in self.directory.glob("b*")], [self.copy.name])

    def test_a_log_beside_it_is_read(self) -> None:
        with open_copy(self.path, self.key, self.now) as mailbox:
            self.assertEqual(mailbox.usage().messages, 1)

    def test_another_key(self) -> None:
        self.assertRaises(WrongKey, open_copy, self.copy, new_key(), self.now)

    def test_an_older_version_is_brought_up_to_date(self) -> None:
        with self.open_writable() as mailbox, mailbox.writing() as writer:
            writer.connection.execute("DROP INDEX applied_at")
        with open_copy(self.copy, self.key, self.now) as mailbox:
            self.assertEqual(mailbox.usage().messages, 1)

    def test_a_newer_version_is_refused(self) -> None:
        with self.open_writable() as mailbox, mailbox.writing() as writer:
            writer.connection.pragma("user_version", 1000)
        self.assertRaises(SchemaMismatch, open_copy, self.copy, self.key, self.now)

    def open_writable(self) -> object:
        from mailsrv.mailbox.mailbox import Mailbox

        return Mailbox.open(self.copy, self.key, self.now)
