"""What the server says it can do: derived from the tables of the session, never listed by hand."""

from collections.abc import Iterator

from mailsrv.imap.command import UNAUTH
from mailsrv.imap.session import Session


def capabilities(session: Session) -> list[str]:
    """The capabilities that hold for this session now, IMAP4rev1 first, each once.

    Before login only those are named that are of use then; a client asks again or is told
    (rfc3501:1300).
    """
    return list(dict.fromkeys(("IMAP4rev1", *_found(session))))


def _found(session: Session) -> Iterator[str]:
    for extra in session.table.capabilities:
        yield from extra.names(session)
    for command in session.table.commands.values():
        if session.state != UNAUTH or UNAUTH in command.states:
            yield from command.capability
