"""Opening and closing a folder: SELECT, EXAMINE, CLOSE (rfc3501, 6.3 and 6.4), UNSELECT (rfc3691),
and CHECK."""

from mailsrv.imap.command import AFTER_LOGIN, SELECTED, Command, nothing
from mailsrv.imap.grammar import PARSERS, Select
from mailsrv.imap.reply import Done
from mailsrv.imap.selected import SelectedFolder
from mailsrv.imap.session import Session
from mailsrv.store.values import ALL_UIDS, Selected


async def select(session: Session, argument: Select) -> Done:
    """SELECT (rfc3501:1743)."""
    await _open(session, argument, writable=True)
    return Done("SELECT completed", "READ-WRITE")


async def examine(session: Session, argument: Select) -> Done:
    """EXAMINE (rfc3501:1855)."""
    await _open(session, argument, writable=False)
    return Done("EXAMINE completed", "READ-ONLY")


async def _open(session: Session, argument: Select, *, writable: bool) -> None:
    if session.selected is not None:
        session.selected = None
        session.tell(b"OK [CLOSED] The folder before is closed")
    if argument.condstore:
        session.enable_condstore()
    session.opening = {}
    try:
        selected = await session.store.select(session.door, argument.mailbox, writable)
        folder = SelectedFolder(selected, writable=writable)
        folder.hear(session.opening.get(folder.id, 0))
    finally:
        session.opening = None
    session.output.write(_answer(folder, selected))
    session.selected = folder


def _answer(folder: SelectedFolder, selected: Selected) -> bytes:
    """All that rfc3501:1748 requires, and HIGHESTMODSEQ (rfc7162:430)."""
    value = selected.folder
    lines = [
        folder.flags_known().removesuffix(b"\r\n"),
        b"* %d EXISTS" % len(folder.uids),
        b"* %d RECENT" % len(folder.recent),
    ]
    unseen = selected.first_unseen and folder.number(selected.first_unseen)
    if unseen:
        lines.append(b"* OK [UNSEEN %d] The first that was not read" % unseen)
    lines += [
        b"* OK [UIDVALIDITY %d] UIDs are valid" % value.uidvalidity,
        b"* OK [UIDNEXT %d] The next UID" % value.uidnext,
        b"* OK [HIGHESTMODSEQ %d] The highest mod-sequence" % value.highestmodseq,
    ]
    return b"\r\n".join(lines) + b"\r\n"


async def close(session: Session, _argument: None) -> Done:
    """CLOSE (rfc3501:2652): expunge without a word, then let go."""
    folder = session.folder
    if folder.writable:
        await session.store.expunge(session.door, folder.id, ALL_UIDS, None)
    session.selected = None
    return Done("CLOSE completed")


async def unselect(session: Session, _argument: None) -> Done:
    """UNSELECT (rfc3691:89): let go without expunging."""
    session.selected = None
    return Done("UNSELECT completed")


async def check(session: Session, _argument: None) -> Done:
    """CHECK (rfc3501:2618): everything is on disk already, so tell what happened."""
    await session.learn(ask=True)
    return Done("CHECK completed")


COMMANDS = (
    Command("SELECT", AFTER_LOGIN, PARSERS["SELECT"], select),
    Command("EXAMINE", AFTER_LOGIN, PARSERS["EXAMINE"], examine),
    Command("CLOSE", SELECTED, nothing, close),
    Command("UNSELECT", SELECTED, nothing, unselect, ("UNSELECT",)),
    Command("CHECK", SELECTED, nothing, check),
)
