"""What every IStore must do, whether it is here, far away or a stand-in.

Mix ``StoreConformance`` into a trial TestCase and give it a store and a way to make aliases:

    class TestMine(StoreConformance, TestCase):
        async def make_store(self): ...
        async def new_alias(self, address, quota=None): ...   # -> (alias id, password)

Only ``IStore`` is called beyond that, and only its documented errors are expected.
"""

import hashlib
import hmac
from array import array
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailsrv.errors import (
    AlreadyExists,
    AuthenticationFailed,
    InvalidInput,
    KeyGone,
    NoSuchAlias,
    NoSuchDomain,
    NoSuchFolder,
    OverQuota,
)
from mailsrv.store import values
from mailsrv.store.interfaces import IListener, IStore
from mailsrv.store.values import ALL_UIDS, DELETED, FLAGGED, SEEN, Access, Flags
from tests.waiting import until

ADDRESS = "hello@example.com"
OTHER = "other@example.com"
RECEIVED = "2026-11-20T08:30:00Z"


def message(subject: str, body: str = "Good morning.") -> bytes:
    """A small message with CRLF line ends."""
    return (
        f"From: Ann <ann@example.org>\r\nTo: <{ADDRESS}>\r\nSubject: {subject}\r\n"
        f"Date: Mon, 9 Nov 2026 10:00:00 +0100\r\nMessage-ID: <{subject}@example.org>\r\n"
        f"\r\n{body}\r\n"
    ).encode()


def new(subject: str, flags: Flags | None = None) -> values.NewMessage:
    return values.NewMessage(content=message(subject), flags=flags or Flags())


def delivery(name: str, body: str = "Good morning.") -> values.Delivery:
    return values.Delivery(
        content=message(name, body), delivery_id=f"delivery-{name}", received=RECEIVED
    )


@implementer(IListener)
@attrs.define
class Listener:
    """Writes down what it hears."""

    heard: list[tuple[int, int]] = attrs.Factory(list)
    reasons: list[str] = attrs.Factory(list)

    def changed(self, folder_id: int, modseq: int) -> None:
        self.heard.append((folder_id, modseq))

    def revoked(self, reason: str) -> None:
        self.reasons.append(reason)

    def highest(self, folder_id: int) -> int:
        return max((modseq for folder, modseq in self.heard if folder == folder_id), default=-1)


@attrs.frozen
class Client:
    """A SCRAM client's arithmetic, written apart from the server's (rfc5802:247)."""

    password: str
    challenge: values.ScramChallenge
    auth_message: bytes = b"n=user,r=one,r=onetwo,s=c2FsdA==,i=4096,c=biws,r=onetwo"

    def _salted(self) -> bytes:
        return hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), self.challenge.salt, self.challenge.iterations
        )

    def proof(self) -> values.ScramProof:
        key = hmac.digest(self._salted(), b"Client Key", "sha256")
        mask = hmac.digest(hashlib.sha256(key).digest(), self.auth_message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, mask, strict=True))
        return values.ScramProof(auth_message=self.auth_message, proof=proof)

    def expects(self) -> bytes:
        key = hmac.digest(self._salted(), b"Server Key", "sha256")
        return hmac.digest(key, self.auth_message, "sha256")


class StoreConformance:
    """The behaviours, one test each."""

    store: IStore
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertIn: Any
    assertNotIn: Any
    assertGreater: Any
    assertIsNone: Any
    assertNotEqual: Any
    fail: Any

    async def make_store(self) -> IStore:
        raise NotImplementedError

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        raise NotImplementedError

    async def setUp(self) -> None:
        self.store = await self.make_store()
        self.alias, self.password = await self.new_alias(ADDRESS)

    # Help

    async def fails(self, error: type[Exception], asked: Deferred[Any]) -> Exception:
        try:
            answer = await asked
        except error as raised:
            return raised
        raise AssertionError(f"expected {error.__name__}, got {answer!r}")

    async def enter(self, listener: Listener | None = None, **more: Any) -> Access:
        return await self.store.login(
            more.get("address", ADDRESS), more.get("password", self.password), "imap", listener
        )

    async def folder(self, access: Access, name: str = "INBOX") -> values.Folder:
        return next(one for one in await self.store.folders(access) if one.name == name)

    async def contents(self, access: Access, name: str = "INBOX") -> dict[int, bytes]:
        selected = await self.store.select(access, name, False)
        request = values.FetchRequest(uids=ALL_UIDS, sections=(values.Section(),))
        page = await self.store.fetch(access, selected.folder.id, request)
        return {row[0]: row[1] for row in page.rows}

    async def filled(self, access: Access, count: int, name: str = "INBOX") -> values.Appended:
        return await self.store.append(access, name, [new(f"m{n}") for n in range(count)], None)

    # Logging in

    async def test_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IStore, self.store))

    async def test_login_opens_the_mailbox(self) -> None:
        access = await self.enter()
        self.assertEqual((access.alias, access.address), (self.alias, ADDRESS))
        self.assertEqual((await self.store.folders(access))[0].name, "INBOX")

    async def test_login_says_the_same_of_every_mistake(self) -> None:
        texts = set()
        for address, password in (
            (ADDRESS, "not this one"),
            ("nobody@example.com", self.password),
            ("nobody@elsewhere.example", self.password),
            ("no address", self.password),
            (ADDRESS, ""),
            (ADDRESS, "\0"),
        ):
            asked = self.store.login(address, password, "imap", None)
            texts.add(str(await self.fails(AuthenticationFailed, asked)))
        self.assertEqual(len(texts), 1)

    async def test_logout_ends_the_access(self) -> None:
        listener = Listener()
        access, other = await self.enter(listener), await self.enter()
        self.store.logout(access)
        self.store.logout(access)
        await self.fails(KeyGone, self.store.folders(access))
        await self.fails(KeyGone, self.store.poll(access))
        await self.filled(other, 1)
        await deferLater(reactor, 0.05)
        self.assertEqual(listener.heard, [])

    async def test_sessions_are_told_apart(self) -> None:
        one, two = await self.enter(), await self.enter()
        self.assertNotEqual(one.session, two.session)
        self.store.logout(one)
        self.assertTrue(await self.store.folders(two))

    async def test_challenge_is_steady_also_for_strangers(self) -> None:
        for address in (ADDRESS, "nobody@example.com", "nobody@elsewhere.example"):
            first = await self.store.scram_challenge(address)
            self.assertEqual(await self.store.scram_challenge(address), first)
            self.assertEqual(len(first.salt), 16)
            self.assertTrue(first.iterations >= 4096)

    async def test_login_by_proof(self) -> None:
        client = Client(self.password, await self.store.scram_challenge(ADDRESS))
        accepted = await self.store.login_scram(ADDRESS, client.proof(), "imap", None)
        self.assertEqual(accepted.server_signature, client.expects())
        self.assertTrue(await self.store.folders(accepted.access))

    async def test_wrong_proofs_are_refused(self) -> None:
        challenge = await self.store.scram_challenge(ADDRESS)
        wrong = Client("not this one", challenge).proof()
        right = Client(self.password, challenge).proof()
        short = values.ScramProof(auth_message=right.auth_message, proof=b"short")
        for address, proof in (
            (ADDRESS, wrong),
            (ADDRESS, short),
            ("nobody@example.com", right),
        ):
            await self.fails(
                AuthenticationFailed, self.store.login_scram(address, proof, "imap", None)
            )

    # Folders

    async def test_first_folders(self) -> None:
        folders = await self.store.folders(await self.enter())
        self.assertEqual(folders[0].name, "INBOX")
        names = [folder.name for folder in folders[1:]]
        self.assertEqual(names, sorted(names))
        uses = {folder.special_use for folder in folders}
        for use in ("\\Drafts", "\\Sent", "\\Junk", "\\Trash", "\\Archive"):
            self.assertIn(use, uses)

    async def test_create_makes_parents(self) -> None:
        access = await self.enter()
        made = await self.store.create_folder(access, "Work/Reports/2026", None, None)
        self.assertEqual(made.name, "Work/Reports/2026")
        names = [folder.name for folder in await self.store.folders(access)]
        for name in ("Work", "Work/Reports", "Work/Reports/2026"):
            self.assertIn(name, names)
        await self.fails(AlreadyExists, self.store.create_folder(access, "Work", None, None))
        await self.fails(AlreadyExists, self.store.create_folder(access, "inbox", None, None))

    async def test_delete(self) -> None:
        access = await self.enter()
        made = await self.store.create_folder(access, "Old", None, None)
        await self.store.delete_folder(access, "Old", None)
        await self.fails(NoSuchFolder, self.store.delete_folder(access, "Old", None))
        await self.fails(NoSuchFolder, self.store.select(access, "Old", True))
        await self.fails(NoSuchFolder, self.store.changes(access, made.id, 0, False))
        await self.fails(InvalidInput, self.store.delete_folder(access, "INBOX", None))

    async def test_delete_is_announced_to_who_may_have_it_selected(self) -> None:
        access, listener = await self.enter(), Listener()
        await self.enter(listener)
        made = await self.store.create_folder(access, "Old", None, None)
        appended = await self.store.append(access, "Old", [new("x")], None)
        await self.store.delete_folder(access, "Old", None)
        await until(lambda: listener.highest(made.id) > appended.modseq)

    async def test_a_new_folder_of_an_old_name_is_another_folder(self) -> None:
        access = await self.enter()
        first = await self.store.create_folder(access, "Again", None, None)
        await self.store.delete_folder(access, "Again", None)
        second = await self.store.create_folder(access, "Again", None, None)
        self.assertGreater(second.uidvalidity, first.uidvalidity)
        self.assertNotEqual(second.object_id, first.object_id)

    async def test_rename_moves_children(self) -> None:
        access = await self.enter()
        await self.store.create_folder(access, "A/B", None, None)
        await self.filled(access, 2, "A/B")
        await self.store.rename_folder(access, "A", "C/D", None)
        names = [folder.name for folder in await self.store.folders(access)]
        self.assertIn("C/D/B", names)
        self.assertNotIn("A", names)
        self.assertEqual(len(await self.contents(access, "C/D/B")), 2)
        await self.fails(NoSuchFolder, self.store.rename_folder(access, "A", "E", None))
        await self.fails(AlreadyExists, self.store.rename_folder(access, "C", "Trash", None))

    async def test_rename_inbox_leaves_an_empty_one(self) -> None:
        access = await self.enter()
        await self.filled(access, 3)
        listener = Listener()
        await self.enter(listener)
        await self.store.rename_folder(access, "INBOX", "Before", None)
        self.assertEqual(len(await self.contents(access, "Before")), 3)
        inbox = await self.folder(access)
        self.assertEqual(inbox.messages, 0)
        await until(lambda: listener.highest(inbox.id) >= inbox.highestmodseq)

    async def test_subscriptions_outlive_folders(self) -> None:
        access = await self.enter()
        await self.store.create_folder(access, "News", None, None)
        await self.store.subscribe(access, "News", True, None)
        await self.store.delete_folder(access, "News", None)
        self.assertIn("News", await self.store.subscriptions(access))
        await self.store.subscribe(access, "News", False, None)
        self.assertNotIn("News", await self.store.subscriptions(access))

    async def test_folder_writes_repeated_have_one_effect(self) -> None:
        access = await self.enter()
        first = await self.store.create_folder(access, "Once", None, "w1")
        again = await self.store.create_folder(access, "Once", None, "w1")
        self.assertEqual((first.id, first.name), (again.id, again.name))
        for _ in range(2):
            await self.store.rename_folder(access, "Once", "Twice", "w2")
        for _ in range(2):
            await self.store.delete_folder(access, "Twice", "w3")

    # Messages

    async def test_append_and_fetch_give_back_the_octets(self) -> None:
        access = await self.enter()
        odd = b"no header\nbare LF\r\r\n\x00\xff\xfe \r\n.\r\n"
        flags = Flags(system=SEEN | FLAGGED, keywords="$Work")
        given = [
            values.NewMessage(content=odd, flags=flags, internal_date=RECEIVED),
            new("second"),
        ]
        appended = await self.store.append(access, "INBOX", given, None)
        request = values.FetchRequest(
            uids=ALL_UIDS,
            columns=("flags", "keywords", "internal_date", "size", "modseq"),
            sections=(values.Section(), values.Section(kind="TEXT", start=2, length=4)),
        )
        page = await self.store.fetch(access, appended.folder_id, request)
        first, second = page.rows
        self.assertEqual(
            first[:6],
            (appended.uids[0], SEEN | FLAGGED, "$Work", RECEIVED, len(odd), appended.modseq),
        )
        self.assertEqual(first[6], odd)
        self.assertEqual((second[0], second[6]), (appended.uids[1], message("second")))
        self.assertEqual(second[7], b"od m")
        whole = values.Section()
        self.assertEqual(
            await self.store.read(access, appended.folder_id, appended.uids[0], whole), odd
        )
        self.assertIsNone(await self.store.read(access, appended.folder_id, 999, whole))
        absent = values.Section(path="7")
        self.assertIsNone(
            await self.store.read(access, appended.folder_id, appended.uids[0], absent)
        )

    async def test_append_is_all_or_none(self) -> None:
        access = await self.enter()
        await self.fails(NoSuchFolder, self.filled_deferred(access, "Nowhere"))
        self.assertEqual(await self.contents(access), {})

    def filled_deferred(self, access: Access, name: str) -> Deferred[values.Appended]:
        return self.store.append(access, name, [new("one")], None)

    async def test_append_repeated_has_one_effect(self) -> None:
        access = await self.enter()
        first = await self.store.append(access, "INBOX", [new("a"), new("b")], "w1")
        again = await self.store.append(access, "INBOX", [new("a"), new("b")], "w1")
        self.assertEqual(again, first)
        self.assertEqual(len(await self.contents(access)), 2)
        third = await self.store.append(access, "INBOX", [new("a"), new("b")], "w2")
        self.assertEqual(len(set(third.uids + first.uids)), 4)

    async def test_select_tells_what_is_there(self) -> None:
        access = await self.enter()
        appended = await self.store.append(
            access, "INBOX", [new("a", Flags(SEEN)), new("b", Flags(0, "$Todo")), new("c")], None
        )
        selected = await self.store.select(access, "inbox", True)
        self.assertEqual(array("I", selected.uids).tolist(), list(appended.uids))
        self.assertEqual(selected.first_unseen, appended.uids[1])
        self.assertIn("$Todo", selected.keywords)
        self.assertEqual((selected.folder.messages, selected.folder.unseen), (3, 2))
        self.assertEqual(selected.folder.uidvalidity, appended.uidvalidity)
        self.assertEqual(selected.folder.highestmodseq, appended.modseq)
        self.assertGreater(selected.folder.uidnext, appended.uids[-1])
        self.assertEqual(selected.recent, ((appended.uids[0], appended.uids[-1]),))
        self.assertEqual((await self.store.select(access, "INBOX", True)).recent, ())

    async def test_fetch_comes_in_pages(self) -> None:
        access = await self.enter()
        appended = await self.filled(access, 7)
        seen: list[int] = []
        start: int | None = 1
        while start is not None:
            request = values.FetchRequest(
                uids=((start, values.MAX_UID),), columns=("flags",), max_rows=3
            )
            page = await self.store.fetch(access, appended.folder_id, request)
            self.assertTrue(len(page.rows) <= 3)
            seen += [row[0] for row in page.rows]
            start = page.next_uid
        self.assertEqual(seen, list(appended.uids))

    async def test_fetch_may_mark_seen_and_says_so(self) -> None:
        listener = Listener()
        access = await self.enter()
        await self.enter(listener)
        appended = await self.filled(access, 2)
        request = values.FetchRequest(
            uids=((appended.uids[0],) * 2,),
            columns=("flags", "modseq"),
            sections=(values.Section(),),
            mark_seen=True,
        )
        page = await self.store.fetch(access, appended.folder_id, request)
        self.assertEqual(page.newly_seen, (appended.uids[0],))
        self.assertEqual(page.rows[0][1], SEEN)
        self.assertGreater(page.rows[0][2], appended.modseq)
        await until(lambda: listener.highest(appended.folder_id) >= page.rows[0][2])
        again = await self.store.fetch(access, appended.folder_id, request)
        self.assertEqual(again.newly_seen, ())

    async def test_store_flags(self) -> None:
        access = await self.enter()
        appended = await self.filled(access, 2)
        folder, uids = appended.folder_id, ((appended.uids[0], appended.uids[1]),)

        async def change(operation: Any, flags: Flags, **more: Any) -> values.StoreResult:
            wanted = values.StoreFlags(uids=uids, operation=operation, flags=flags, **more)
            return await self.store.store_flags(access, folder, wanted, None)

        added = await change("add", Flags(SEEN, "$Work"))
        self.assertEqual([(row.flags, row.keywords) for row in added.rows], [(SEEN, "$Work")] * 2)
        self.assertGreater(added.modseq, added.base)
        idle = await change("add", Flags(SEEN))
        self.assertEqual((idle.base, idle.modseq), (added.modseq, added.modseq))
        self.assertEqual(len(idle.rows), 2)
        replaced = await change("replace", Flags(FLAGGED))
        self.assertEqual([(row.flags, row.keywords) for row in replaced.rows], [(FLAGGED, "")] * 2)
        removed = await change("remove", Flags(FLAGGED))
        self.assertEqual([row.flags for row in removed.rows], [0, 0])
        refused = await change("add", Flags(SEEN), unchanged_since=added.modseq)
        self.assertEqual((refused.refused, refused.rows), (uids, []))

    async def test_changes_since(self) -> None:
        access = await self.enter()
        first = await self.filled(access, 3)
        folder = first.folder_id
        flagged = await self.store.store_flags(
            access,
            folder,
            values.StoreFlags(((first.uids[0],) * 2,), "add", Flags(FLAGGED)),
            None,
        )
        later = await self.filled(access, 1)
        changes = await self.store.changes(access, folder, first.modseq, False)
        self.assertEqual(
            [(row.uid, row.flags) for row in changes.changed],
            [(first.uids[0], FLAGGED), (later.uids[0], 0)],
        )
        self.assertEqual(changes.vanished, ())
        self.assertEqual(changes.modseq, later.modseq)
        self.assertGreater(changes.uidnext, later.uids[0])
        self.assertGreater(later.modseq, flagged.modseq)
        quiet = await self.store.changes(access, folder, changes.modseq, False)
        self.assertEqual((quiet.changed, quiet.vanished), ([], ()))

    async def test_expunge_takes_only_the_deleted(self) -> None:
        listener = Listener()
        access = await self.enter()
        await self.enter(listener)
        appended = await self.filled(access, 4)
        folder, uids = appended.folder_id, appended.uids
        await self.store.store_flags(
            access, folder, values.StoreFlags(((uids[1], uids[2]),), "add", Flags(DELETED)), None
        )
        gone = await self.store.expunge(access, folder, ((uids[0], uids[1]),), None)
        self.assertEqual(gone.uids, ((uids[1], uids[1]),))
        self.assertGreater(gone.modseq, gone.base)
        self.assertEqual(sorted(await self.contents(access)), [uids[0], uids[2], uids[3]])
        changes = await self.store.changes(access, folder, gone.base, False)
        self.assertEqual(changes.vanished, ((uids[1], uids[1]),))
        nothing = await self.store.expunge(access, folder, ((uids[0], uids[0]),), None)
        self.assertEqual((nothing.uids, nothing.base), ((), nothing.modseq))
        await until(lambda: listener.highest(folder) >= gone.modseq)

    async def test_copy(self) -> None:
        access = await self.enter()
        appended = await self.filled(access, 3)
        uids = ((appended.uids[0], appended.uids[1]),)
        copied = await self.store.copy(access, appended.folder_id, uids, "Archive", "w1")
        self.assertEqual(copied.source, appended.uids[:2])
        there = await self.contents(access, "Archive")
        self.assertEqual(there[copied.destination[1]], message("m1"))
        again = await self.store.copy(access, appended.folder_id, uids, "Archive", "w1")
        self.assertEqual(again, copied)
        self.assertEqual(len(await self.contents(access, "Archive")), 2)
        await self.fails(
            NoSuchFolder, self.store.copy(access, appended.folder_id, uids, "Nowhere", None)
        )

    async def test_move(self) -> None:
        listener = Listener()
        access = await self.enter()
        await self.enter(listener)
        appended = await self.filled(access, 3)
        uids = ((appended.uids[1],) * 2,)
        moved = await self.store.move(access, appended.folder_id, uids, "Archive", "w1")
        again = await self.store.move(access, appended.folder_id, uids, "Archive", "w1")
        self.assertEqual(again, moved)
        self.assertEqual(list(await self.contents(access, "Archive")), list(moved.destination))
        self.assertEqual(len(await self.contents(access)), 2)
        changes = await self.store.changes(access, appended.folder_id, moved.base, False)
        self.assertEqual(changes.vanished, uids)
        await until(
            lambda: (
                listener.highest(appended.folder_id) >= moved.modseq
                and listener.highest(moved.folder_id) >= moved.destination_modseq
            )
        )

    async def test_search(self) -> None:
        access = await self.enter()
        appended = await self.store.append(
            access,
            "INBOX",
            [
                values.NewMessage(message("Grüße", "a lovely \u6771\u4eac evening")),
                new("minutes", Flags(SEEN)),
                new("minutes again"),
            ],
            None,
        )

        async def found(criteria: values.Criteria) -> list[int]:
            answer = await self.store.search(access, appended.folder_id, criteria)
            if answer.uids:
                self.assertTrue(0 < answer.modseq <= appended.modseq)
            return array("I", answer.uids).tolist()

        one, two, three = appended.uids
        self.assertEqual(await found(values.All()), [one, two, three])
        self.assertEqual(await found(values.Subject("MINUTE")), [two, three])
        self.assertEqual(await found(values.Body("\u6771\u4eac")), [one])
        self.assertEqual(await found(values.Text("ovely")), [one])
        self.assertEqual(await found(values.HasFlag("\\Seen")), [two])
        unseen = values.Not(values.HasFlag("\\Seen"))
        both = values.And((unseen, values.Subject("minutes")))
        self.assertEqual(await found(both), [three])
        self.assertEqual(await found(values.Date("sent", "on", "2026-11-09")), [one, two, three])
        self.assertEqual(await found(values.Uids(((two, two),))), [two])
        self.assertEqual(await found(values.Size("larger", 10_000)), [])

    # Announcements

    async def test_all_sessions_hear_of_a_commit(self) -> None:
        mine, theirs = Listener(), Listener()
        access = await self.enter(mine)
        await self.enter(theirs)
        appended = await self.filled(access, 1)
        for listener in (mine, theirs):
            await until(lambda heard=listener: heard.highest(appended.folder_id) >= appended.modseq)
        flagged = await self.store.store_flags(
            access, appended.folder_id, values.StoreFlags(ALL_UIDS, "add", Flags(SEEN)), None
        )
        await until(lambda: theirs.highest(appended.folder_id) >= flagged.modseq)
        await self.store.create_folder(access, "New", None, None)
        await until(lambda: theirs.highest(0) >= 0)

    async def test_other_aliases_hear_nothing(self) -> None:
        _, password = await self.new_alias(OTHER)
        listener = Listener()
        await self.enter(listener, address=OTHER, password=password)
        await self.filled(await self.enter(), 1)
        await deferLater(reactor, 0.05)
        self.assertEqual(listener.heard, [])

    # Mail from the world

    async def test_resolve(self) -> None:
        plain = await self.store.resolve(ADDRESS)
        self.assertEqual((plain.alias, plain.address, plain.detail), (self.alias, ADDRESS, None))
        detailed = await self.store.resolve("hello+news@example.com")
        self.assertEqual((detailed.alias, detailed.detail), (self.alias, "news"))
        await self.fails(NoSuchAlias, self.store.resolve("nobody@example.com"))
        await self.fails(NoSuchDomain, self.store.resolve("hello@elsewhere.example"))

    async def test_mail_waits_for_its_owner(self) -> None:
        for name in ("first", "second"):
            delivered = await self.store.deliver(self.alias, delivery(name))
            self.assertEqual(delivered.where, "waiting")
        listener = Listener()
        access = await self.enter(listener)
        self.assertEqual(
            list((await self.contents(access)).values()), [message("first"), message("second")]
        )
        self.assertEqual(await self.store.poll(access), 0)
        self.store.logout(access)
        self.assertEqual(len(await self.contents(await self.enter())), 2)

    async def test_received_becomes_the_internal_date(self) -> None:
        await self.store.deliver(self.alias, delivery("waits"))
        access = await self.enter()
        await self.store.deliver(self.alias, delivery("comes"))
        inbox = await self.folder(access)
        request = values.FetchRequest(uids=ALL_UIDS, columns=("internal_date", "flags"))
        page = await self.store.fetch(access, inbox.id, request)
        self.assertEqual([row[1:] for row in page.rows], [(RECEIVED, 0)] * 2)

    async def test_mail_goes_live_to_who_is_here(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        inbox = await self.folder(access)
        delivered = await self.store.deliver(self.alias, delivery("now"))
        self.assertEqual((delivered.where, delivered.duplicate), ("live", False))
        await until(lambda: listener.highest(inbox.id) > inbox.highestmodseq)
        changes = await self.store.changes(access, inbox.id, inbox.highestmodseq, False)
        self.assertEqual(len(changes.changed), 1)
        self.assertEqual(list((await self.contents(access)).values()), [message("now")])

    async def test_a_repeated_delivery_is_there_once(self) -> None:
        await self.store.deliver(self.alias, delivery("twice"))
        await self.store.deliver(self.alias, delivery("twice"))
        access = await self.enter()
        again = await self.store.deliver(self.alias, delivery("twice"))
        self.assertEqual((again.where, again.duplicate), ("live", True))
        self.store.logout(access)
        await self.store.deliver(self.alias, delivery("twice"))
        self.assertEqual(len(await self.contents(await self.enter())), 1)

    async def test_many_at_once_each_get_their_answer(self) -> None:
        waiting = [self.store.deliver(self.alias, delivery(f"w{n % 20}")) for n in range(40)]
        answers = await gatherResults(waiting)
        self.assertEqual({answer.where for answer in answers}, {"waiting"})
        access = await self.enter()
        live = [self.store.deliver(self.alias, delivery(f"l{n}")) for n in range(40)]
        self.assertEqual({answer.where for answer in await gatherResults(live)}, {"live"})
        stored = (await self.contents(access)).values()
        self.assertEqual(
            sorted(stored),
            sorted([message(f"w{n}") for n in range(20)] + [message(f"l{n}") for n in range(40)]),
        )

    async def test_nobody_gets_no_mail(self) -> None:
        await self.fails(NoSuchAlias, self.store.deliver("0" * 24, delivery("lost")))

    # Quota

    async def test_quota_counts(self) -> None:
        access = await self.enter()
        before = await self.store.quota(access)
        self.assertEqual((before.used_octets, before.limit_octets), (0, None))
        appended = await self.filled(access, 2)
        one = ((appended.uids[0],) * 2,)
        await self.store.copy(access, appended.folder_id, one, "Archive", None)
        used = await self.store.quota(access)
        self.assertEqual((used.used_octets, used.messages), (3 * len(message("m0")), 3))
        await self.store.store_flags(
            access, appended.folder_id, values.StoreFlags(one, "add", Flags(DELETED)), None
        )
        await self.store.expunge(access, appended.folder_id, one, None)
        self.assertEqual((await self.store.quota(access)).messages, 2)

    async def test_quota_refuses(self) -> None:
        size = len(message("m0"))
        alias, password = await self.new_alias(OTHER, quota=3 * size)
        await self.store.deliver(alias, delivery("m0"))
        access = await self.enter(address=OTHER, password=password)
        await self.fails(
            OverQuota,
            self.store.append(access, "INBOX", [new("m1"), new("m2"), new("m3")], None),
        )
        self.assertEqual(len(await self.contents(access)), 1)
        appended = await self.filled(access, 2)
        quota = await self.store.quota(access)
        self.assertEqual((quota.used_octets, quota.limit_octets), (3 * size, 3 * size))
        await self.fails(OverQuota, self.store.deliver(alias, delivery("m4")))
        await self.fails(
            OverQuota,
            self.store.copy(access, appended.folder_id, ALL_UIDS, "Archive", None),
        )
        await self.store.move(access, appended.folder_id, ALL_UIDS, "Archive", None)
        self.store.logout(access)
        await self.fails(OverQuota, self.store.deliver(alias, delivery("m5")))
        await self.fails(OverQuota, self.store.resolve(OTHER))

    async def test_deleting_makes_room(self) -> None:
        size = len(message("m0"))
        alias, password = await self.new_alias(OTHER, quota=3 * size)
        access = await self.enter(address=OTHER, password=password)
        await self.filled(access, 3)
        await self.fails(OverQuota, self.store.append(access, "INBOX", [new("m3")], None))
        first, second, _ = await self.delete(access, 2)
        self.assertEqual((await self.store.quota(access)).used_octets, 3 * size)
        self.assertEqual((await self.store.resolve(OTHER)).alias, alias)
        # no more goes than has to, the oldest first
        await self.store.append(access, "INBOX", [new("m3")], None)
        page = await self.store.expunged(access, values.ExpungedQuery(), None, 10)
        self.assertEqual([one.uid for one in page.messages], [second])
        await self.fails(
            OverQuota, self.store.append(access, "INBOX", [new("m4"), new("m5")], None)
        )
        page = await self.store.expunged(access, values.ExpungedQuery(), None, 10)
        self.assertEqual([one.uid for one in page.messages], [second])
        await self.store.deliver(alias, delivery("m6"))
        page = await self.store.expunged(access, values.ExpungedQuery(), None, 10)
        self.assertEqual(page.messages, [])
        self.assertEqual((await self.store.quota(access)).used_octets, 3 * size)
        await self.fails(OverQuota, self.store.resolve(OTHER))
        self.assertNotIn(first, await self.contents(access))

    async def test_deleting_makes_room_for_mail_that_waits(self) -> None:
        size = len(message("m0"))
        alias, password = await self.new_alias(OTHER, quota=3 * size)
        access = await self.enter(address=OTHER, password=password)
        await self.filled(access, 3)
        await self.delete(access, 2)
        self.store.logout(access)
        for name in ("m4", "m5"):
            await self.store.deliver(alias, delivery(name))
        await self.fails(OverQuota, self.store.deliver(alias, delivery("m6")))
        await self.fails(OverQuota, self.store.resolve(OTHER))
        access = await self.enter(address=OTHER, password=password)
        await self.store.poll(access)
        self.assertEqual(len(await self.contents(access)), 3)
        page = await self.store.expunged(access, values.ExpungedQuery(), None, 10)
        self.assertEqual(page.messages, [])
        self.assertEqual((await self.store.quota(access)).used_octets, 3 * size)

    # Expunged messages

    async def delete(self, access: Access, count: int) -> list[int]:
        """Expunge the first messages of INBOX; the UIDs of all."""
        uids = list(await self.contents(access))
        inbox = await self.folder(access)
        gone = ((uids[0], uids[count - 1]),)
        deleted = values.StoreFlags(gone, "add", Flags(DELETED))
        await self.store.store_flags(access, inbox.id, deleted, None)
        await self.store.expunge(access, inbox.id, gone, None)
        return uids

    async def test_expunged_messages_are_listed(self) -> None:
        access = await self.enter()
        await self.filled(access, 3)
        uids = await self.delete(access, 3)
        everything = values.ExpungedQuery()
        page = await self.store.expunged(access, everything, None, 2)
        self.assertEqual([one.uid for one in page.messages], uids[:0:-1])
        newest = page.messages[0]
        self.assertEqual((newest.folder, newest.subject), ("INBOX", "m2"))
        self.assertEqual(
            (newest.sender, newest.size), ("Ann <ann@example.org>", len(message("m2")))
        )
        self.assertEqual(newest.sent, "2026-11-09T09:00:00Z")
        last = await self.store.expunged(access, everything, page.before, 2)
        self.assertEqual(([one.uid for one in last.messages], last.before), ([uids[0]], None))
        for which in (
            values.ExpungedQuery(subject="M2"),
            values.ExpungedQuery(ids=(newest.id,), folder="inbox", since=newest.expunged),
        ):
            found = await self.store.expunged(access, which, None, 9)
            self.assertEqual([one.id for one in found.messages], [newest.id])
        self.assertEqual((await self.store.quota(access)).messages, 0)

    async def test_undelete(self) -> None:
        listener = Listener()
        access = await self.enter()
        await self.enter(listener)
        flags = Flags(SEEN, "$Work")
        given = values.NewMessage(message("a"), flags, RECEIVED)
        await self.store.append(access, "INBOX", [given, new("b")], None)
        request = values.FetchRequest(
            ALL_UIDS, ("flags", "keywords", "internal_date", "email_id"), (values.Section(),)
        )
        inbox = await self.folder(access)
        before = (await self.store.fetch(access, inbox.id, request)).rows
        await self.delete(access, 2)
        which = values.ExpungedQuery(subject="a")
        done = await self.store.undelete(access, which, None, "w1")
        (place,) = done.folders
        self.assertEqual((done.messages, done.made, place.id), (1, False, inbox.id))
        ((uid, _),) = place.uids
        self.assertTrue(uid >= inbox.uidnext)
        after = (await self.store.fetch(access, inbox.id, request)).rows
        self.assertEqual(after, [(uid, *before[0][1:])])
        await until(lambda: listener.highest(inbox.id) >= place.modseq)
        self.assertEqual(await self.store.undelete(access, which, None, "w1"), done)
        self.assertEqual((await self.folder(access)).messages, 1)

    async def test_undelete_into_folders_that_are_not_there(self) -> None:
        listener = Listener()
        access = await self.enter()
        await self.store.create_folder(access, "Old", None, None)
        await self.filled(access, 2, "Old")
        await self.store.delete_folder(access, "Old", None)
        await self.enter(listener)
        which = values.ExpungedQuery(folder="Old", subject="m0")
        done = await self.store.undelete(access, which, None, None)
        self.assertEqual(([one.name for one in done.folders], done.made), (["Old"], True))
        await until(lambda: listener.highest(0) == 0)
        done = await self.store.undelete(access, values.ExpungedQuery(), "Back/Again", None)
        self.assertEqual(await self.contents(access, "Back/Again"), {1: message("m1")})
        await self.fails(
            InvalidInput, self.store.undelete(access, values.ExpungedQuery(), "a//b", None)
        )

    async def test_purge(self) -> None:
        access = await self.enter()
        await self.filled(access, 3)
        await self.delete(access, 2)
        size = len(message("m0"))
        which = values.ExpungedQuery(subject="m1")
        for _ in range(2):
            purged = await self.store.purge(access, which, "w1")
            self.assertEqual((purged.messages, purged.octets), (1, size))
        self.assertEqual((await self.store.quota(access)).used_octets, 2 * size)
        undeleted = await self.store.undelete(access, values.ExpungedQuery(), None, None)
        self.assertEqual(undeleted.messages, 1)

    # Backups

    async def test_no_backup_where_none_are_made(self) -> None:
        access = await self.enter()
        await self.fails(InvalidInput, self.store.back_up(access))
        self.store.logout(access)
        await self.fails(KeyGone, self.store.back_up(access))
