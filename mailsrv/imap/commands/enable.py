"""ENABLE (rfc5161), and what the framer and grammar understand without a command of its own."""

from mailsrv.imap.command import AFTER_LOGIN, Capability, Command
from mailsrv.imap.grammar import PARSERS, Enable
from mailsrv.imap.reply import Done
from mailsrv.imap.session import Session

CAN_ENABLE = ("CONDSTORE",)


async def enable(session: Session, argument: Enable) -> Done:
    """ENABLE (rfc5161:80); what is not known is passed over."""
    fresh = [name for name in argument.capabilities if name in CAN_ENABLE]
    fresh = [name for name in dict.fromkeys(fresh) if name not in session.enabled]
    for name in fresh:
        if name == "CONDSTORE":
            session.enable_condstore()
    session.tell(" ".join(["ENABLED", *fresh]).encode("ascii"))
    return Done("ENABLE completed")


def _always(_session: Session) -> tuple[str, ...]:
    return ("LITERAL+",)


def _after_login(session: Session) -> tuple[str, ...]:
    return ("CONDSTORE",) if session.access else ()


COMMANDS = (Command("ENABLE", AFTER_LOGIN, PARSERS["ENABLE"], enable, ("ENABLE",)),)
CAPABILITIES = (Capability(_always), Capability(_after_login))
