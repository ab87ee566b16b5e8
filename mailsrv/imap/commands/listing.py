"""Seeing folders: LIST, LSUB, STATUS (rfc3501, 6.3), with LIST-EXTENDED (rfc5258), CHILDREN
(rfc3348), SPECIAL-USE (rfc6154), LIST-STATUS (rfc5819), STATUS=SIZE (rfc8438) and APPENDLIMIT
(rfc7889)."""

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any

import attrs

from mailsrv.imap import format as wire_format
from mailsrv.imap.command import AFTER_LOGIN, Capability, Command
from mailsrv.imap.grammar import PARSERS
from mailsrv.imap.list_grammar import List, Status
from mailsrv.imap.listing import Matcher, ancestors, join
from mailsrv.imap.reply import Done, No
from mailsrv.imap.session import Session
from mailsrv.imap.streams import pages
from mailsrv.store.values import FetchRequest, Folder, HasFlag

ROOT = b'(\\Noselect) "/" ""'


@attrs.frozen
class Names:
    """All names there are and what is known of them, at one moment."""

    folders: dict[str, Folder]
    subscribed: frozenset[str]
    parents: frozenset[str]

    @classmethod
    def of(cls, folders: Iterable[Folder], subscribed: Iterable[str]) -> "Names":
        by_name = {folder.name: folder for folder in folders}
        parents = frozenset(parent for name in by_name for parent in ancestors(name))
        return cls(by_name, frozenset(subscribed), parents)

    def attributes(self, name: str, *, tell_subscribed: bool) -> list[str]:
        """Attributes of one name, in the spelling of rfc9051:6690."""
        folder = self.folders.get(name)
        found = [] if folder else ["\\NonExistent"]
        if tell_subscribed and name in self.subscribed:
            found.append("\\Subscribed")
        found.append("\\HasChildren" if name in self.parents else "\\HasNoChildren")
        if folder and folder.special_use:
            found.append(folder.special_use)
        return found


async def list_folders(session: Session, argument: List) -> Done:
    """LIST (rfc3501:2191; rfc5258)."""
    if argument.patterns == ("",) and not argument.extended:
        session.tell(b"LIST " + ROOT)
        return Done("LIST completed")
    names = await _names(session)
    tell_subscribed = "SUBSCRIBED" in argument.select | argument.returns
    for name, has_chosen_child in _chosen(names, argument):
        attributes = names.attributes(name, tell_subscribed=tell_subscribed)
        info = ("SUBSCRIBED",) if has_chosen_child else ()
        await _tell(session, wire_format.listed(name, attributes, child_info=info))
        if argument.status and name in names.folders:
            line = await _status_line(session, names.folders[name], argument.status)
            await _tell(session, line)
    return Done("LIST completed")


def _chosen(names: Names, argument: List) -> Iterator[tuple[str, bool]]:
    """Names to list, each with whether it stands for children below it (rfc5258, 3.5)."""
    matcher = Matcher(join(argument.reference, pattern) for pattern in argument.patterns)
    select = argument.select
    selected = set(_selected(names, select))
    above: set[str] = set()
    if "RECURSIVEMATCH" in select:
        hidden = {name for name in selected if not matcher.matches(name)}
        above = {parent for name in hidden for parent in ancestors(name)}
    order = dict.fromkeys((*names.folders, *sorted(names.subscribed), *sorted(above)))
    for name in order:
        if (name in selected or name in above) and matcher.matches(name):
            yield name, name in above


def _selected(names: Names, select: frozenset[str]) -> Iterator[str]:
    candidates = names.subscribed if "SUBSCRIBED" in select else names.folders
    for name in candidates:
        folder = names.folders.get(name)
        if "SPECIAL-USE" not in select or (folder and folder.special_use):
            yield name


async def lsub(session: Session, argument: List) -> Done:
    """LSUB (rfc3501:2374): parents of what the pattern does not reach are \\Noselect."""
    if argument.patterns == ("",):
        session.tell(b"LSUB " + ROOT)
        return Done("LSUB completed")
    names = await _names(session)
    matcher = Matcher([join(argument.reference, argument.patterns[0])])
    order = [name for name in names.folders if name in names.subscribed]
    order += sorted(names.subscribed - set(order))
    for name in order:
        if matcher.matches(name):
            attributes = [] if name in names.folders else ["\\Noselect"]
            await _tell(session, wire_format.listed(name, attributes, response="LSUB"))
    hidden = [name for name in names.subscribed if not matcher.matches(name)]
    for parent in matcher.parents(hidden):
        if parent not in names.subscribed:
            await _tell(session, wire_format.listed(parent, ["\\Noselect"], response="LSUB"))
    return Done("LSUB completed")


async def status(session: Session, argument: Status) -> Done:
    """STATUS (rfc3501:2424)."""
    folders = await session.store.folders(session.door)
    folder = next((one for one in folders if one.name == argument.mailbox), None)
    if folder is None:
        raise No("There is no such folder", "NONEXISTENT")
    session.output.write(await _status_line(session, folder, argument.items) + b"\r\n")
    return Done("STATUS completed")


async def _names(session: Session) -> Names:
    folders = await session.store.folders(session.door)
    return Names.of(folders, await session.store.subscriptions(session.door))


async def _tell(session: Session, line: bytes) -> None:
    await session.send([line + b"\r\n"])


_COUNTERS = {
    "MESSAGES": "messages",
    "RECENT": "recent",
    "UIDNEXT": "uidnext",
    "UIDVALIDITY": "uidvalidity",
    "UNSEEN": "unseen",
    "HIGHESTMODSEQ": "highestmodseq",
    "SIZE": "size",
    "DELETED": "deleted",
}


async def _status_line(session: Session, folder: Folder, items: tuple[str, ...]) -> bytes:
    if "HIGHESTMODSEQ" in items:
        session.enable_condstore()
    values: list[tuple[str, int]] = []
    for item in items:
        value: Any
        if item == "APPENDLIMIT":
            value = session.options.append_limit
        elif item == "DELETED-STORAGE":
            value = await _deleted_octets(session, folder)
        else:
            value = getattr(folder, _COUNTERS[item])
        values.append((item, value))
    return wire_format.status(folder.name, values)


async def _deleted_octets(session: Session, folder: Folder) -> int:
    """What EXPUNGE would free (rfc9208:394); added up only for those who ask."""
    if not folder.deleted:
        return 0
    found = await session.store.search(session.door, folder.id, HasFlag("\\Deleted"))
    uids = wire_format.ranges_of(wire_format.unpack(found.uids))
    total = 0
    request = FetchRequest(uids, ("size",))
    async with aclosing(pages(session, folder.id, request)) as found_pages:
        async for page in found_pages:
            total += sum(row[1] for row in page.rows)
    return total


def _after_login(session: Session) -> tuple[str, ...]:
    if session.access is None:
        return ()
    return (
        "CHILDREN",
        "LIST-EXTENDED",
        "LIST-STATUS",
        "SPECIAL-USE",
        "STATUS=SIZE",
        f"APPENDLIMIT={session.options.append_limit}",
    )


COMMANDS = (
    Command("LIST", AFTER_LOGIN, PARSERS["LIST"], list_folders),
    Command("LSUB", AFTER_LOGIN, PARSERS["LSUB"], lsub),
    Command("STATUS", AFTER_LOGIN, PARSERS["STATUS"], status),
)
CAPABILITIES = (Capability(_after_login),)
