"""LIST, LSUB, STATUS, NAMESPACE and what extends them: rfc3501 6.3.8 to 6.3.10."""

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Literal

FIRST = {"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}
USES = {
    "Archive": b"\\archive",
    "Drafts": b"\\drafts",
    "Junk": b"\\junk",
    "Sent": b"\\sent",
    "Trash": b"\\trash",
}


class ListTests(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()
        for name in ("work/2025/may", "work/2026", "workshop", "INBOX/kids"):
            self.client.ok(f"CREATE {name}")

    def test_empty_name_gives_delimiter_and_root(self) -> None:
        """rfc3501:2221"""
        for reference in ('""', "work/"):
            flags, delimiter, _, _ = self.client.ok(f'LIST {reference} ""').one("LIST").value
            self.assertIn(b"\\noselect", flags)
            self.assertEqual(delimiter, b"/")
        self.assertEqual(self.client.ok('LIST "" ""').one("LIST").value[2], b"")

    def test_star_matches_everything(self) -> None:
        """rfc3501:2322"""
        made = {"work", "work/2025", "work/2025/may", "work/2026", "workshop", "INBOX/kids"}
        self.assertEqual(set(self.client.listed()), FIRST | made)

    def test_each_name_once(self) -> None:
        """rfc3501:3838"""
        for words in ('"" *', '"" %', '"" (* % INBOX)'):
            listed = self.client.listed(words)
            self.assertEqual(len(listed), len(set(listed)))

    def test_percent_stops_at_the_delimiter(self) -> None:
        """rfc3501:2323"""
        self.assertEqual(set(self.client.listed('"" %')), FIRST | {"work", "workshop"})
        self.assertEqual(set(self.client.listed('"" work/%')), {"work/2025", "work/2026"})
        self.assertEqual(
            set(self.client.listed('"" %/%')),
            {
                "work/2025",
                "work/2026",
                "INBOX/kids",
            },
        )

    def test_wildcards_within_words(self) -> None:
        """rfc3501:2322"""
        self.assertEqual(set(self.client.listed('"" w%p')), {"workshop"})
        self.assertEqual(set(self.client.listed('"" w*y')), {"work/2025/may"})
        self.assertEqual(set(self.client.listed('"" *2%')), {"work/2025", "work/2026"})
        self.assertEqual(self.client.listed('"" work'), ["work"])
        self.assertEqual(self.client.listed('"" nothing*'), [])

    def test_wildcards_quoted_and_bare_mean_the_same(self) -> None:
        """rfc3501:4795"""
        self.assertEqual(self.client.listed('"" "w%"'), self.client.listed('"" w%'))
        self.assertEqual(self.client.listed('"" "*"'), self.client.listed('"" *'))

    def test_reference_goes_before_the_name(self) -> None:
        """rfc3501:2259"""
        self.assertEqual(set(self.client.listed("work/ %")), {"work/2025", "work/2026"})
        self.assertEqual(set(self.client.listed("work/2025/ *")), {"work/2025/may"})

    def test_inbox_matches_in_any_case(self) -> None:
        """rfc3501:2338"""
        for words in ('"" INBOX', '"" inbox', '"" InBo%'):
            self.assertEqual(self.client.listed(words), ["INBOX"])

    def test_names_are_valid_in_other_commands(self) -> None:
        """rfc3501:3882"""
        for name in self.client.listed():
            self.client.ok(f"EXAMINE {name}")

    def test_regular_expression_characters_mean_themselves(self) -> None:
        """rfc3501:2322"""
        for pattern in ('"w.rk"', '"work$"', '"[w]ork"', '"w+ork"', '"(work)"', '"work|Sent"'):
            self.assertEqual(self.client.listed(f'"" {pattern}'), [])

    def test_many_wildcards_are_answered_quickly(self) -> None:
        """rfc3501:2208"""
        self.client.ok(f"CREATE {'a' * 200}")
        self.assertEqual(self.client.listed(f'"" {"%a*" * 40}b'), [])

    def test_children_are_told_of(self) -> None:
        """rfc3348:94"""
        flags = {value[2]: value[0] for value in self.client.ok('LIST "" *').values("LIST")}
        for name, found in flags.items():
            has = name in (b"work", b"work/2025", b"INBOX")
            self.assertEqual(
                (b"\\haschildren" in found, b"\\hasnochildren" in found), (has, not has)
            )

    def test_special_uses_are_told_when_asked_for(self) -> None:
        """rfc6154:161"""
        answer = self.client.ok('LIST "" % RETURN (SPECIAL-USE)')
        flags = {value[2].decode(): value[0] for value in answer.values("LIST")}
        self.assertEqual(set(flags), FIRST | {"work", "workshop"})
        for name, use in USES.items():
            self.assertIn(use, flags[name])

    def test_special_use_selects(self) -> None:
        """rfc6154:386"""
        self.assertEqual(set(self.client.listed('(SPECIAL-USE) "" *')), set(USES))
        answer = self.client.ok('LIST (SPECIAL-USE) "" * RETURN (SPECIAL-USE)')
        for flags, _, name, _ in answer.values("LIST"):
            self.assertIn(USES[name.decode()], flags)

    def test_list_status_gives_a_status_for_each_selectable_name(self) -> None:
        """rfc5819:120"""
        self.client.append(mail(), "work")
        answer = self.client.ok('LIST "" % RETURN (STATUS (MESSAGES UNSEEN))')
        found = dict(answer.values("STATUS"))
        self.assertEqual(set(found), {value[2] for value in answer.values("LIST")})
        self.assertEqual(found[b"work"], {"MESSAGES": 1, "UNSEEN": 1})

    def test_namespace(self) -> None:
        """rfc2342:162"""
        personal, others, shared = self.client.ok("NAMESPACE").one("NAMESPACE").value
        self.assertEqual((personal, others, shared), ([(b"", b"/")], None, None))


class ExtendedListTests(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()
        for name in ("work/2025", "gone/away"):
            self.client.ok(f"CREATE {name}")
            self.client.ok(f"SUBSCRIBE {name}")
        self.client.ok("DELETE gone/away")
        self.client.ok("DELETE gone")

    def found(self, words: str) -> dict[str, tuple[list[bytes], list[object]]]:
        values = self.client.ok(f"LIST {words}").values("LIST")
        return {name.decode(): (flags, more) for flags, _, name, more in values}

    def test_subscribed_names_only_and_those_that_are_gone_say_so(self) -> None:
        """rfc5258:350"""
        found = self.found('(SUBSCRIBED) "" *')
        self.assertEqual(set(found), FIRST | {"work/2025", "gone/away"})
        self.assertTrue(all(b"\\subscribed" in flags for flags, _ in found.values()))
        self.assertIn(b"\\nonexistent", found["gone/away"][0])

    def test_subscribed_as_a_return_option_only_tells(self) -> None:
        """rfc5258:435"""
        found = self.found('"" * RETURN (SUBSCRIBED)')
        self.assertEqual(set(found), FIRST | {"work", "work/2025"})
        self.assertIn(b"\\subscribed", found["work/2025"][0])
        self.assertNotIn(b"\\subscribed", found["work"][0])

    def test_recursivematch_tells_of_subscribed_children(self) -> None:
        """rfc5258:406"""
        found = self.found('(SUBSCRIBED RECURSIVEMATCH) "" %')
        self.assertEqual(set(found), FIRST | {"work", "gone"})
        flags, more = found["work"]
        self.assertNotIn(b"\\subscribed", flags)
        self.assertEqual(more, [(b"CHILDINFO", [b"SUBSCRIBED"])])

    def test_recursivematch_alone_is_bad(self) -> None:
        """rfc5258:419"""
        self.client.bad('LIST (RECURSIVEMATCH) "" *')

    def test_several_patterns(self) -> None:
        """rfc5258:196"""
        self.assertEqual(set(self.found('"" (INBOX "wor*")')), {"INBOX", "work", "work/2025"})

    def test_unknown_options_are_bad(self) -> None:
        """rfc5258:260"""
        self.client.bad('LIST (SILLY) "" *')
        self.client.bad('LIST "" * RETURN (SILLY)')

    def test_names_that_are_gone_have_no_status(self) -> None:
        """rfc5819:128"""
        answer = self.client.ok('LIST (SUBSCRIBED) "" * RETURN (STATUS (MESSAGES))')
        self.assertNotIn(b"gone/away", dict(answer.values("STATUS")))


class LsubTests(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()
        for name in FIRST:
            self.client.ok(f"UNSUBSCRIBE {name}")
        self.client.ok("CREATE foo/bar")
        self.client.ok("SUBSCRIBE foo/bar")

    def test_only_subscribed_names(self) -> None:
        """rfc3501:2385"""
        self.assertEqual(self.client.listed(kind="LSUB"), ["foo/bar"])

    def test_percent_gives_the_unsubscribed_parent_as_noselect(self) -> None:
        """rfc3501:2394"""
        flags, _, name, _ = self.client.ok('LSUB "" %').one("LSUB").value
        self.assertEqual(name, b"foo")
        self.assertIn(b"\\noselect", flags)

    def test_a_subscribed_parent_is_no_noselect(self) -> None:
        """rfc3501:2394"""
        self.client.ok("SUBSCRIBE foo")
        flags, _, name, _ = self.client.ok('LSUB "" %').one("LSUB").value
        self.assertEqual(name, b"foo")
        self.assertNotIn(b"\\noselect", flags)

    def test_reference_goes_before_the_name(self) -> None:
        """rfc3501:2387"""
        self.assertEqual(self.client.listed("foo/ %", "LSUB"), ["foo/bar"])


class StatusTests(ImapTestCase):
    messages = 3
    shared = True

    def test_each_item(self) -> None:
        """rfc3501:2483"""
        client = self.login("INBOX")
        selected = client.ok("SELECT INBOX")
        client.ok("STORE 1 +FLAGS (\\Seen)")
        found = self.login().status("INBOX", "MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN")
        self.assertEqual(found["MESSAGES"], 3)
        self.assertEqual(found["UNSEEN"], 2)
        self.assertEqual(found["RECENT"], 0)
        self.assertEqual(found["UIDNEXT"], int(selected.code("UIDNEXT")))
        self.assertEqual(found["UIDVALIDITY"], int(selected.code("UIDVALIDITY")))

    def test_only_what_was_asked_for(self) -> None:
        """rfc3501:3910"""
        self.assertEqual(self.login().status("INBOX", "MESSAGES"), {"MESSAGES": 3})

    def test_item_names_in_any_case(self) -> None:
        """rfc3501:4502"""
        self.assertEqual(self.login().status("inbox", "messages unseen")["MESSAGES"], 3)

    def test_size_is_the_sum_of_rfc822_size(self) -> None:
        """rfc8438:137"""
        client = self.login("INBOX")
        sizes = [items["RFC822.SIZE"] for items in client.fetch("1:*", "RFC822.SIZE").values()]
        self.assertGreaterEqual(client.status("INBOX", "SIZE")["SIZE"], sum(sizes))

    def test_appendlimit(self) -> None:
        """rfc7889:202"""
        client = self.login()
        listed = client.ok("CAPABILITY").one("CAPABILITY").value
        (limit,) = (name for name in listed if name.startswith(b"APPENDLIMIT="))
        found = client.status("INBOX", "APPENDLIMIT")["APPENDLIMIT"]
        self.assertEqual(found, int(limit.partition(b"=")[2]))

    def test_deleted_messages_and_their_size(self) -> None:
        """rfc9208:389; rfc9208:394"""
        client = self.login("INBOX")
        client.ok("STORE 1 +FLAGS (\\Deleted)")
        size = client.fetch("1", "RFC822.SIZE")[1]["RFC822.SIZE"]
        found = client.status("INBOX", "DELETED DELETED-STORAGE")
        self.assertEqual(found["DELETED"], 1)
        self.assertGreaterEqual(found["DELETED-STORAGE"], size)
        client.ok("STORE 1 -FLAGS (\\Deleted)")

    def test_absent_folder_is_no(self) -> None:
        """rfc3501:2432"""
        self.assertEqual(self.login().no("STATUS Absent (MESSAGES)").status.code, "NONEXISTENT")

    def test_unknown_or_missing_items_are_bad(self) -> None:
        """rfc3501:5036"""
        client = self.login()
        for items in ("(MESSAGES SILLY)", "MESSAGES", "()", ""):
            client.bad(f"STATUS INBOX {items}")

    def test_wildcards_are_not_expanded(self) -> None:
        """rfc3501:2450"""
        self.assertIn(self.login().command('STATUS "*" (MESSAGES)').status.kind, ("NO", "BAD"))


class QuotaTests(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.address = f"small.{self.address}"
        self.server.command("alias", "add", self.address, "--quota", "1M")
        self.password = self.server.command("password", self.address)["password"]
        self.client = self.login()

    def root(self) -> bytes:
        return self.client.ok("GETQUOTAROOT INBOX").one("QUOTAROOT").value[1][0]

    def test_getquotaroot_names_the_root_and_its_quota(self) -> None:
        """rfc9208:290"""
        answer = self.client.ok("GETQUOTAROOT INBOX")
        name, roots = answer.one("QUOTAROOT").value
        self.assertEqual(name, b"INBOX")
        root, resources = answer.one("QUOTA").value
        self.assertEqual([root], roots)
        self.assertEqual(resources[b"STORAGE"][1], 1024)

    def test_usage_grows_with_what_is_stored(self) -> None:
        """rfc9208:543"""
        self.client.append(mail(body="x" * 100 + "\r\n" * 50_000))
        answer = self.client.ok(f'GETQUOTA "{self.root().decode()}"')
        used, limit = answer.one("QUOTA").value[1][b"STORAGE"]
        self.assertGreater(used, 90)
        self.assertLess(used, limit)

    def test_append_over_quota_is_refused_whole(self) -> None:
        """rfc9208:474"""
        answer = self.client.no("APPEND INBOX ", Literal(mail(body="x\r\n" * 600_000)))
        self.assertEqual(answer.status.code, "OVERQUOTA")
        self.assertEqual(self.client.status("INBOX", "MESSAGES"), {"MESSAGES": 0})

    def test_unknown_root_is_no(self) -> None:
        """rfc9208:253"""
        self.client.no('GETQUOTA "nobody"')
