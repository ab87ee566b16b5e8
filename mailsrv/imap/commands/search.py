"""SEARCH (rfc3501:2723), with ESEARCH (rfc4731) and MODSEQ (rfc7162)."""

from collections.abc import Awaitable, Callable
from typing import Any

from mailsrv.imap import format as wire_format
from mailsrv.imap.command import SELECTED, Command
from mailsrv.imap.grammar import PARSERS
from mailsrv.imap.reply import Done
from mailsrv.imap.search_grammar import Search, to_criteria
from mailsrv.imap.selected import SelectedFolder
from mailsrv.imap.sequence import SequenceSet
from mailsrv.imap.session import Session
from mailsrv.store.values import FetchRequest, Found, UidSet


async def search(session: Session, argument: Search, *, by_uid: bool) -> Done:
    """SEARCH; messages that the client was not told of are not among the answers."""
    folder = session.folder
    if argument.modseq:
        session.enable_condstore()

    def resolve(numbers: SequenceSet, uid: bool) -> UidSet:
        return folder.resolve(numbers, by_uid=uid, strict=False)

    recent = wire_format.ranges_of(sorted(folder.recent))
    criteria = to_criteria(argument.key, resolve, recent)
    found = await session.store.search(session.door, folder.id, criteria)
    uids = [uid for uid in wire_format.unpack(found.uids) if uid < folder.uidnext]
    known, numbers = folder.known_numbers(uids)
    answer = known if by_uid else list(numbers)
    modseq = await _modseq(session, folder, argument, found, known)
    if argument.returns is None:
        session.output.write(wire_format.search(answer, modseq) + b"\r\n")
    else:
        line = wire_format.esearch(session.tag, answer, argument.returns, uid=by_uid, modseq=modseq)
        session.output.write(line + b"\r\n")
    return Done("SEARCH completed")


async def _modseq(
    session: Session, folder: SelectedFolder, argument: Search, found: Found, uids: list[int]
) -> int | None:
    """The highest mod-sequence among the messages answered (rfc7162:1101; rfc4731:194)."""
    if not argument.modseq or not uids:
        return None
    if argument.returns is None or argument.returns & {"ALL", "COUNT"}:
        return found.modseq
    ends = {"MIN": uids[0], "MAX": uids[-1]}
    chosen = sorted({ends[name] for name in argument.returns if name in ends})
    ranges = wire_format.ranges_of(chosen)
    page = await session.store.fetch(session.door, folder.id, FetchRequest(ranges, ("modseq",)))
    return max((row[1] for row in page.rows), default=found.modseq)


def _form(*, by_uid: bool) -> Callable[[Session, Any], Awaitable[Done]]:
    async def handler(session: Session, argument: Search) -> Done:
        return await search(session, argument, by_uid=by_uid)

    return handler


COMMANDS = (
    Command(
        "SEARCH", SELECTED, PARSERS["SEARCH"], _form(by_uid=False), ("ESEARCH",), expunge=False
    ),
    Command("UID SEARCH", SELECTED, PARSERS["SEARCH"], _form(by_uid=True), ("ESEARCH",)),
)
