"""What Thunderbird and Apple Mail say, command by command, as their logs show it."""

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Client, Literal
from tests.clients.imap_responses import number_set

HEADERS = (
    "BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority"
    " References Newsgroups In-Reply-To Content-Type Reply-To)]"
)


class ThunderbirdTests(ImapTestCase):
    messages = 5

    def opened(self) -> Client:
        """From the greeting to the selected INBOX."""
        client = self.connect()
        listed = client.ok("capability").one("CAPABILITY").value
        self.assertIn(b"AUTH=PLAIN", listed)
        client.ok(f'login "{self.address}" "{self.password}"')
        client.ok("capability")
        client.ok('ID ("name" "Thunderbird" "version" "140.0")')
        client.ok("namespace")
        client.ok("ENABLE CONDSTORE")
        listed = client.listed('"" % RETURN (SPECIAL-USE)')
        self.assertIn("INBOX", listed)
        client.ok('list (subscribed) "" "*" return (special-use)')
        client.ok('lsub "" "*"')
        answer = client.ok('select "INBOX" (CONDSTORE)')
        self.assertTrue(answer.has_code("HIGHESTMODSEQ"))
        return client

    def test_first_look_at_the_inbox(self) -> None:
        """rfc3501:3003"""
        client = self.opened()
        flags = client.ok("UID fetch 1:* (FLAGS)").messages
        uids = [flags[number]["UID"] for number in sorted(flags)]
        self.assertEqual(uids, self.uids)
        answer = client.ok(f"UID fetch {uids[0]}:{uids[-1]} (UID RFC822.SIZE FLAGS {HEADERS})")
        self.assertEqual(len(answer.messages), 5)
        for items in answer.messages.values():
            (section,) = (value for name, value in items.items() if name.startswith("BODY["))
            self.assertIn(b"Subject: Mail", section)
            self.assertTrue(section.endswith(b"\r\n\r\n"))
        items = client.ok(f"UID fetch {uids[2]} (UID RFC822.SIZE BODY.PEEK[])").messages[3]
        self.assertEqual(items["BODY[]"], mail("Mail 3"))
        self.assertEqual(items["RFC822.SIZE"], len(items["BODY[]"]))

    def test_reading_marking_and_throwing_away(self) -> None:
        """rfc6851:142"""
        client = self.opened()
        client.ok(f"uid store {self.uids[0]} +Flags (\\Seen)")
        client.ok(f"uid store {self.uids[1]},{self.uids[3]} +Flags ($Forwarded NonJunk)")
        client.ok(f"uid store {self.uids[1]} -Flags (NonJunk)")
        answer = client.ok(f'uid move {self.uids[0]}:{self.uids[1]} "Trash"')
        self.assertEqual(len(answer.of("EXPUNGE")), 2)
        self.assertEqual(len(number_set(answer.code("COPYUID").split()[2])), 2)
        client.ok(f'uid copy {self.uids[2]} "Archive"')
        client.ok(f"uid store {self.uids[2]} +Flags (\\Deleted)")
        client.ok("expunge")
        self.assertEqual(client.exists, 2)
        client.ok('create "Archive/2026"')
        client.ok('subscribe "Archive/2026"')
        client.ok('STATUS "Trash" (UIDNEXT MESSAGES UNSEEN RECENT)')
        client.ok("close")
        client.ok("logout")

    def test_idling_between_commands_and_coming_back(self) -> None:
        """rfc2177:100"""
        client = self.opened()
        idle = client.idle()
        uid = self.login().append(mail("While idle"))
        client.hear("EXISTS")
        client.done(idle)
        client.ok("NOOP")
        highest = client.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
        found = client.ok(f"UID fetch {self.uids[-1] + 1}:* (FLAGS)").messages
        self.assertEqual([items["UID"] for items in found.values()], [uid])
        other = self.login("INBOX")
        other.ok(f"UID STORE {uid} +FLAGS (\\Seen)")
        answer = client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {highest})")
        changed = [items for items in answer.messages.values() if "MODSEQ" in items]
        self.assertEqual([items["UID"] for items in changed], [uid])

    def test_saving_a_sent_message_and_a_draft(self) -> None:
        """rfc3501:2541"""
        client = self.opened()
        content = mail("Sent one", "Regards\r\n", "Message-ID: <sent.1@example.org>")
        answer = client.ok('append "Sent" (\\Seen) ', Literal(content))
        uid = answer.code("APPENDUID").split()[1].decode()
        client.ok('select "Sent"')
        key = "HEADER Message-ID <sent.1@example.org>"
        self.assertEqual(client.ok(f"UID SEARCH {key}").found, [int(uid)])
        self.assertEqual(client.ok(f"uid fetch {uid} (BODY.PEEK[])").messages[1]["BODY[]"], content)


class AppleMailTests(ImapTestCase):
    messages = 5

    def opened(self) -> Client:
        client = self.connect()
        client.ok("CAPABILITY")
        client.ok("LOGIN ", Literal(self.address.encode()), " ", Literal(self.password.encode()))
        client.ok(
            'ID ("name" "Mac OS X Mail" "version" "16.0 (3826)" "os" "Mac OS X" "os-version"'
            ' "15.1 (24B83)" "vendor" "Apple Inc.")'
        )
        client.ok("ENABLE CONDSTORE")
        client.ok('LIST "" ""')
        return client

    def test_accounts_are_discovered_with_status(self) -> None:
        """rfc5819:120"""
        client = self.opened()
        items = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ"
        answer = client.ok(f'LIST "" "*" RETURN (SPECIAL-USE STATUS ({items}))')
        found = dict(answer.values("STATUS"))
        self.assertEqual(set(found[b"INBOX"]), set(items.split()))
        self.assertEqual(found[b"INBOX"]["MESSAGES"], 5)
        self.assertEqual(
            {flag for value in answer.values("LIST") for flag in value[0]}
            & {b"\\sent", b"\\drafts", b"\\junk", b"\\trash", b"\\archive"},
            {b"\\sent", b"\\drafts", b"\\junk", b"\\trash", b"\\archive"},
        )

    def test_fetching_new_mail(self) -> None:
        """rfc3501:3003"""
        client = self.opened()
        client.ok("STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")
        answer = client.ok("SELECT INBOX (CONDSTORE)")
        self.assertGreater(int(answer.code("UIDNEXT")), self.uids[-1])
        found = client.ok(f"UID SEARCH UID {self.uids[0]}:{self.uids[-1]} NOT DELETED").found
        self.assertEqual(found, self.uids)
        items = "(INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER] BODYSTRUCTURE)"
        answer = client.ok(f"UID FETCH {self.uids[0]}:{self.uids[-1]} {items}")
        for number, values in answer.messages.items():
            self.assertEqual(values["UID"], self.uids[number - 1])
            self.assertEqual(values["BODYSTRUCTURE"].type, b"text")
        answer = client.ok(f"UID FETCH {self.uids[0]} (BODY.PEEK[1.MIME] BODY.PEEK[1]<0.4096>)")
        self.assertEqual(answer.messages[1]["BODY[1]<0>"], b"Hello.\r\n")

    def test_deleting_by_copy_store_and_uid_expunge(self) -> None:
        """rfc4315:75"""
        client = self.opened()
        client.ok("SELECT INBOX (CONDSTORE)")
        client.ok(f"UID STORE {self.uids[1]} +FLAGS.SILENT (\\Deleted)")
        client.ok(f"UID COPY {self.uids[0]} Trash")
        client.ok(f"UID STORE {self.uids[0]} +FLAGS.SILENT (\\Seen \\Deleted)")
        answer = client.ok(f"UID EXPUNGE {self.uids[0]}")
        self.assertEqual(answer.numbers("EXPUNGE"), [1])
        self.assertEqual(client.exists, 4)
        client.ok("UNSELECT")
        client.ok("LOGOUT")

    def test_searching(self) -> None:
        """rfc3501:2735"""
        client = self.opened()
        client.ok("SELECT INBOX (CONDSTORE)")
        keys = 'CHARSET UTF-8 NOT DELETED OR (OR (OR FROM "you" TO "you") SUBJECT "you") BODY "you"'
        self.assertEqual(client.ok(f"UID SEARCH {keys}").found, self.uids)
        keys = f'RETURN (ALL) UID {self.uids[0]}:* NOT DELETED SUBJECT "mail 4"'
        found = client.ok(f"UID SEARCH {keys}").one("ESEARCH").value
        self.assertEqual(found["ALL"], [self.uids[3]])
