"""Pages of a FETCH, the next one asked for while the last one is being written."""

from collections.abc import AsyncGenerator

import msgspec
from twisted.internet.defer import Deferred

from mailsrv.imap.session import Session
from mailsrv.store.values import FetchPage, FetchRequest, UidSet


def _rest(uids: UidSet, start: int) -> UidSet:
    return tuple((max(low, start), high) for low, high in uids if high >= start)


async def pages(
    session: Session, folder_id: int, request: FetchRequest
) -> AsyncGenerator[FetchPage, None]:
    """All pages of a request.

    A request that sets \\Seen is not made ahead: what the client never got must stay unread.
    """
    asked: Deferred[FetchPage] | None = None
    rest = request.uids
    try:
        while rest:
            page = await (asked or session.store.fetch(session.door, folder_id, request))
            asked = None
            start = page.next_uid
            rest = () if start is None else _rest(rest, start)
            request = msgspec.structs.replace(request, uids=rest)
            if rest and not request.mark_seen:
                asked = session.store.fetch(session.door, folder_id, request)
            yield page
    finally:
        if asked is not None:
            asked.addErrback(lambda _: None)
            asked.cancel()
