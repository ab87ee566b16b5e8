"""IDLE (rfc2177): the server speaks while the client waits."""

from mailsrv.errors import MailsrvError
from mailsrv.imap.command import AFTER_LOGIN, Command, nothing
from mailsrv.imap.reply import Done
from mailsrv.imap.session import Session

MAX_LINE = 64
"""Octets of what a client may say: DONE."""


async def idle(session: Session, _argument: None) -> Done:
    """Tell what happens until the client says DONE; anything else it says is refused."""
    session.ask(b"idling")
    session.framer.next_line(MAX_LINE)
    await session.speak(ask=True)
    spoke = session.clock.seconds()
    while True:
        line = session.take_line()
        if line is None:
            session.output.flush()
            await session.output.drain()
            rest = session.options.keepalive - (session.clock.seconds() - spoke)
            await session.wait(max(rest, 0))
            await session.speak()
            if session.clock.seconds() - spoke >= session.options.keepalive:
                spoke = session.clock.seconds()
                await _keep_alive(session)
        elif line.upper() == b"DONE":
            return Done("IDLE completed")
        else:
            session.tell(b"BAD Expected DONE")
            session.count_bad()
            session.framer.next_line(MAX_LINE)


async def _keep_alive(session: Session) -> None:
    """Keep routers from forgetting the connection, and look for mail that is waiting."""
    session.tell(b"OK Still here")
    try:
        await session.store.poll(session.door)
    except MailsrvError:
        return
    await session.speak(ask=True)


COMMANDS = (Command("IDLE", AFTER_LOGIN, nothing, idle, ("IDLE",)),)
