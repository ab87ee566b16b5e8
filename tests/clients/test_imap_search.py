"""SEARCH, every key (rfc3501 6.4.4), and ESEARCH (rfc4731)."""

from tests.clients.imap_case import ImapTestCase
from tests.clients.imap_client import Client, Literal

ENCODED = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n"
    b"Subject: =?utf-8?b?0J/RgNC40LLQtdGC?= world\r\n"
    b"Date: Tue, 2 Jan 2024 23:30:00 -0800\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n"
    b"\r\n"
    b"R3LDvMOfZSBhdXMgS8O2bG4=\r\n"
)
MESSAGES = (
    (
        (
            b"From: Smith <smith@example.org>\r\nTo: mooch@example.com\r\nCc: copy@example.net\r\n"
            b"Bcc: blind@example.net\r\nSubject: afternoon Meeting\r\nX-Mark: blue whale\r\n"
            b"X-Empty:\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\n"
            b"Hello Joe, meet at 3:30 tomorrow?\r\n"
        ),
        '(\\Answered \\Flagged $Forwarded) "01-Feb-1994 23:59:59 -0800" ',
    ),
    (
        b"From: jones@example.org\r\nTo: other@example.com\r\nSubject: lunch\r\n"
        b"Date: Sat, 1 Jun 2002 00:00:00 +0000\r\n\r\n" + b"filler line\r\n" * 100,
        '(\\Seen \\Deleted) "01-Jun-2002 00:00:00 +0000" ',
    ),
    (ENCODED, '(\\Draft) "03-Jan-2024 08:00:00 +0000" '),
)


class SearchTestCase(ImapTestCase):
    """One mailbox of three messages for all tests, none of which changes it."""

    shared = True

    def account(self, number: int) -> tuple[str, str, list[int]]:
        address, password, _ = super().account(number)
        client = self.login()
        return address, password, [client.append(text, before=how) for text, how in MESSAGES]

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()
        self.client.ok("EXAMINE INBOX")


class KeyTests(SearchTestCase):
    def finds(self, expected: dict[str, list[int]]) -> None:
        for keys, numbers in expected.items():
            self.assertEqual(self.client.search(keys), numbers, keys)

    def test_sequence_sets(self) -> None:
        """rfc3501:2784"""
        self.finds({"ALL": [1, 2, 3], "2": [2], "3:2": [2, 3], "1,3": [1, 3], "*": [3]})

    def test_uid(self) -> None:
        """rfc3501:2931"""
        self.finds({f"UID {self.uids[1]}:*": [2, 3], "UID 9000:9999": [], "UID 9000:*": [3]})

    def test_system_flags(self) -> None:
        """rfc3501:2792"""
        self.finds(
            {
                "ANSWERED": [1],
                "UNANSWERED": [2, 3],
                "DELETED": [2],
                "UNDELETED": [1, 3],
                "DRAFT": [3],
                "UNDRAFT": [1, 2],
                "FLAGGED": [1],
                "UNFLAGGED": [2, 3],
                "SEEN": [2],
                "UNSEEN": [1, 3],
            }
        )

    def test_keywords(self) -> None:
        """rfc3501:2844"""
        self.finds(
            {
                "KEYWORD $Forwarded": [1],
                "KEYWORD $forwarded": [1],
                "UNKEYWORD $Forwarded": [2, 3],
                "KEYWORD $Absent": [],
                "UNKEYWORD $Absent": [1, 2, 3],
            }
        )

    def test_recent_new_and_old(self) -> None:
        """rfc3501:2851; rfc3501:2866"""
        self.finds({"RECENT": [1, 2, 3], "NEW": [1, 3], "OLD": []})

    def test_internal_dates_disregard_time_and_zone(self) -> None:
        """rfc3501:2811"""
        self.finds(
            {
                "ON 1-Jun-2002": [2],
                'ON "01-Jun-2002"': [2],
                "BEFORE 1-Jun-2002": [1],
                "SINCE 1-Jun-2002": [2, 3],
                "SINCE 2-Jun-2002": [3],
                "BEFORE 3-Jan-2024": [1, 2],
                "SINCE 4-Jan-2024": [],
            }
        )

    def test_sent_dates_disregard_time_and_zone(self) -> None:
        """rfc3501:2884"""
        self.finds(
            {
                "SENTON 7-Feb-1994": [1],
                "SENTBEFORE 7-Feb-1994": [],
                "SENTBEFORE 8-Feb-1994": [1],
                "SENTSINCE 2-Jan-2024": [3],
                "SENTON 2-Jan-2024": [3],
                "SENTON 3-Jan-2024": [],
            }
        )

    def test_sizes_are_exclusive(self) -> None:
        """rfc3501:2847; rfc3501:2900"""
        sizes = [len(content) for content, _ in MESSAGES]
        self.finds(
            {
                f"LARGER {sizes[1]}": [],
                f"LARGER {sizes[1] - 1}": [2],
                f"SMALLER {min(sizes)}": [],
                f"SMALLER {sizes[1]}": [1, 3],
                "LARGER 0": [1, 2, 3],
            }
        )

    def test_addresses_and_subject_are_substrings_in_any_case(self) -> None:
        """rfc3501:2776"""
        self.finds(
            {
                "FROM SMITH": [1],
                'FROM "example.org"': [1, 2, 3],
                "FROM xsmith": [],
                "TO ooc": [1],
                "CC copy@": [1],
                "BCC blind": [1],
                "SUBJECT meet": [1],
                'SUBJECT "NOON MEE"': [1],
                "SUBJECT noonmee": [],
            }
        )

    def test_header(self) -> None:
        """rfc3501:2836"""
        self.finds(
            {
                'HEADER X-Mark "BLUE wh"': [1],
                'HEADER x-mark ""': [1],
                'HEADER X-Empty ""': [1],
                'HEADER X-Absent ""': [],
                'HEADER Subject ""': [1, 2, 3],
                "HEADER Mark blue": [],
            }
        )

    def test_body_and_text(self) -> None:
        """rfc3501:2815; rfc3501:2923"""
        self.finds(
            {
                "BODY tomorrow": [1],
                "BODY afternoon": [],
                "TEXT afternoon": [1],
                "TEXT tomorrow": [1],
                'BODY "string not in mailbox"': [],
                "BODY FILLER": [2],
                'BODY "o"': [1],
            }
        )

    def test_several_keys_are_and(self) -> None:
        """rfc3501:2751"""
        self.finds(
            {
                'FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"': [],
                'UNDELETED SINCE 1-Feb-1994 NOT FROM "Smith"': [3],
                "(SEEN) (DELETED)": [2],
            }
        )

    def test_not_or_and_parentheses(self) -> None:
        """rfc3501:2863; rfc3501:2875"""
        self.finds(
            {
                "NOT SEEN": [1, 3],
                "OR SEEN DRAFT": [2, 3],
                "OR (SEEN DELETED) (FLAGGED ANSWERED)": [1, 2],
                "NOT (OR SEEN DRAFT)": [1],
                "NOT NOT SEEN": [2],
                "OR OR SEEN DRAFT FLAGGED": [1, 2, 3],
                "NOT 1": [2, 3],
            }
        )

    def test_text_is_decoded_before_it_is_compared(self) -> None:
        """rfc3501:2766"""
        for keys, text, expected in (
            ("SUBJECT", "\u043f\u0440\u0438\u0432\u0435\u0442", [3]),
            ("SUBJECT", "\u0440\u0438\u0432", [3]),
            ("FROM", "j\u00dcrgen", [3]),
            ("BODY", "gr\u00fc", [3]),
            ("TEXT", "k\u00d6ln", [3]),
            ("BODY", "\u4f60", []),
        ):
            words = (f"SEARCH CHARSET UTF-8 {keys} ", Literal(text.encode()))
            self.assertEqual(self.client.ok(*words).found, expected, text)

    def test_charsets_in_any_case(self) -> None:
        """rfc3501:2763"""
        for charset in ("utf-8", "US-ASCII", '"UTF-8"'):
            self.assertEqual(self.client.search(f"CHARSET {charset} FROM smith"), [1])

    def test_unknown_charset_is_no_with_badcharset(self) -> None:
        """rfc3501:2771"""
        answer = self.client.no("SEARCH CHARSET KLINGON ALL")
        self.assertEqual(answer.status.code, "BADCHARSET")

    def test_nothing_found_is_an_empty_response(self) -> None:
        """rfc3501:2978"""
        self.assertEqual(self.client.search('TEXT "string not in mailbox"'), [])

    def test_uid_search_answers_uids(self) -> None:
        """rfc3501:3355"""
        found = self.client.ok(f"UID SEARCH 1:2 UID {self.uids[1]}:9999").found
        self.assertEqual(found, [self.uids[1]])

    def test_literals_in_keys(self) -> None:
        """rfc3501:2981"""
        answer = self.client.ok(
            "SEARCH OR FROM ", Literal(b"smith"), " SUBJECT ", Literal(b"lunch", plus=True)
        )
        self.assertEqual(answer.found, [1, 2])

    def test_malformed_keys_are_bad(self) -> None:
        """rfc3501:4957"""
        for keys in (
            "SILLY",
            "OR SEEN",
            "NOT",
            "()",
            "(SEEN",
            "FROM",
            "LARGER x",
            "ON 31-Feb-2020x",
            "ON 1-Foo-2020",
            "HEADER X-Mark",
            "CHARSET UTF-8",
            "UID x",
        ):
            self.client.bad(f"SEARCH {keys}")

    def test_deep_nesting_is_answered(self) -> None:
        """rfc3501:4973"""
        self.client.command(f"SEARCH {'NOT ' * 500}SEEN")
        self.client.command(f"SEARCH {'(' * 500}SEEN{')' * 500}")
        self.finds({"SEEN": [2]})


class ExtendedTests(SearchTestCase):
    def extended(self, words: str, client: Client | None = None) -> dict[str, object]:
        answer = (client or self.client).ok(words)
        self.assertEqual(answer.of("SEARCH"), [])
        found = answer.one("ESEARCH").value
        self.assertEqual(found.pop("TAG"), answer.tag)
        return found

    def test_min_and_max(self) -> None:
        """rfc4731:94"""
        self.assertEqual(
            self.extended("SEARCH RETURN (MIN MAX) UNSEEN"), {"UID": False, "MIN": 1, "MAX": 3}
        )

    def test_count(self) -> None:
        """rfc4731:132"""
        self.assertEqual(self.extended("SEARCH RETURN (COUNT) UNSEEN"), {"UID": False, "COUNT": 2})

    def test_all_is_a_set(self) -> None:
        """rfc4731:119"""
        self.assertEqual(self.extended("SEARCH RETURN (ALL) ALL"), {"UID": False, "ALL": [1, 2, 3]})

    def test_empty_list_means_all(self) -> None:
        """rfc4731:158"""
        self.assertEqual(self.extended("SEARCH RETURN () UNSEEN"), {"UID": False, "ALL": [1, 3]})

    def test_everything_at_once(self) -> None:
        """rfc4731:91"""
        self.assertEqual(
            self.extended("SEARCH RETURN (COUNT MIN ALL MAX) UNSEEN"),
            {"UID": False, "COUNT": 2, "MIN": 1, "ALL": [1, 3], "MAX": 3},
        )

    def test_nothing_found_leaves_all_but_count_out(self) -> None:
        """rfc4731:98"""
        self.assertEqual(
            self.extended("SEARCH RETURN (MIN MAX ALL COUNT) KEYWORD $Absent"),
            {"UID": False, "COUNT": 0},
        )
        self.assertEqual(self.extended("SEARCH RETURN (MIN) KEYWORD $Absent"), {"UID": False})

    def test_uid_search_says_uid(self) -> None:
        """rfc4731:141"""
        self.assertEqual(
            self.extended("UID SEARCH RETURN (MIN ALL) 2:3"),
            {"UID": True, "MIN": self.uids[1], "ALL": self.uids[1:]},
        )

    def test_with_charset(self) -> None:
        """rfc4466:611"""
        found = self.extended("SEARCH RETURN (COUNT) CHARSET UTF-8 SUBJECT lunch")
        self.assertEqual(found["COUNT"], 1)

    def test_unknown_options_are_bad(self) -> None:
        """rfc4466:633"""
        for options in ("(SILLY)", "MIN", "(MIN", "(PARTIAL)"):
            self.client.bad(f"SEARCH RETURN {options} ALL")

    def test_modseq_is_of_the_messages_returned(self) -> None:
        """rfc4731:197"""
        client = self.login()
        client.ok("ENABLE CONDSTORE")
        client.ok("EXAMINE INBOX")
        modseqs = [items["MODSEQ"] for items in client.fetch("1:*", "(MODSEQ)").values()]
        found = self.extended("SEARCH RETURN (MIN) MODSEQ 1", client)
        self.assertEqual((found["MIN"], found["MODSEQ"]), (1, modseqs[0]))
        found = self.extended("SEARCH RETURN (MIN MAX) MODSEQ 1", client)
        self.assertEqual(found["MODSEQ"], max(modseqs[0], modseqs[-1]))
        found = self.extended("SEARCH RETURN (COUNT) MODSEQ 1", client)
        self.assertEqual((found["COUNT"], found["MODSEQ"]), (3, max(modseqs)))
