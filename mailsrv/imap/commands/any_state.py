"""Commands that every state has: CAPABILITY, NOOP, LOGOUT (rfc3501, 6.1) and ID (rfc2971)."""

from mailsrv import __version__
from mailsrv.errors import MailsrvError
from mailsrv.imap import format as wire_format
from mailsrv.imap.capabilities import capabilities
from mailsrv.imap.command import ANY, Command, nothing
from mailsrv.imap.grammar import PARSERS, Identity
from mailsrv.imap.reply import Bye, Done
from mailsrv.imap.session import Session


async def capability(session: Session, _argument: None) -> Done:
    """CAPABILITY (rfc3501:1300)."""
    session.tell(b"CAPABILITY " + " ".join(capabilities(session)).encode("ascii"))
    return Done("CAPABILITY completed")


async def noop(session: Session, _argument: None) -> Done:
    """NOOP (rfc3501:1363): fetch waiting mail and tell all that happened."""
    if session.access is not None:
        try:
            await session.store.poll(session.access)
        except MailsrvError:
            # waiting mail waits a little longer; that is no failure of doing nothing
            return Done("NOOP completed")
        await session.learn(ask=True)
    return Done("NOOP completed")


async def logout(_session: Session, _argument: None) -> Done:
    """LOGOUT (rfc3501:1407)."""
    raise Bye("Logging out", done=Done("LOGOUT completed"))


async def identify(session: Session, _argument: Identity) -> Done:
    """ID (rfc2971:129). What the client says of itself is of no use to us."""
    pairs = (("name", "mailsrv"), ("version", __version__))
    words = [wire_format.string(word.encode()) for pair in pairs for word in pair]
    session.tell(b"ID (" + b" ".join(words) + b")")
    return Done("ID completed")


COMMANDS = (
    Command("CAPABILITY", ANY, nothing, capability),
    Command("NOOP", ANY, nothing, noop),
    Command("LOGOUT", ANY, nothing, logout),
    Command("ID", ANY, PARSERS["ID"], identify, ("ID",)),
)
