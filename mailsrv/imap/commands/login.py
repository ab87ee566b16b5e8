"""Becoming somebody: STARTTLS, LOGIN and AUTHENTICATE (rfc3501, 6.2; SASL-IR rfc4959)."""

from base64 import b64encode
from collections.abc import Awaitable

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from mailsrv.errors import AuthenticationFailed
from mailsrv.imap import sasl
from mailsrv.imap.capabilities import capabilities
from mailsrv.imap.command import BEFORE_LOGIN, Capability, Command, nothing
from mailsrv.imap.grammar import PARSERS, Authenticate, Login
from mailsrv.imap.reply import Bad, Bye, Done, No
from mailsrv.imap.session import Session
from mailsrv.store.values import Access

log = Logger()


async def starttls(session: Session, _argument: None) -> Done:
    """STARTTLS (rfc3501:1468). What came along in clear text was not said by this client."""
    if not session.connection.can_start_tls:
        raise Bad("TLS cannot begin here")
    if session.framer.pending:
        raise Bye("Nothing may follow STARTTLS before TLS", done=Bad("Too early"))
    session.then = session.connection.start_tls
    return Done("Begin TLS now")


async def login(session: Session, argument: Login) -> Done:
    """LOGIN (rfc3501:1663)."""
    _require_privacy(session)
    return await _enter(session, session.entrance.login(argument.user, argument.password))


async def authenticate(session: Session, argument: Authenticate) -> Done:
    """AUTHENTICATE (rfc3501:1519)."""
    mechanism = sasl.MECHANISMS.get(argument.mechanism)
    if mechanism is None:
        raise No("There is no such mechanism", "CANNOT")
    _require_privacy(session)

    async def ask(challenge: bytes) -> bytes:
        session.ask(b64encode(challenge))
        return sasl.decode(await session.line(sasl.MAX_RESPONSE))

    return await _enter(session, mechanism(session.entrance, ask, argument.initial))


def _require_privacy(session: Session) -> None:
    if not session.may_log_in:
        raise No("Begin TLS before you log in", "PRIVACYREQUIRED")


async def _enter(session: Session, attempt: Awaitable[Access]) -> Done:
    connection, entrance = session.connection, session.entrance
    entrance.account = ""
    try:
        access = await attempt
    except CancelledError:
        # a guesser who does not wait for the answer is slowed down like one who does
        connection.addresses.failed(connection.host, entrance.account)
        log.info("IMAP login from {host} was not waited for", host=connection.host)
        raise
    except AuthenticationFailed:
        connection.login_failures += 1
        log.info("IMAP login from {host} failed", host=connection.host)
        await session.pause(await connection.addresses.failed(connection.host, entrance.account))
        no = No("Login failed", "AUTHENTICATIONFAILED")
        if connection.login_failures >= session.options.login_tries:
            raise Bye("Too many failed logins", done=no) from None
        raise no from None
    connection.addresses.succeeded(connection.host)
    session.admit(access)
    return Done("Logged in", "CAPABILITY " + " ".join(capabilities(session)))


def _offers(session: Session) -> tuple[str, ...]:
    """How to log in, where that is possible; else that it is not (rfc3501, 7.2.1)."""
    if session.access is not None:
        return ()
    begin = ("STARTTLS",) if session.connection.can_start_tls else ()
    if not session.may_log_in:
        return (*begin, "LOGINDISABLED")
    return (*begin, *(f"AUTH={name}" for name in sasl.MECHANISMS), "SASL-IR")


COMMANDS = (
    Command("STARTTLS", BEFORE_LOGIN, nothing, starttls),
    Command("LOGIN", BEFORE_LOGIN, PARSERS["LOGIN"], login),
    Command("AUTHENTICATE", BEFORE_LOGIN, PARSERS["AUTHENTICATE"], authenticate),
)
CAPABILITIES = (Capability(_offers),)
