"""The mailbox and a plain-Python model are driven alike and must agree on everything."""

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import MailsrvError
from mailsrv.mailbox import uids as uid_sets
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.transaction import iso
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DELETED,
    ExpungedQuery,
    FetchRequest,
    Flags,
    NewMessage,
    Section,
    StoreFlags,
    UidSet,
)
from tests.mailbox.model import Model, spans
from tests.mailbox.support import Clock, fetch_all, message, new_key

KEEP = timedelta(days=7)
LONG = bytes(range(256)) * 40
CONTENTS = [
    b"",
    b"\r\n",
    b"no header at all",
    message(1),
    message(2, "other\r\n"),
    message(3, "a long line of text to be read\r\n" * 300),
    b"Content-Type: application/octet-stream\r\n\r\n" + LONG,
    b"Subject: the same attachment\r\nContent-Type: application/octet-stream\r\n\r\n" + LONG,
]

filled = st.sampled_from(["INBOX", "INBOX", "Archive", "a", "a/b"])
names = filled | st.sampled_from(["inbox", "Trash", "a/b/c", "b", "Inbox/x", "한글", "a//b"])
uid_set: st.SearchStrategy[UidSet] = st.one_of(
    st.just(ALL_UIDS),
    st.sets(st.integers(1, 20), max_size=6).map(spans),
    st.tuples(st.integers(1, 8), st.integers(0, 9)).map(lambda one: ((one[0], sum(one)),)),
)
flags = st.builds(
    Flags,
    st.integers(0, 31),
    st.sets(st.sampled_from(["$Junk", "$junk", "work", "WORK", "later"]), max_size=3).map(
        lambda words: " ".join(sorted(words))
    ),
)
new_messages = st.lists(
    st.builds(
        NewMessage,
        st.integers(0, len(CONTENTS) - 1).map(lambda at: CONTENTS[at]),
        flags,
        st.sampled_from([None, "1999-12-31T23:59:59Z"]),
        st.sampled_from([None, None, "one", "two", "three"]),
    ),
    max_size=4,
)


class MailboxMachine(RuleBasedStateMachine):
    """``act`` runs an operation on both and compares results, or the kind of the error."""

    @initialize()
    def start(self) -> None:
        self.now = Clock()
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "box.sqlite"
        self.key = new_key()
        self.mailbox = Mailbox.create(self.path, self.key, self.now, keep_expunged=KEEP)
        self.model = Model(self.now())
        self.writes = 0
        for name in ("INBOX", "Archive"):
            self.append(name, [NewMessage(content) for content in CONTENTS], again=False)

    def teardown(self) -> None:
        if hasattr(self, "mailbox"):
            try:
                self.mailbox.check()
            finally:
                self.mailbox.close()
                shutil.rmtree(self.directory)

    def act(self, real: Callable[[], Any], modelled: Callable[[], Any]) -> tuple[Any, Any] | None:
        self.now.advance(seconds=1)
        try:
            expected = modelled()
        except MailsrvError as error:
            try:
                real()
            except MailsrvError as raised:
                assert type(raised) is type(error), (raised, error)  # noqa: PT017
                return None
            raise AssertionError(f"expected {type(error).__name__}") from None
        return real(), expected

    def id_of(self, name: str) -> int:
        name = self.model.normalised(name)
        return next((one.id for one in self.mailbox.folders() if one.name == name), 10**6)

    @property
    def write_id(self) -> str:
        self.writes += 1
        return f"write-{self.writes}"

    @rule(name=names, special_use=st.sampled_from([None, "\\Sent"]))
    def create_folder(self, name: str, special_use: str | None) -> None:
        write_id = self.write_id
        both = self.act(
            lambda: self.mailbox.create_folder(name, special_use, write_id),
            lambda: self.model.create_folder(name, special_use, self.now()),
        )
        if both:
            assert self.mailbox.create_folder(name, special_use, write_id) == both[0]

    @rule(name=names)
    def delete_folder(self, name: str) -> None:
        self.act(
            lambda: self.mailbox.delete_folder(name),
            lambda: self.model.delete_folder(name, self.now.text),
        )

    @rule(old=names, new=names)
    def rename_folder(self, old: str, new: str) -> None:
        self.act(
            lambda: self.mailbox.rename_folder(old, new),
            lambda: self.model.rename_folder(old, new, self.now()),
        )

    @rule(name=names, subscribed=st.booleans())
    def subscribe(self, name: str, subscribed: bool) -> None:
        self.act(
            lambda: self.mailbox.subscribe(name, subscribed),
            lambda: self.model.subscribe(name, subscribed),
        )

    @rule(name=names, new=new_messages, again=st.booleans())
    def deliver(self, name: str, new: list[NewMessage], again: bool) -> None:
        self.append(name, new, again)

    def append(self, name: str, new: list[NewMessage], again: bool) -> None:
        write_id = self.write_id
        both = self.act(
            lambda: self.mailbox.append(name, new, write_id),
            lambda: self.model.append(name, new, self.now.text),
        )
        if both:
            assert list(both[0].uids) == both[1]
            assert both[0].modseq == self.model.named(name).modseq
            if again:
                assert self.mailbox.append(name, new, write_id) == both[0]

    @rule(
        name=names,
        uids=uid_set,
        operation=st.sampled_from(["add", "remove", "replace"]),
        flags=flags,
        unchanged_since=st.sampled_from([None, None, 1, 3, 100]),
    )
    def store_flags(
        self, name: str, uids: UidSet, operation: Any, flags: Flags, unchanged_since: int | None
    ) -> None:
        change = StoreFlags(uids, operation, flags, unchanged_since)
        base = self.model.folders[name].modseq if name in self.model.folders else 0
        folder_id = self.id_of("x" if "//" in name else name)
        if folder_id == 10**6:
            return
        both = self.act(
            lambda: self.mailbox.store_flags(folder_id, change),
            lambda: self.model.store_flags(name, change),
        )
        assert both
        result, (done, refused) = both
        assert [row.uid for row in result.rows] == done
        assert result.refused == refused
        assert result.modseq == self.model.named(name).modseq
        assert name not in self.model.folders or result.base == base

    @rule(name=names, uids=uid_set)
    def expunge(self, name: str, uids: UidSet) -> None:
        if name not in self.model.folders:
            return
        both = self.act(
            lambda: self.mailbox.expunge(self.id_of(name), uids),
            lambda: self.model.expunge(name, uids, self.now.text),
        )
        assert both
        assert both[0].uids == both[1]

    @rule(name=filled, uids=uid_set)
    def delete_messages(self, name: str, uids: UidSet) -> None:
        if name in self.model.folders:
            self.store_flags(name, uids, "add", Flags(DELETED), None)
            self.expunge(name, uids)

    @rule(name=st.none() | names, to=st.sampled_from([None, None, "b/c", "Archive", "a//b"]))
    def undelete(self, name: str | None, to: str | None) -> None:
        write_id = self.write_id
        which = ExpungedQuery(folder=name)
        both = self.act(
            lambda: self.mailbox.undelete(which, to, write_id),
            lambda: self.model.undelete(name, to, self.horizon, self.now()),
        )
        if both:
            assert both[0].messages == both[1]
            for place in both[0].folders:
                assert place.modseq == self.model.named(place.name).modseq
            assert self.mailbox.undelete(which, to, write_id) == both[0]

    @rule(name=names)
    def purge(self, name: str) -> None:
        which = ExpungedQuery(folder=name)
        self.act(lambda: self.mailbox.purge(which), lambda: self.model.purge(name))

    @rule(days=st.integers(1, 5))
    def wait(self, days: int) -> None:
        self.now.advance(days=days)
        while self.mailbox.purge_expired():
            pass
        held = sum(len(one.message.content) for one in self.model.expunged(None, self.horizon))
        assert self.mailbox.usage().recoverable == held

    @property
    def horizon(self) -> str:
        return iso(self.now() - KEEP)

    @rule(name=names, uids=uid_set, to=names, moving=st.booleans())
    def transfer(self, name: str, uids: UidSet, to: str, moving: bool) -> None:
        if name not in self.model.folders:
            return
        base = self.model.folders[name].modseq
        real = self.mailbox.move if moving else self.mailbox.copy
        modelled = self.model.move if moving else self.model.copy
        both = self.act(
            lambda: real(self.id_of(name), uids, to),
            lambda: modelled(name, uids, to, self.now.text),
        )
        if both:
            result, (source, destination) = both
            assert (list(result.source), list(result.destination)) == (source, destination)
            assert result.destination_modseq == self.model.named(to).modseq
            assert result.base == base
            assert not moving or result.modseq == self.model.named(name).modseq

    @rule(name=names, uids=uid_set, rows=st.integers(1, 5))
    def read_and_mark(self, name: str, uids: UidSet, rows: int) -> None:
        if name not in self.model.folders:
            return
        request = FetchRequest(uids, ("flags",), (Section(),), mark_seen=True, max_rows=rows)
        folder = self.model.folders[name]
        wanted = folder.within(uids)[:rows]
        page = self.mailbox.fetch(self.id_of(name), request)
        assert list(page.newly_seen) == self.model.mark_seen(name, wanted)
        expected = [(u, folder.messages[u].system, folder.messages[u].content) for u in wanted]
        assert page.rows == expected

    @rule(name=names, writable=st.booleans())
    def select(self, name: str, writable: bool) -> None:
        both = self.act(lambda: self.mailbox.select(name, writable), lambda: self.model.named(name))
        if both:
            selected, folder = both
            recent = [uid for uid in folder.messages if uid >= folder.first_recent]
            assert selected.recent == spans(recent)
            assert list(uid_sets.unpack(selected.uids)) == sorted(folder.messages)
            unseen = [uid for uid in sorted(folder.messages) if not folder.messages[uid].system & 1]
            assert selected.first_unseen == (unseen[0] if unseen else None)
            assert selected.keywords == tuple(sorted(self.model.spelling.values()))
            if writable:
                self.model.claim(name)

    @precondition(lambda self: self.writes % 3 == 0)
    @rule()
    def reopen(self) -> None:
        self.mailbox.close()
        assert os.path.getsize(self.path)
        self.mailbox = Mailbox.open(self.path, self.key, self.now, keep_expunged=KEEP)

    @invariant()
    def same_folders(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        found = {
            one.name: (
                *(one.special_use, one.subscribed, one.uidvalidity, one.uidnext),
                *(one.highestmodseq, one.messages, one.unseen, one.deleted, one.recent, one.size),
            )
            for one in self.mailbox.folders()
        }
        expected = {
            name: (
                *(one.special_use, name in self.model.subscribed, one.uidvalidity, one.uidnext),
                *(one.modseq, *one.counters()),
            )
            for name, one in self.model.folders.items()
        }
        assert found == expected
        assert self.mailbox.subscriptions() == sorted(self.model.subscribed)

    @invariant()
    def same_expunged(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        page = self.mailbox.expunged(max_rows=500)
        assert page.before is None
        found = [(one.folder, one.uid, one.size, one.expunged) for one in page.messages]
        expected = [
            (self.model.name_of(one), one.uid, len(one.message.content), one.expunged)
            for one in reversed(self.model.expunged(None, self.horizon))
        ]
        assert found == expected
        usage = self.mailbox.usage()
        assert usage.octets - usage.recoverable == sum(
            folder.size for folder in self.mailbox.folders()
        )

    @invariant()
    def same_messages(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        columns: Any = ("flags", "keywords", "modseq", "internal_date", "saved", "size")
        for folder in self.mailbox.folders():
            held = sorted(self.model.folders[folder.name].messages.items())
            assert fetch_all(self.mailbox, folder.id, columns, (Section(),), max_rows=7) == [
                (
                    *(uid, one.system, one.words, one.modseq, one.internal_date, one.saved),
                    *(len(one.content), one.content),
                )
                for uid, one in held
            ]

    @invariant()
    def same_changes(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        for folder in self.mailbox.folders():
            for since in range(0, folder.highestmodseq + 1, 3):
                found = self.mailbox.changes(folder.id, since, False)
                rows = [(one.uid, one.flags, one.keywords, one.modseq) for one in found.changed]
                assert rows == self.model.changed(folder.name, since)
                assert found.vanished == self.model.vanished(folder.name, since)


class StatefulTests(SynchronousTestCase):
    def test_mailbox_agrees_with_the_model(self) -> None:
        soak = "MAILSRV_SOAK" in os.environ
        run_state_machine_as_test(
            MailboxMachine,
            settings=settings(
                max_examples=500 if soak else 40,
                stateful_step_count=60 if soak else 25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
