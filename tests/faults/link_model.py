"""What a mailbox must hold after changes of which some answers were lost.

A ``Change`` knows how a client asks for it and what it makes of a ``Box``, the mailbox in plain
Python. After an OK the mailbox must be the box that the change makes; after a NO that says nothing
of the link, the box as it was; where no answer came, one of the two and nothing between.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.clients.imap_client import Answer, Client, Literal
from tests.clients.imap_responses import number_set
from tests.faults.cluster import Cluster, Secondary
from tests.faults.common import MARK, marked
from tests.waiting import eventually

FIRST = ("INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash")
GONE = (EOFError, OSError)
ITEMS = "(UID FLAGS MODSEQ BODY.PEEK[])"


class Unknown(Exception):
    """No answer came: the change was made or it was not."""


class Refused(Exception):
    """The server said NO for a reason of its own."""


@dataclass
class Held:
    """One message. ``uid`` is None until somebody says it."""

    uid: int | None
    mark: str
    flags: frozenset[str] = frozenset()


@dataclass
class Box:
    """Folders by name, messages in the order of their UIDs."""

    folders: dict[str, list[Held]] = field(default_factory=lambda: {name: [] for name in FIRST})

    def within(self, folder: str, uids: list[int]) -> list[Held]:
        return [one for one in self.folders[folder] if one.uid in uids]

    def uids(self, folder: str) -> list[int]:
        return [one.uid for one in self.folders[folder] if one.uid is not None]

    def difference(self, seen: "Seen") -> str:
        """In what the mailbox is not this box; empty when it is."""
        if set(seen.folders) != set(self.folders):
            return f"folders {sorted(seen.folders)}, not {sorted(self.folders)}"
        for name, held in self.folders.items():
            found = seen.folders[name]
            same = len(found) == len(held) and all(
                here.uid in (None, there.uid)
                and (here.mark, here.flags) == (there.mark, there.flags)
                for here, there in zip(held, found, strict=True)
            )
            if not same:
                return f"{name} has {found}, not {held}"
        return ""


@dataclass
class Seen:
    """The mailbox as a client sees it, with each folder's HIGHESTMODSEQ."""

    folders: dict[str, list[Held]]
    modseqs: dict[str, int]

    @property
    def box(self) -> Box:
        return Box(copy.deepcopy(self.folders))


def see(client: Client) -> Seen:
    """All folders, every message whole by its size."""
    folders: dict[str, list[Held]] = {}
    modseqs: dict[str, int] = {}
    for name in client.listed():
        opened = client.ok(f"EXAMINE {name} (CONDSTORE)")
        modseqs[name] = int(opened.code("HIGHESTMODSEQ"))
        rows = client.fetch("1:*", ITEMS) if client.exists else {}
        folders[name] = [_held(row, modseqs[name]) for _, row in sorted(rows.items())]
        uids = [one.uid for one in folders[name]]
        if uids != sorted(set(uids)):
            raise AssertionError(f"UIDs that do not rise: {uids}")
    client.ok("UNSELECT")
    return Seen(folders, modseqs)


def content(mark: str) -> bytes:
    """The message of that mark; with ``big`` in it, too long for one frame of the link."""
    return marked(mark, 200_000 if "big" in mark else 300)


def _held(row: dict[str, Any], modseq: int) -> Held:
    mark = MARK.search(row["BODY[]"])[1].decode()
    if not row["BODY[]"].endswith(content(mark)):  # a delivery has trace fields before it
        raise AssertionError(f"{mark}: {len(row['BODY[]'])} octets are not what was sent")
    if row["MODSEQ"] > modseq:
        raise AssertionError(f"{mark}: MODSEQ {row['MODSEQ']} above HIGHESTMODSEQ {modseq}")
    flags = frozenset(flag.decode() for flag in row["FLAGS"]) - {"\\Recent"}
    return Held(row["UID"], mark, flags)


class Session:
    """One owner at one secondary; connects when it must. ``folder`` is the one selected."""

    def __init__(self, cluster: Cluster, secondary: Secondary, address: str, password: str) -> None:
        self.cluster = cluster
        self.secondary = secondary
        self.address = address
        self.password = password
        self._client: Client | None = None
        self.folder = ""

    def client(self, folder: str = "") -> Client:
        """Logged in, with the folder selected."""
        if self._client is None:
            self._client = self.secondary.imap(self.address, self.password, "")
            self.folder = ""
        if folder and folder != self.folder:
            self.folder = ""
            self._client.ok(f"SELECT {folder}")
            self.folder = folder
        return self._client

    def catch_up(self, folder: str, messages: int) -> None:
        """Wait until the client was told of so many: of others its commands would do nothing."""
        client = self.client(folder)
        if not eventually(lambda: bool(client.ok("NOOP")) and client.exists == messages):
            raise AssertionError(f"told of {client.exists} messages in {folder}, not {messages}")

    def see(self) -> Seen:
        """The mailbox, once mail that waits sealed has been merged into it."""
        client = self.client()
        self.folder = ""
        if not eventually(lambda: bool(client.ok("NOOP")) and not self.cluster.waiting_files()):
            raise AssertionError("mail waits though its owner is here")
        return see(client)

    def forget(self) -> None:
        """The connection is of no use any more."""
        if self._client is not None:
            self._client.close()
        self._client = None


class Change:
    """``operation`` is what it is called on the link."""

    operation = ""

    def ask(self, session: Session) -> Answer | None:
        raise NotImplementedError

    def apply(self, box: Box, answer: Answer | None) -> None:
        """Make the change; what only the answer says is left open without one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Append(Change):
    operation = "append"
    folder: str
    mark: str
    flags: frozenset[str] = frozenset()

    def ask(self, session: Session) -> Answer:
        words = f"APPEND {self.folder} ({' '.join(sorted(self.flags))}) "
        return session.client().command(words, Literal(content(self.mark), plus=True))

    def apply(self, box: Box, answer: Answer | None) -> None:
        uid = int(answer.code("APPENDUID").split()[1]) if answer else None
        box.folders[self.folder].append(Held(uid, self.mark, self.flags))


@dataclass(frozen=True)
class Deliver(Change):
    operation = "deliver"
    mark: str

    def ask(self, session: Session) -> None:
        reply = session.secondary.deliver(content(self.mark), session.address)
        if reply.startswith("4"):
            raise Unknown(reply)
        if reply != "250 2.0.0":
            raise Refused(reply)

    def apply(self, box: Box, answer: Answer | None) -> None:
        box.folders["INBOX"].append(Held(None, self.mark))


@dataclass(frozen=True)
class Transfer(Change):
    folder: str
    uids: list[int]
    to: str
    moving: bool = False

    @property
    def operation(self) -> str:  # type: ignore[override]
        return "move" if self.moving else "copy"

    def ask(self, session: Session) -> Answer:
        words = f"UID {self.operation.upper()} {_set(self.uids)} {self.to}"
        return session.client(self.folder).command(words)

    def apply(self, box: Box, answer: Answer | None) -> None:
        found = box.within(self.folder, self.uids)
        new: list[int | None] = [None] * len(found)
        if answer and answer.has_code("COPYUID"):
            _, source, destination = answer.code("COPYUID").split()
            if number_set(source) != [one.uid for one in found]:
                raise AssertionError(f"COPYUID of {source!r}, not of {found}")
            new = list(number_set(destination))
        copies = [Held(uid, one.mark, one.flags) for uid, one in zip(new, found, strict=True)]
        if self.moving:
            box.folders[self.folder] = [one for one in box.folders[self.folder] if one not in found]
        box.folders[self.to] += copies


@dataclass(frozen=True)
class Store(Change):
    operation = "store_flags"
    folder: str
    uids: list[int]
    flag: str
    sign: str = "+"

    def ask(self, session: Session) -> Answer:
        words = f"UID STORE {_set(self.uids)} {self.sign}FLAGS.SILENT ({self.flag})"
        return session.client(self.folder).command(words)

    def apply(self, box: Box, answer: Answer | None) -> None:
        for one in box.within(self.folder, self.uids):
            one.flags = one.flags - {self.flag} if self.sign == "-" else one.flags | {self.flag}


@dataclass(frozen=True)
class Expunge(Change):
    operation = "expunge"
    folder: str

    def ask(self, session: Session) -> Answer:
        return session.client(self.folder).command("EXPUNGE")

    def apply(self, box: Box, answer: Answer | None) -> None:
        held = box.folders[self.folder]
        box.folders[self.folder] = [one for one in held if "\\Deleted" not in one.flags]


@dataclass(frozen=True)
class Create(Change):
    operation = "create_folder"
    name: str

    def ask(self, session: Session) -> Answer:
        return session.client().command(f"CREATE {self.name}")

    def apply(self, box: Box, answer: Answer | None) -> None:
        if self.name in box.folders:
            raise Refused("it is there")
        box.folders[self.name] = []


@dataclass(frozen=True)
class Delete(Change):
    operation = "delete_folder"
    name: str

    def ask(self, session: Session) -> Answer:
        return session.client("INBOX").command(f"DELETE {self.name}")

    def apply(self, box: Box, answer: Answer | None) -> None:
        if box.folders.pop(self.name, None) is None:
            raise Refused("it is not there")


def _set(uids: list[int]) -> str:
    return ",".join(map(str, uids))


def perform(change: Change, session: Session, box: Box) -> list[Box]:
    """The boxes that the mailbox may be afterwards: one, unless no answer came."""
    after = copy.deepcopy(box)
    if isinstance(change, Transfer | Store | Expunge):
        session.catch_up(change.folder, len(box.folders[change.folder]))
    try:
        answer = asked(change, session)
    except Refused:
        _must_be_refused(change, after)
        return [box]
    except Unknown:
        try:
            change.apply(after, None)
        except Refused:
            return [box]
        return [box, after]
    change.apply(after, answer)
    return [after]


def asked(change: Change, session: Session) -> Answer | None:
    try:
        answer = change.ask(session)
    except GONE as error:
        session.forget()
        raise Unknown(str(error)) from None
    if answer is None or answer.status.kind == "OK":
        return answer
    if answer.status.code == "UNAVAILABLE":
        raise Unknown(answer.status)
    if answer.status.kind == "BAD":
        raise AssertionError(f"{change}: {answer.status}")
    raise Refused(answer.status)


def _must_be_refused(change: Change, box: Box) -> None:
    try:
        change.apply(box, None)
    except Refused:
        return
    raise AssertionError(f"{change} was refused")


def agree(boxes: list[Box], seen: Seen) -> Box:
    """The mailbox as it was seen, when that is one of the boxes. AssertionError otherwise."""
    differences = [box.difference(seen) for box in boxes]
    if all(differences):
        raise AssertionError("; or ".join(differences))
    return seen.box
