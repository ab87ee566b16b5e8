"""What SEARCH finds, one rule at a time; limits of what it may be asked."""

# ruff: noqa: RUF001

from itertools import count, pairwise

from mailsrv.errors import InvalidInput, NoSuchFolder, TooManyResults
from mailsrv.mailbox import criteria as c
from mailsrv.mailbox.compile import MAX_DEPTH, MAX_NODES, compile_criteria
from mailsrv.mailbox.search import Searcher
from mailsrv.mailbox.values import DELETED, FLAGGED, SEEN, Flags, NewMessage, StoreFlags
from tests.mailbox.searching import MailboxCase, message

UNSEEN = c.Not(c.HasFlag("\\Seen"))


class TextTests(MailboxCase):
    """The same answers before anything is indexed and after."""

    def check(self, contents: list[bytes], *expected: tuple[c.Criteria, list[int]]) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, *contents)
            for left in (len(contents), 0):
                for criteria, uids in expected:
                    self.assertEqual(self.search(mailbox, criteria), uids, criteria)
                self.assertEqual(mailbox.index_pending(left), 0)

    def test_substrings_in_any_script_and_length(self) -> None:
        bodies = (
            "Protokoll der Sitzung",
            "내일 회의록을 보냅니다",
            "明日の会議について",
            "开会通知",
            "👩‍💻🎉",
        )
        self.check(
            [message(body) for body in bodies],
            (c.Body("l d"), [1]),
            (c.Body("o"), [1]),
            (c.Body("rotokol"), [1]),
            (c.Body("회의"), [2]),
            (c.Body("의록을 보"), [2]),
            (c.Body("록"), [2]),
            (c.Body("会"), [3, 4]),
            (c.Body("会議"), [3]),
            (c.Body("の会議に"), [3]),
            (c.Body("🎉"), [5]),
            (c.Body("💻🎉"), [5]),
            (c.Body("회록"), []),
        )

    def test_case_width_and_composition_do_not_matter(self) -> None:
        self.check(
            [message("STRASSE Cafe\u0301 ＡＢＣ ﾃｽﾄ"), message("straße café abc テスト")],
            (c.Body("Straße"), [1, 2]),
            (c.Body("CAFÉ"), [1, 2]),
            (c.Body("abc"), [1, 2]),
            (c.Body("テスト"), [1, 2]),
        )

    def test_white_space_runs_are_one_blank(self) -> None:
        self.check([message("one\r\n  two\tthree")], (c.Body("one two three"), [1]))

    def test_header_body_and_text(self) -> None:
        self.check(
            [message("gamma", subject="alpha"), message("alpha", subject="gamma")],
            (c.Body("alpha"), [2]),
            (c.Text("alpha"), [1, 2]),
            (c.Subject("ALPHA"), [1]),
            (c.Text("subject: alpha"), [1]),
        )

    def test_text_does_not_match_across_fields(self) -> None:
        self.check(
            [message(subject="one", x_next="two")],
            (c.Text("one x-next"), []),
            (c.Text("x-next: two"), [1]),
        )

    def test_text_sees_headers_of_parts_and_header_does_not(self) -> None:
        content = (
            b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Description: zebra\r\n\r\ntext\r\n--b--\r\n"
        )
        self.check(
            [content],
            (c.Text("zebra"), [1]),
            (c.Body("zebra"), []),
            (c.Header("Content-Description", "zebra"), []),
            (c.Header("Content-Description", ""), []),
            (c.Header("Content-Type", "multipart"), [1]),
        )

    def test_parts_of_a_message_without_header(self) -> None:
        self.check([b"\r\nbody"], (c.Header("Subject", ""), []), (c.Body("body"), [1]))

    def test_header_fields(self) -> None:
        self.check(
            [
                message(list_id="Users <users.example.org>"),
                message(subject="list-id: users"),
                message(list_id=""),
                b"X-A: one\r\nX-A: two\r\nX-AB: three\r\n\r\n",
            ],
            (c.Header("List-ID", ""), [1, 3]),
            (c.Header("list-id", "users"), [1]),
            (c.Header("list-id", "id: "), []),
            (c.Header("X-A", "two"), [4]),
            (c.Header("X-A", "three"), []),
            (c.Header("X-A", "tw"), [4]),
            (c.Header("X", ""), []),
        )

    def test_a_line_that_is_no_field(self) -> None:
        self.check(
            [b"Subject: a\r\nno field: here\r\nX-B: b\r\n\r\n", b"Subject: a\r\nno field\r\n\r\n"],
            (c.Text("no field: he"), [1]),
            (c.Text("no field"), [1, 2]),
            (c.Text("no field:"), [1]),
            (c.Header("no field", ""), []),
            (c.Header("X-B", ""), [1]),
        )

    def test_addresses(self) -> None:
        content = message(
            **{"from": "Ann <a@x.example>", "to": "김철수 <b@x.example>", "cc": "c@y"}
        )
        self.check(
            [content],
            (c.Address("from", "ANN <A@"), [1]),
            (c.Address("to", "철수"), [1]),
            (c.Address("cc", "c@y"), [1]),
            (c.Address("bcc", "c@y"), []),
            (c.Address("from", "b@x"), []),
        )

    def test_encoded_words_are_decoded(self) -> None:
        self.check(
            [message(subject="=?utf-8?B?7ZqM7J2Y66Gd?=", x_note="=?iso-8859-1?Q?caf=E9?=")],
            (c.Subject("회의"), [1]),
            (c.Text("회의록"), [1]),
            (c.Header("X-Note", "CAFÉ"), [1]),
            (c.Subject("utf-8"), []),
        )

    def test_nothing_in_a_text_is_syntax(self) -> None:
        body = 'He said "NOT (a OR b)" AND x* NEAR/2 col:y 100% of a_b \\ ^z - +w'
        queries = (
            '"',
            '"NOT (a',
            "a OR b",
            "* NEAR/2",
            "col:y",
            "0% of",
            "a_b",
            "\\ ^z",
            "- +",
            "x*",
        )
        self.check(
            [message(body), message("he said nothing of aXb 1000 of xx")],
            *((c.Body(text), [1]) for text in queries),
            (c.Subject("%"), []),
            (c.Subject("' OR 1=1 --"), []),
            (c.Body('" OR "said'), []),
        )

    def test_nul_and_broken_code_points(self) -> None:
        self.check(
            [message("before\0after the nul")],
            (c.Body("after"), [1]),
            (c.Body("e\0a"), []),
            (c.Body("\0"), []),
            (c.Body("\ud800"), []),
            (c.Subject("\udfff\0"), []),
            (c.Header("x\ud800", "y\0"), []),
            (c.HasFlag("\ud800"), []),
        )

    def test_an_empty_text_is_everywhere(self) -> None:
        self.check(
            [message()],
            *((one, [1]) for one in (c.Body(""), c.Text(" "), c.Subject(""), c.Address("cc", ""))),
        )

    def test_very_long_text(self) -> None:
        text = " ".join(f"word{number}" for number in range(5000))
        self.check([message(text), message(text[:-1])], (c.Body(text), [1]))

    def test_not_of_a_text(self) -> None:
        self.check(
            [message("alpha"), message("beta"), message("alpha beta")],
            (c.Not(c.Body("alpha")), [2]),
            (c.Not(c.Or(c.Body("alpha"), c.Body("beta"))), []),
            (c.And((c.Not(c.Body("be")), c.Body("alpha"))), [1]),
        )


class OtherCriteriaTests(MailboxCase):
    def test_modseq_is_the_highest_found(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("a"), message("b"))
            mailbox.append("INBOX", [NewMessage(message("c"))], None)
            folder = self.inbox(mailbox)
            change = StoreFlags(((1, 1),), "add", Flags(FLAGGED))
            modseq = mailbox.store_flags(folder, change, None).modseq
            found = mailbox.search(folder, c.HasFlag("\\flagged"))
            self.assertEqual((self.uids(found), found.modseq), ([1], modseq))
            self.assertLess(mailbox.search(folder, c.Uids(((2, 9),))).modseq, modseq)
            self.assertEqual(self.search(mailbox, c.ModSeq(modseq)), [1])
            nothing = mailbox.search(folder, c.Not(c.All()))
            self.assertEqual((nothing.uids, nothing.modseq), (b"", 0))

    def test_keywords_are_whole_words_in_any_case(self) -> None:
        with self.new_mailbox() as mailbox:
            flags = [Flags(keywords="$Junk Work"), Flags(keywords="Worker"), Flags()]
            mailbox.append("INBOX", [NewMessage(message(), one) for one in flags], None)
            self.assertEqual(self.search(mailbox, c.HasFlag("WORK")), [1])
            self.assertEqual(self.search(mailbox, c.Not(c.HasFlag("$junk"))), [2, 3])
            self.assertEqual(self.search(mailbox, c.HasFlag("Junk")), [])
            self.assertEqual(self.search(mailbox, c.HasFlag("")), [])

    def test_dates_at_the_ends_of_time(self) -> None:
        with self.new_mailbox() as mailbox:
            dates = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
            mailbox.append(
                "INBOX", [NewMessage(message(), internal_date=one) for one in dates], None
            )
            for comparison, day, expected in (
                ("on", "0001-01-01", [1]),
                ("before", "0001-01-01", []),
                ("on", "9999-12-31", [2]),
                ("since", "9999-12-31", [2]),
            ):
                found = self.search(mailbox, c.Date("internal", comparison, day))
                self.assertEqual(found, expected)

    def test_a_message_without_date_was_sent_never(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message(), message(date="1 Jan 2020 00:00 +0000"))
            since = c.Date("sent", "since", "1900-01-01")
            self.assertEqual(self.search(mailbox, since), [2])
            self.assertEqual(self.search(mailbox, c.Not(since)), [1])

    def test_many_ranges_of_uids(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, *(message(str(number)) for number in range(30)))
            odd = tuple((uid, uid) for uid in range(1, 4000, 2))
            self.assertEqual(self.search(mailbox, c.Uids(odd)), list(range(1, 30, 2)))
            self.assertEqual(self.search(mailbox, c.Not(c.Uids(odd))), list(range(2, 31, 2)))
            self.assertEqual(self.search(mailbox, c.Uids(())), [])

    def test_other_folders_do_not_matter(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"), message("alpha beta"))
            mailbox.copy(self.inbox(mailbox), ((2, 2),), "Archive", None)
            archive = next(one.id for one in mailbox.folders() if one.name == "Archive")
            self.assertEqual(self.uids(mailbox.search(archive, c.Body("alpha"))), [1])

    def test_a_folder_that_is_gone(self) -> None:
        with self.new_mailbox() as mailbox:
            self.assertRaises(NoSuchFolder, mailbox.search, 9999, c.All())


class ExpungeTests(MailboxCase):
    def test_expunged_messages_are_not_found(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"), message("alpha 회의"), flags=DELETED)
            mailbox.index_pending(100)
            mailbox.copy(self.inbox(mailbox), ((1, 1),), "INBOX", None)
            mailbox.expunge(self.inbox(mailbox), ((1, 2),), None)
            self.assertEqual(self.search(mailbox, c.Body("alpha")), [3])
            self.assertEqual(self.search(mailbox, c.Body("회의")), [])

    def test_the_next_content_is_not_taken_for_the_last(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha 회의"), flags=DELETED)
            mailbox.index_pending(100)
            mailbox.expunge(self.inbox(mailbox), ((1, 1),), None)
            self.append(mailbox, message("beta"))
            for _ in range(2):
                self.assertEqual(self.search(mailbox, c.Body("alpha")), [])
                self.assertEqual(self.search(mailbox, c.Body("회의")), [])
                self.assertEqual(self.search(mailbox, c.Body("beta")), [2])
                mailbox.index_pending(100)


class LimitTests(MailboxCase):
    def nested(self, depth: int) -> c.Criteria:
        criteria: c.Criteria = c.Body("alpha")
        for _ in range(depth - 1):
            criteria = c.Not(criteria)
        return criteria

    def test_deepest_and_one_more(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            self.assertEqual(self.search(mailbox, self.nested(MAX_DEPTH - 1)), [1])
            self.assertEqual(self.search(mailbox, self.nested(MAX_DEPTH)), [])
            too_deep = self.nested(MAX_DEPTH + 1)
            self.assertRaises(TooManyResults, self.search, mailbox, too_deep)

    def test_largest_and_one_more(self) -> None:
        leaf = c.Or(c.Text("al"), c.Header("x", "alpha"))
        most = (leaf,) * ((MAX_NODES - 1) // 3)
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            self.assertEqual(self.search(mailbox, c.And(most)), [1])
            self.assertRaises(TooManyResults, self.search, mailbox, c.And((*most, leaf)))

    def test_a_day_that_is_none(self) -> None:
        for day in ("", "yesterday", "2026-02-30", "2026-1-1"):
            self.assertRaises(InvalidInput, compile_criteria, c.Date("sent", "on", day))

    def test_time_runs_out_while_verifying(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            clock = count()
            searcher = Searcher(
                mailbox.connection, lambda _: b"", seconds=0.5, monotonic=clock.__next__
            )
            self.assertRaises(TooManyResults, searcher.search, self.inbox(mailbox), c.Body("al"))

    def test_time_runs_out_in_sql(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, *(message(str(number)) for number in range(300)))
            clock = count()
            searcher = Searcher(
                mailbox.connection, lambda _: b"", seconds=0.5, monotonic=clock.__next__
            )
            many = c.And(tuple(c.Not(c.HasFlag(f"none{number}")) for number in range(400)))
            self.assertRaises(TooManyResults, searcher.search, self.inbox(mailbox), many)

    def test_a_search_that_was_stopped_harms_no_other(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            clock = iter([0.0, 1.0, 1.0, 1.1, 1.2, 1.3, 1.4])
            searcher = Searcher(
                mailbox.connection, lambda _: b"", seconds=0.5, monotonic=clock.__next__
            )
            folder = self.inbox(mailbox)
            self.assertRaises(TooManyResults, searcher.search, folder, c.Text("al"))
            self.assertEqual(searcher.search(folder, c.Uids(((1, 1),))).uids, b"\1\0\0\0")


class PlanTests(MailboxCase):
    """How much work an answer takes."""

    def plan(self, criteria: c.Criteria) -> str:
        with self.new_mailbox() as mailbox:
            condition = compile_criteria(criteria)
            self.search(mailbox, criteria)
            rows = mailbox.connection.execute(
                "EXPLAIN QUERY PLAN SELECT group_concat(m.uid), max(m.modseq) FROM message AS m "
                f"WHERE m.folder_id = :folder AND {condition.sql}",
                {**condition.parameters, "folder": 1},
            ).fetchall()
            return "\n".join(row[3] for row in rows)

    def test_selective_properties_use_their_index(self) -> None:
        for criteria, used in (
            (UNSEEN, "message_flags (folder_id=? AND flags=?)"),
            (c.HasFlag("\\Deleted"), "message_flags (folder_id=? AND flags=?)"),
            (c.Date("internal", "on", "2026-11-23"), "message_internal_date (folder_id=? AND int"),
            (c.Date("saved", "since", "2026-11-23"), "message_saved (folder_id=? AND saved>?"),
            (c.Date("sent", "on", "2026-11-23"), "field_sent_day (sent_day>? AND sent_day<?)"),
            (c.Size("larger", 5), "message_size (folder_id=? AND size>?)"),
            (c.ModSeq(5), "message_modseq (folder_id=? AND modseq>?)"),
            (c.Uids(((3, 5),)), "PRIMARY KEY (folder_id=? AND uid>? AND uid<?)"),
            (c.Body("alpha"), "search_grams VIRTUAL TABLE INDEX 0:M1"),
            (c.Body("회의"), "search_pairs VIRTUAL TABLE INDEX 0:M1"),
        ):
            self.assertIn(used, self.plan(criteria), criteria)
            self.assertIn(used, self.plan(c.And((c.Not(c.HasFlag("\\Deleted")), criteria))))

    def verified(self, criteria: c.Criteria) -> int:
        """How many texts are looked at, of 40 that are indexed and 2 that are not."""
        with self.new_mailbox() as mailbox:
            bodies = [f"example number{number}" for number in range(40)]
            self.append(mailbox, *map(message, bodies), flags=SEEN)
            mailbox.index_pending(100)
            self.append(mailbox, message("new example"), message("other"))
            read: list[int] = []
            searcher = Searcher(mailbox.connection, lambda _: b"")
            text = searcher._text
            searcher._text = lambda one, column: read.append(one) or text(one, column)
            searcher.search(self.inbox(mailbox), criteria)
            self.assertTrue(all(one <= two for one, two in pairwise(read)))
            return len(set(read))

    def test_only_candidates_are_verified(self) -> None:
        word = c.Body("number17")
        self.assertEqual(self.verified(word), 3)
        self.assertEqual(self.verified(c.Not(word)), 3)
        self.assertEqual(self.verified(c.Or(c.Subject("x"), c.Or(c.Subject("y"), word))), 3)

    def test_other_conditions_come_first(self) -> None:
        common = c.Body("example")
        self.assertEqual(self.verified(common), 42)
        self.assertEqual(self.verified(c.And((common, c.Uids(((5, 7),))))), 3)
        self.assertEqual(self.verified(c.And((c.Body("e"), UNSEEN))), 2)
        self.assertEqual(self.verified(c.And((c.Body("e"), c.Body("number17")))), 3)

    def test_one_whole_gram_needs_no_look(self) -> None:
        self.assertEqual(self.verified(c.Body("exa")), 2)
