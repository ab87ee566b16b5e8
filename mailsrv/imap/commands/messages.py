"""Reading and changing messages: FETCH, STORE, COPY, EXPUNGE (rfc3501, 6.4).

With UIDPLUS (rfc4315), MOVE (rfc6851) and the modifiers of CONDSTORE (rfc7162).

A message that another session expunged keeps its number until that is said. What still exists is
answered, and the command ends with NO [EXPUNGEISSUED], after which clients ask (rfc2180, 4.1.2).
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from mailsrv.errors import NoSuchFolder
from mailsrv.imap import format as wire_format
from mailsrv.imap.command import SELECTED, Command, nothing
from mailsrv.imap.fetch import FetchPlan, LargeSection, Piece, compile_plan
from mailsrv.imap.fetch_grammar import Fetch
from mailsrv.imap.grammar import PARSERS, Copy, Expunge, Store
from mailsrv.imap.reply import Bye, Done, No
from mailsrv.imap.selected import SelectedFolder
from mailsrv.imap.session import Session
from mailsrv.imap.streams import pages
from mailsrv.store.values import ALL_UIDS, Copied, FetchPage, FlagRow, StoreFlags, UidSet

READ = 256 * 1024
"""Octets of a large section that are in memory at once."""

GONE = No("Some of these messages are gone", "EXPUNGEISSUED")

Handler = Callable[[Session, Any], Awaitable[Done]]


def _both(handler: Callable[..., Awaitable[Done]]) -> tuple[Handler, Handler]:
    """One handler as those of a command and of its UID form."""

    async def by_number(session: Session, argument: Any) -> Done:
        return await handler(session, argument, by_uid=False)

    async def by_uid(session: Session, argument: Any) -> Done:
        return await handler(session, argument, by_uid=True)

    return by_number, by_uid


def _writable(session: Session) -> SelectedFolder:
    if not session.folder.writable:
        raise No("The folder is open for reading only")
    return session.folder


# FETCH


async def fetch(session: Session, argument: Fetch, *, by_uid: bool) -> Done:
    """FETCH (rfc3501:2992), page by page and no faster than the client reads."""
    folder = session.folder
    conditional = argument.changed_since is not None
    if conditional or any(item.label == b"MODSEQ" for item in argument.items):
        session.enable_condstore()
    uids = folder.resolve(argument.numbers, by_uid=by_uid)
    plan = compile_plan(argument.items, uid=by_uid, modseq=conditional, condstore=session.condstore)
    request = plan.request(uids, changed_since=argument.changed_since, writable=folder.writable)
    found = 0
    async with aclosing(pages(session, folder.id, request)) as found_pages:
        async for page in found_pages:
            found += len(page.rows)
            await _write_page(session, folder, plan, page)
    if not by_uid and not conditional and found < folder.count(uids):
        raise GONE
    return Done("FETCH completed")


async def _write_page(
    session: Session, folder: SelectedFolder, plan: FetchPlan, page: FetchPage
) -> None:
    rows, numbers = folder.numbered(page.rows)
    page = FetchPage(rows=rows, next_uid=page.next_uid, newly_seen=page.newly_seen)
    for piece in plan.render(numbers, page, folder.recent):
        await _write_piece(session, folder, piece)
    folder.told(plan.told(page))


async def _write_piece(session: Session, folder: SelectedFolder, piece: Piece) -> None:
    if isinstance(piece, bytes):
        await session.send([piece])
    else:
        await _stream(session, folder, piece)


async def _stream(session: Session, folder: SelectedFolder, large: LargeSection) -> None:
    """A section in pieces: its length is promised, so it comes whole or the session ends."""
    session.unbroken = True
    sent = 0
    for window in large.windows(READ):
        data = await session.store.read(session.door, folder.id, large.uid, window)
        sent += len(data or b"")
        if data is None or sent > large.size:
            break
        session.output.write(data)
        await session.output.drain()
    if sent != large.size:
        raise Bye("The message went away while it was sent")
    session.unbroken = False


# STORE


async def store(session: Session, argument: Store, *, by_uid: bool) -> Done:
    """STORE (rfc3501:3214), with UNCHANGEDSINCE (rfc7162:536)."""
    folder = _writable(session)
    if argument.unchanged_since is not None:
        session.enable_condstore()
    uids = folder.resolve(argument.numbers, by_uid=by_uid)
    result = await session.store.store_flags(
        session.door,
        folder.id,
        StoreFlags(
            uids=uids,
            operation=argument.operation,
            flags=argument.flags,
            unchanged_since=argument.unchanged_since,
        ),
        None,
    )
    in_step = folder.advance(result.base, result.modseq)
    if not argument.silent or session.condstore:
        await _tell_flags(session, folder, result.rows, by_uid=by_uid, flags=not argument.silent)
        if not in_step and not argument.silent:
            folder.told((row.uid, row.modseq) for row in result.rows)
    answered = len(result.rows) + folder.count(result.refused)
    missing = folder.count(uids) > answered
    return _stored(folder, result.refused, by_uid=by_uid, missing=missing and not by_uid)


async def _tell_flags(
    session: Session, folder: SelectedFolder, rows: list[FlagRow], *, by_uid: bool, flags: bool
) -> None:
    condstore = session.condstore
    await session.send(folder.new_keywords(row.keywords for row in rows))
    await session.send(
        folder.flags_line(row, uid=by_uid or condstore, modseq=condstore, flags=flags)
        for row in rows
    )


def _stored(folder: SelectedFolder, refused: UidSet, *, by_uid: bool, missing: bool) -> Done:
    code = None
    if refused:
        numbers = refused
        if not by_uid:
            known = (folder.number(uid) or 0 for uid in folder.known(refused))
            numbers = wire_format.ranges_of(known)
        code = f"MODIFIED {wire_format.number_set(numbers).decode('ascii')}"
    if missing:
        raise No(GONE.text, code or GONE.code)
    return Done("Some messages had changed" if refused else "STORE completed", code)


# COPY, MOVE


async def copy(session: Session, argument: Copy, *, by_uid: bool) -> Done:
    """COPY (rfc3501:3288)."""
    copied = await _carry(session, session.store.copy, argument, by_uid=by_uid)
    return Done("COPY completed", _copyuid(copied))


async def move(session: Session, argument: Copy, *, by_uid: bool) -> Done:
    """MOVE (rfc6851:142): COPYUID goes before the EXPUNGEs."""
    folder = _writable(session)
    copied = await _carry(session, session.store.move, argument, by_uid=by_uid)
    code = _copyuid(copied)
    if code:
        session.tell(f"OK [{code}] Moved".encode("ascii"))
    if copied.folder_id != folder.id:
        # within one folder there are new messages to ask for as well
        folder.advance(copied.base, copied.modseq)
    folder.vanish(wire_format.ranges_of(copied.source))
    return Done("MOVE completed")


async def _carry(
    session: Session, carry: Callable[..., Awaitable[Copied]], argument: Copy, *, by_uid: bool
) -> Copied:
    folder = session.folder
    uids = folder.resolve(argument.numbers, by_uid=by_uid)
    if not by_uid:
        await session.learn()
        if folder.gone(uids):
            raise GONE
    try:
        copied = await carry(session.door, folder.id, uids, argument.mailbox, None)
    except NoSuchFolder:
        raise No("There is no such folder", "TRYCREATE") from None
    if copied.folder_id == folder.id:
        folder.hear(copied.destination_modseq)
    return copied


def _copyuid(copied: Copied) -> str | None:
    if not copied.source:
        return None
    source, destination = wire_format.paired_sets(copied.source, copied.destination)
    return f"COPYUID {copied.uidvalidity} {source.decode()} {destination.decode()}"


# EXPUNGE


async def expunge(session: Session, _argument: None) -> Done:
    """EXPUNGE (rfc3501:2695)."""
    await _expunge(session, ALL_UIDS)
    return Done("EXPUNGE completed")


async def uid_expunge(session: Session, argument: Expunge) -> Done:
    """UID EXPUNGE (rfc4315:75)."""
    numbers = argument.numbers
    if numbers is not None:
        await _expunge(session, session.folder.resolve(numbers, by_uid=True))
    return Done("UID EXPUNGE completed")


async def _expunge(session: Session, uids: UidSet) -> None:
    folder = _writable(session)
    result = await session.store.expunge(session.door, folder.id, uids, None)
    folder.advance(result.base, result.modseq)
    folder.vanish(result.uids)


FETCH, UID_FETCH = _both(fetch)
STORE, UID_STORE = _both(store)
COPY, UID_COPY = _both(copy)
MOVE, UID_MOVE = _both(move)

COMMANDS = (
    Command("FETCH", SELECTED, PARSERS["FETCH"], FETCH, expunge=False),
    Command("UID FETCH", SELECTED, PARSERS["FETCH"], UID_FETCH),
    Command("STORE", SELECTED, PARSERS["STORE"], STORE, expunge=False),
    Command("UID STORE", SELECTED, PARSERS["STORE"], UID_STORE),
    Command("COPY", SELECTED, PARSERS["COPY"], COPY),
    Command("UID COPY", SELECTED, PARSERS["COPY"], UID_COPY),
    Command("MOVE", SELECTED, PARSERS["MOVE"], MOVE, ("MOVE",)),
    Command("UID MOVE", SELECTED, PARSERS["MOVE"], UID_MOVE, ("MOVE",)),
    Command("EXPUNGE", SELECTED, nothing, expunge),
    Command("UID EXPUNGE", SELECTED, PARSERS["EXPUNGE"], uid_expunge, ("UIDPLUS",)),
)
