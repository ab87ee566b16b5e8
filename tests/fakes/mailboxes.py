"""A mailbox as plain Python objects: what the encrypted file does, without a file.

Numbers follow the same rules (one modseq for each change, UIDs never reused), so that sessions
tested against it meet the real thing prepared.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import attrs

from mailsrv.errors import AlreadyExists, FolderHasChildren, InvalidInput, NoSuchFolder
from mailsrv.message.scan import Scanned, scan
from mailsrv.store.values import (
    DELETED,
    SEEN,
    SYSTEM_FLAGS,
    Changes,
    ExpungedQuery,
    FlagRow,
    Flags,
    Folder,
    Selected,
    UidSet,
)

SPECIAL = ("Drafts", "Sent", "Junk", "Trash", "Archive")


def ranges(uids: Iterable[int]) -> UidSet:
    """Ascending, non-overlapping ranges of ``uids``."""
    found: list[tuple[int, int]] = []
    for uid in sorted(set(uids)):
        if found and uid == found[-1][1] + 1:
            found[-1] = (found[-1][0], uid)
        else:
            found.append((uid, uid))
    return tuple(found)


def within(uid: int, uids: UidSet) -> bool:
    return any(low <= uid <= high for low, high in uids)


def merge_keywords(old: str, new: str) -> str:
    spelled = {word.lower(): word for word in new.split()}
    spelled.update((word.lower(), word) for word in old.split())
    return " ".join(sorted(spelled.values()))


def drop_keywords(old: str, gone: str) -> str:
    lower = {word.lower() for word in gone.split()}
    return " ".join(word for word in old.split() if word.lower() not in lower)


@attrs.define
class FakeMessage:
    uid: int
    content: bytes
    scanned: Scanned
    system: int
    keywords: str
    internal_date: str
    saved: str
    modseq: int

    @property
    def email_id(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:24]

    def row(self) -> FlagRow:
        return FlagRow(uid=self.uid, flags=self.system, keywords=self.keywords, modseq=self.modseq)

    def has(self, name: str) -> bool:
        for flag, bit in SYSTEM_FLAGS.items():
            if flag.lower() == name.lower():
                return bool(self.system & bit)
        return name.lower() in self.keywords.lower().split()


@attrs.frozen
class FakeExpunged:
    """A message that can be had back."""

    id: int
    folder_id: int
    folder: str
    message: FakeMessage
    expunged: str


@attrs.define
class FakeFolder:
    id: int
    name: str
    special_use: str | None = None
    uidvalidity: int = 1
    uidnext: int = 1
    modseq: int = 1
    recent_from: int = 1
    messages: dict[int, FakeMessage] = attrs.field(factory=dict)
    expunged: list[tuple[int, int]] = attrs.field(factory=list)

    def picked(self, uids: UidSet) -> Iterator[FakeMessage]:
        return (message for uid, message in list(self.messages.items()) if within(uid, uids))

    def recent(self) -> list[int]:
        return [uid for uid in self.messages if uid >= self.recent_from]

    def add(self, content: bytes, flags: Flags, internal_date: str, now: str) -> int:
        uid = self.uidnext
        self.messages[uid] = FakeMessage(
            uid=uid,
            content=content,
            scanned=scan(content),
            system=flags.system,
            keywords=merge_keywords("", flags.keywords),
            internal_date=internal_date,
            saved=now,
            modseq=self.modseq,
        )
        self.uidnext += 1
        return uid

    def remove(self, uids: Iterable[int]) -> None:
        for uid in uids:
            del self.messages[uid]
            self.expunged.append((self.modseq, uid))

    def changes(self, since: int, claim_recent: bool) -> Changes:
        recent = ranges(self.recent()) if claim_recent else ()
        if claim_recent:
            self.recent_from = self.uidnext
        return Changes(
            modseq=self.modseq,
            uidnext=self.uidnext,
            changed=[message.row() for message in self.messages.values() if message.modseq > since],
            vanished=ranges(uid for modseq, uid in self.expunged if modseq > since),
            recent=recent,
        )

    def as_value(self, subscribed: bool) -> Folder:
        every = list(self.messages.values())
        return Folder(
            id=self.id,
            name=self.name,
            object_id=f"{self.id:024x}",
            special_use=self.special_use,
            subscribed=subscribed,
            uidvalidity=self.uidvalidity,
            uidnext=self.uidnext,
            highestmodseq=self.modseq,
            messages=len(every),
            unseen=sum(not message.system & SEEN for message in every),
            deleted=sum(bool(message.system & DELETED) for message in every),
            recent=len(self.recent()),
            size=sum(message.scanned.size for message in every),
        )


class FakeMailbox:
    """All folders of one alias."""

    def __init__(self) -> None:
        self.by_id: dict[int, FakeFolder] = {}
        self.subscribed: set[str] = set()
        self.delivered: set[str] = set()
        self.kept: list[FakeExpunged] = []
        self._next_id = 1
        self._uidvalidity = 1000
        for name in ("INBOX", *SPECIAL):
            self.make(name, None if name == "INBOX" else "\\" + name)
            self.subscribed.add(name)

    def make(self, name: str, special_use: str | None = None) -> FakeFolder:
        self._uidvalidity += 1
        folder = FakeFolder(
            id=self._next_id, name=name, special_use=special_use, uidvalidity=self._uidvalidity
        )
        self._next_id += 1
        self.by_id[folder.id] = folder
        return folder

    def checked(self, name: str) -> str:
        """The canonical spelling of a name that may be made."""
        levels = name.split("/")
        if any(not level or any(ord(letter) < 32 for letter in level) for level in levels):
            raise InvalidInput("A folder name needs readable text between its separators")
        if levels[0].upper() == "INBOX":
            levels[0] = "INBOX"
        return "/".join(levels)

    def find(self, name: str) -> FakeFolder | None:
        if name.upper() == "INBOX" or name.upper().startswith("INBOX/"):
            name = "INBOX" + name[5:]
        return next((one for one in self.by_id.values() if one.name == name), None)

    def named(self, name: str) -> FakeFolder:
        found = self.find(name)
        if found is None:
            raise NoSuchFolder("There is no such folder")
        return found

    def numbered(self, folder_id: int) -> FakeFolder:
        if folder_id not in self.by_id:
            raise NoSuchFolder("The folder has gone")
        return self.by_id[folder_id]

    def listed(self) -> list[Folder]:
        every = sorted(self.by_id.values(), key=lambda one: (one.name != "INBOX", one.name))
        return [one.as_value(one.name in self.subscribed) for one in every]

    def create(self, name: str, special_use: str | None) -> FakeFolder:
        name = self.checked(name)
        if self.find(name):
            raise AlreadyExists("There is a folder of that name")
        levels = name.split("/")
        for depth in range(1, len(levels)):
            parent = "/".join(levels[:depth])
            if not self.find(parent):
                self.make(parent)
        return self.make(name, special_use)

    def keep(self, folder: FakeFolder, uids: Iterable[int], now: str) -> None:
        """What is about to be removed can be had back."""
        for uid in uids:
            message = folder.messages[uid]
            self._next_id += 1
            self.kept.append(FakeExpunged(self._next_id, folder.id, folder.name, message, now))

    def recoverable(self, which: ExpungedQuery) -> list[FakeExpunged]:
        """Those of the kept messages that are meant."""
        wanted = None if which.folder is None else self.checked(which.folder)
        return [
            one
            for one in self.kept
            if (which.ids is None or one.id in which.ids)
            and wanted in (None, self.folder_of(one))
            and (which.since is None or one.expunged >= which.since)
            and which.subject.lower() in one.message.scanned.subject.lower()
        ]

    def folder_of(self, one: FakeExpunged) -> str:
        """The name of its folder, which may be gone."""
        folder = self.by_id.get(one.folder_id)
        return one.folder if folder is None else folder.name

    def delete(self, name: str, now: str) -> FakeFolder:
        folder = self.named(name)
        if folder.name == "INBOX":
            raise InvalidInput("INBOX stays")
        if any(one.name.startswith(folder.name + "/") for one in self.by_id.values()):
            raise FolderHasChildren("A folder that has children stays")
        self.keep(folder, folder.messages, now)
        return self.by_id.pop(folder.id)

    def rename(self, old: str, new: str) -> None:
        folder, new = self.named(old), self.checked(new)
        if self.find(new):
            raise AlreadyExists("There is a folder of that name")
        if new.startswith(folder.name + "/"):
            raise InvalidInput("A folder cannot move into itself")
        if folder.name == "INBOX":
            self._move_all(folder, self.create(new, None))
            return
        parent = new.rpartition("/")[0]
        if parent and not self.find(parent):
            self.create(parent, None)
        before = folder.name
        for one in self.by_id.values():
            if one.name == before or one.name.startswith(before + "/"):
                one.name = new + one.name[len(before) :]

    def _move_all(self, source: FakeFolder, target: FakeFolder) -> None:
        source.modseq += 1
        for message in source.messages.values():
            flags = Flags(system=message.system, keywords=message.keywords)
            target.add(message.content, flags, message.internal_date, message.saved)
        source.remove(list(source.messages))

    def select(self, name: str, writable: bool) -> Selected:
        folder = self.named(name)
        value = folder.as_value(folder.name in self.subscribed)
        recent = ranges(folder.recent())
        if writable:
            folder.recent_from = folder.uidnext
        unseen = [uid for uid, one in folder.messages.items() if not one.system & SEEN]
        words = {
            word
            for one in self.by_id.values()
            for m in one.messages.values()
            for word in m.keywords.split()
        }
        return Selected(
            folder=value,
            uids=array("I", folder.messages).tobytes(),
            recent=recent,
            first_unseen=unseen[0] if unseen else None,
            keywords=tuple(sorted(words)),
        )

    def octets(self, *, kept: bool = True) -> int:
        expunged = sum(one.message.scanned.size for one in self.kept) if kept else 0
        return expunged + sum(one.as_value(False).size for one in self.by_id.values())
