"""APPEND (rfc3501:2527; UIDPLUS rfc4315)."""

from mailsrv.errors import NoSuchFolder
from mailsrv.imap.command import AFTER_LOGIN, Command
from mailsrv.imap.grammar import PARSERS, Append
from mailsrv.imap.reply import Bad, Done, No
from mailsrv.imap.session import Session
from mailsrv.store.values import NewMessage


async def append(session: Session, argument: Append) -> Done:
    """Store one message; it is on disk when OK is said."""
    if b"\0" in argument.content:
        raise Bad("A message has no NUL")
    message = NewMessage(
        content=argument.content, flags=argument.flags, internal_date=argument.internal_date
    )
    try:
        appended = await session.store.append(session.door, argument.mailbox, [message], None)
    except NoSuchFolder:
        raise No("There is no such folder", "TRYCREATE") from None
    if session.selected is not None and session.selected.id == appended.folder_id:
        session.selected.hear(appended.modseq)
    code = f"APPENDUID {appended.uidvalidity} {appended.uids[0]}"
    return Done("APPEND completed", code)


COMMANDS = (Command("APPEND", AFTER_LOGIN, PARSERS["APPEND"], append),)
