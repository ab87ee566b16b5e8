"""A mailbox in plain Python, as simple as it can be: what the real one has to agree with.

It keeps whole messages in dictionaries and copies nothing of the real one's methods. Values of
``mailsrv.mailbox.values`` go in and come out, except that folders are named, not numbered.
"""

import unicodedata
from collections.abc import Iterable
from datetime import datetime

import attrs

from mailsrv.errors import AlreadyExists, FolderHasChildren, InvalidInput, NoSuchFolder
from mailsrv.mailbox.values import DELETED, SEEN, Flags, NewMessage, StoreFlags, UidSet

FIRST = {
    "INBOX": None,
    "Archive": "\\Archive",
    "Drafts": "\\Drafts",
    "Junk": "\\Junk",
    "Sent": "\\Sent",
    "Trash": "\\Trash",
}


@attrs.define
class Message:
    content: bytes
    system: int
    keywords: frozenset[str]
    internal_date: str
    saved: str
    modseq: int

    @property
    def words(self) -> str:
        return " ".join(sorted(self.keywords))


@attrs.define
class ModelFolder:
    uidvalidity: int
    special_use: str | None = None
    uidnext: int = 1
    modseq: int = 1
    first_recent: int = 1
    messages: dict[int, Message] = attrs.Factory(dict)
    gone: list[tuple[int, int]] = attrs.Factory(list)
    """(modseq, uid) of what was expunged."""

    def within(self, uids: UidSet) -> list[int]:
        return [uid for uid in sorted(self.messages) if any(a <= uid <= b for a, b in uids)]

    def counters(self) -> tuple[int, int, int, int, int]:
        """messages, unseen, deleted, recent, size"""
        held = self.messages.values()
        return (
            len(held),
            sum(not one.system & SEEN for one in held),
            sum(bool(one.system & DELETED) for one in held),
            sum(uid >= self.first_recent for uid in self.messages),
            sum(len(one.content) for one in held),
        )


@attrs.define(eq=False)
class Kept:
    """A message that was expunged and can be had back."""

    folder: ModelFolder
    name: str
    uid: int
    message: Message
    expunged: str


def spans(uids: Iterable[int]) -> UidSet:
    """Single UIDs joined where they are neighbours."""
    found: list[list[int]] = []
    for uid in sorted(set(uids)):
        if found and found[-1][1] == uid - 1:
            found[-1][1] = uid
        else:
            found.append([uid, uid])
    return tuple((a, b) for a, b in found)


class Model:
    def __init__(self, now: datetime) -> None:
        self.folders: dict[str, ModelFolder] = {}
        self.subscribed = set(FIRST)
        self.spelling: dict[str, str] = {}
        self.deliveries: dict[str, int] = {}
        self.last_uidvalidity = 0
        self.kept: list[Kept] = []
        """In the order in which they were expunged."""
        for name, special_use in FIRST.items():
            self._add(name, special_use, now)

    def _add(self, name: str, special_use: str | None, now: datetime) -> ModelFolder:
        self.last_uidvalidity = max(self.last_uidvalidity + 1, int(now.timestamp()))
        self.folders[name] = ModelFolder(self.last_uidvalidity, special_use)
        return self.folders[name]

    def named(self, name: str) -> ModelFolder:
        found = self.folders.get(self.normalised(name))
        if found is None:
            raise NoSuchFolder
        return found

    @staticmethod
    def normalised(name: str) -> str:
        levels = unicodedata.normalize("NFC", name).split("/")
        if "" in levels:
            raise InvalidInput
        if levels[0].upper() == "INBOX":
            levels[0] = "INBOX"
        return "/".join(levels)

    # Folders

    def create_folder(self, name: str, special_use: str | None, now: datetime) -> None:
        name = self.normalised(name)
        if name in self.folders:
            raise AlreadyExists
        self._parents(name, now)
        self._add(name, special_use, now)

    def _parents(self, name: str, now: datetime) -> None:
        levels = name.split("/")
        for depth in range(1, len(levels)):
            parent = "/".join(levels[:depth])
            if parent not in self.folders:
                self._add(parent, None, now)

    def delete_folder(self, name: str, now: str) -> None:
        folder = self.named(name)
        name = self.normalised(name)
        if name == "INBOX":
            raise InvalidInput
        if any(one.startswith(name + "/") for one in self.folders):
            raise FolderHasChildren
        self._keep(name, sorted(folder.messages), now)
        for one in self.kept:
            if one.folder is folder:
                one.name = name
        del self.folders[name]

    def rename_folder(self, old: str, new: str, now: datetime) -> None:
        self.named(old)
        old, new = self.normalised(old), self.normalised(new)
        if new in self.folders:
            raise AlreadyExists
        if old == "INBOX":
            self.create_folder(new, None, now)
            self.move("INBOX", ((1, 2**32),), new, now)
            return
        if new.startswith(old + "/"):
            raise InvalidInput
        self._parents(new, now)
        for name in [one for one in self.folders if one == old or one.startswith(old + "/")]:
            target = new + name[len(old) :]
            self.folders[target] = self.folders.pop(name)
            if name in self.subscribed:
                self.subscribed = self.subscribed - {name} | {target}

    def subscribe(self, name: str, subscribed: bool) -> None:
        name = self.normalised(name)
        self.subscribed = self.subscribed | {name} if subscribed else self.subscribed - {name}

    # Messages

    def _words(self, keywords: str, *, register: bool) -> frozenset[str]:
        found = set()
        for word in keywords.split():
            if register:
                self.spelling.setdefault(word.lower(), word)
            if word.lower() in self.spelling:
                found.add(self.spelling[word.lower()])
        return frozenset(found)

    def append(self, name: str, new: list[NewMessage], now: str) -> list[int]:
        folder = self.named(name)
        uids = []
        modseq = folder.modseq + 1
        for one in new:
            if one.delivery_id is not None and one.delivery_id in self.deliveries:
                uids.append(self.deliveries[one.delivery_id])
                continue
            folder.modseq = modseq
            words = self._words(one.flags.keywords, register=True)
            folder.messages[folder.uidnext] = Message(
                one.content, one.flags.system, words, one.internal_date or now, now, modseq
            )
            if one.delivery_id is not None:
                self.deliveries[one.delivery_id] = folder.uidnext
            uids.append(folder.uidnext)
            folder.uidnext += 1
        return uids

    def store_flags(self, name: str, change: StoreFlags) -> tuple[list[int], UidSet]:
        """UIDs not refused, and those refused."""
        folder = self.named(name)
        words = self._words(change.flags.keywords, register=change.operation != "remove")
        done, refused = [], []
        modseq = folder.modseq + 1
        for uid in folder.within(change.uids):
            one = folder.messages[uid]
            if change.unchanged_since is not None and one.modseq > change.unchanged_since:
                refused.append(uid)
                continue
            done.append(uid)
            before = (one.system, one.keywords)
            self._change(one, change, words)
            if (one.system, one.keywords) != before:
                one.modseq = folder.modseq = modseq
        return done, spans(refused)

    @staticmethod
    def _change(one: Message, change: StoreFlags, words: frozenset[str]) -> None:
        if change.operation == "add":
            one.system |= change.flags.system
            one.keywords |= words
        elif change.operation == "remove":
            one.system &= ~change.flags.system
            one.keywords -= words
        else:
            one.system, one.keywords = change.flags.system, words

    def mark_seen(self, name: str, uids: list[int]) -> list[int]:
        folder = self.named(name)
        new = [uid for uid in uids if not folder.messages[uid].system & SEEN]
        self.store_flags(name, StoreFlags(spans(uids), "add", Flags(SEEN)))
        return new

    def expunge(self, name: str, uids: UidSet, now: str) -> UidSet:
        folder = self.named(name)
        gone = [uid for uid in folder.within(uids) if folder.messages[uid].system & DELETED]
        self._keep(name, gone, now)
        self._remove(folder, gone)
        return spans(gone)

    @staticmethod
    def _remove(folder: ModelFolder, uids: list[int]) -> None:
        if uids:
            folder.modseq += 1
        for uid in uids:
            del folder.messages[uid]
            folder.gone.append((folder.modseq, uid))

    def copy(self, name: str, uids: UidSet, to: str, now: str) -> tuple[list[int], list[int]]:
        source, target = self.named(name), self.named(to)
        found = source.within(uids)
        copies = [attrs.evolve(source.messages[uid], saved=now) for uid in found]
        if copies:
            target.modseq += 1
        new = []
        for one in copies:
            one.modseq = target.modseq
            target.messages[target.uidnext] = one
            new.append(target.uidnext)
            target.uidnext += 1
        return found, new

    def move(
        self, name: str, uids: UidSet, to: str, now: datetime | str
    ) -> tuple[list[int], list[int]]:
        text = now if isinstance(now, str) else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        found, new = self.copy(name, uids, to, text)
        self._remove(self.named(name), found)
        return found, new

    def claim(self, name: str) -> UidSet:
        """The \\Recent messages, which are then no longer."""
        folder = self.named(name)
        found = spans(uid for uid in folder.messages if uid >= folder.first_recent)
        folder.first_recent = folder.uidnext
        return found

    # Expunged messages

    def _keep(self, name: str, uids: list[int], now: str) -> None:
        folder = self.named(name)
        self.kept += [Kept(folder, name, uid, folder.messages[uid], now) for uid in uids]

    def name_of(self, one: Kept) -> str:
        """The name of its folder, which may be gone."""
        names = [name for name, folder in self.folders.items() if folder is one.folder]
        return names[0] if names else one.name

    def expunged(self, name: str | None, horizon: str) -> list[Kept]:
        """What can be had back, of a folder or of all."""
        wanted = None if name is None else self.normalised(name)
        return [
            one
            for one in self.kept
            if one.expunged >= horizon and wanted in (None, self.name_of(one))
        ]

    def undelete(self, name: str | None, to: str | None, horizon: str, now: datetime) -> int:
        to = None if to is None else self.normalised(to)
        found = self.expunged(name, horizon)
        raised: set[int] = set()
        # a folder's UIDVALIDITY tells which was made first
        for one in sorted(found, key=lambda one: (one.folder.uidvalidity, one.uid)):
            place = self.name_of(one) if to is None else to
            if place not in self.folders:
                self.create_folder(place, None, now)
            target = self.folders[place]
            if id(target) not in raised:
                target.modseq += 1
                raised.add(id(target))
            text = now.strftime("%Y-%m-%dT%H:%M:%SZ")
            target.messages[target.uidnext] = attrs.evolve(
                one.message,
                system=one.message.system & ~DELETED,
                saved=text,
                modseq=target.modseq,
            )
            target.uidnext += 1
            self.kept.remove(one)
        return len(found)

    def purge(self, name: str) -> None:
        gone = self.expunged(name, "")
        self.kept = [one for one in self.kept if one not in gone]

    # Questions

    def changed(self, name: str, since: int) -> list[tuple[int, int, str, int]]:
        held = sorted(self.named(name).messages.items())
        return [(uid, one.system, one.words, one.modseq) for uid, one in held if one.modseq > since]

    def vanished(self, name: str, since: int) -> UidSet:
        return spans(uid for modseq, uid in self.named(name).gone if modseq > since)
