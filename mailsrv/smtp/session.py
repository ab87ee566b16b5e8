"""The state of one SMTP session: greeted or not, the transaction, the counters (rfc5321:2443).

Knows no transport. Each command gives a ``Step``, at once or, where the store is asked, as a
coroutine; the caller runs one at a time. An MX does not relay, so it offers no AUTH.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
from twisted.logger import Logger

from mailsrv.errors import MailsrvError, NoSuchAlias, NoSuchDomain
from mailsrv.smtp.address import Address, parse_address
from mailsrv.smtp.content import Incoming
from mailsrv.smtp.delivery import Target
from mailsrv.smtp.grammar import Mail, Rcpt, parse_bdat, parse_mail, parse_rcpt, split_command
from mailsrv.smtp.options import MxOptions
from mailsrv.smtp.reply import LOCAL_ERROR, Refused, Reply, Step, Then, part, refusal, say
from mailsrv.smtp.trace import Client, TlsInfo, transaction_id
from mailsrv.smtp.transaction import Services, Transaction, finish, report_given_up
from mailsrv.store.values import Recipient

log = Logger()

Answer = Step | Coroutine[Any, Any, Step]

_LAST_IN_GROUP = frozenset({"EHLO", "HELO", "DATA", "STARTTLS"})
"""A client has to wait for the reply to these (rfc2920); one that does not is smuggling."""

_JUNK = frozenset({"EHLO", "HELO", "EXPN", "HELP", "NOOP", "RSET", "VRFY"})
_NOT_IMPLEMENTED = frozenset({"AUTH", "ETRN", "EXPN", "SAML", "SEND", "SOML", "TURN"})
_OTHER_PROTOCOLS = re.compile(rb"(?:CONNECT|DELETE|GET|HEAD|OPTIONS|POST|PUT) |\x16\x03")

_NO_MAIL = Reply(503, "5.5.1", ("Need MAIL first",))
_NO_RECIPIENTS = Reply(554, "5.5.1", ("No valid recipients",))


@attrs.frozen
class Link:
    """What the session knows of its connection. ``tls`` tells what was negotiated, if anything."""

    address: str | None
    offers_tls: bool
    tls: Callable[[], TlsInfo | None]


class Session:
    """One session; a new one begins after STARTTLS (rfc3207:208)."""

    def __init__(self, services: Services, link: Link) -> None:
        self._services = services
        self._options = services.options
        self._link = link
        self._helo: str | None = None
        self._extended = False
        self._transaction: Transaction | None = None
        self._refused_chunk: Reply | None = None
        self._last_chunk = False
        self._errors = 0
        self._junk = 0

    # What the connection calls

    def greeting(self) -> Step:
        return say(220, None, f"{self._options.hostname} ESMTP mailsrv")

    def extensions(self) -> dict[str, str | None]:
        """What EHLO announces, with parameters."""
        offered: dict[str, str | None] = {
            "PIPELINING": None,
            "SIZE": str(self._options.message_limit),
            "8BITMIME": None,
            "SMTPUTF8": None,
            "ENHANCEDSTATUSCODES": None,
            "CHUNKING": None,
        }
        if self._link.offers_tls:
            offered["STARTTLS"] = None
        return offered

    def command(self, line: bytes, waiting: int) -> Answer:
        """Carry out one command line; ``waiting`` octets arrived behind it."""
        try:
            if _OTHER_PROTOCOLS.match(line):
                return part(554, "5.5.1", "This is an SMTP server")
            verb, rest = split_command(line)
            if waiting and verb in _LAST_IN_GROUP:
                return part(554, "5.5.0", f"Sent more before the reply to {verb}")
            if verb in _JUNK:
                self._junk += 1
                if self._junk > self._options.junk_commands:
                    return part(421, "4.7.0", "Too many commands without mail")
            return self._run(verb, rest)
        except Refused as refused:
            return Step(refused.reply)

    def take(self, octets: bytes) -> None:
        """Take some of the message."""
        if self._refused_chunk is None and self._transaction and self._transaction.incoming:
            self._transaction.incoming.add(octets)

    def end(self) -> Answer:
        """The end of DATA or of a BDAT chunk."""
        refused, self._refused_chunk = self._refused_chunk, None
        transaction = self._transaction
        if refused is not None or transaction is None or transaction.incoming is None:
            return Step(refused or _NO_MAIL)
        if self._last_chunk or transaction.incoming.flaw is not None:
            self._transaction = None
            return finish(self._services, self._client(), transaction, transaction.incoming)
        return say(250, "2.0.0", f"{transaction.incoming.size} octets so far")

    def settle(self, step: Step) -> Step:
        """Count errors; a client that makes too many gets 421 instead of the next."""
        if step.stored:
            self._errors = self._junk = 0
        elif step.reply is not None and step.reply.code >= 500:
            self._errors += 1
            if self._errors >= self._options.hard_errors:
                return part(421, "4.7.0", "Too many errors")
        return step

    def lost(self) -> None:
        """The connection is gone. A message whose end was seen is still delivered."""
        self._reset()

    # Commands

    def _run(self, verb: str, rest: str) -> Answer:
        if verb in _HANDLERS:
            return _HANDLERS[verb](self, rest)
        if verb in _NOT_IMPLEMENTED:
            return say(502, "5.5.1", "Command not implemented")
        return say(500, "5.5.1", "Command unrecognized")

    def _ehlo(self, rest: str) -> Step:
        self._greet(rest, extended=True)
        lines = [f"{name} {value}" if value else name for name, value in self.extensions().items()]
        return say(250, None, f"{self._options.hostname} greets you", *lines)

    def _hello(self, rest: str) -> Step:
        self._greet(rest, extended=False)
        return say(250, None, f"{self._options.hostname} greets you")

    def _greet(self, rest: str, *, extended: bool) -> None:
        if not rest:
            raise Refused(501, "5.5.4", "Expected a domain name or address literal")
        self._reset()
        self._helo = rest
        self._extended = extended

    def _mail(self, rest: str) -> Answer:
        if self._helo is None:
            return say(503, "5.5.1", "Send EHLO first")
        if self._transaction is not None:
            return say(503, "5.5.1", "A transaction is open; send RSET to give it up")
        mail = parse_mail(rest)
        if mail.size is not None and mail.size > self._options.message_limit:
            return say(552, "5.3.4", "Message is larger than this server takes")
        if mail.size is not None and mail.size > self._services.budget.free:
            return say(452, "4.3.1", "Too many messages in progress, try again later")
        return self._begin_transaction(mail)

    async def _begin_transaction(self, mail: Mail) -> Step:
        if not await self._services.rates.message(self._link.address):
            return say(451, "4.7.1", "Too many messages in a minute, try again later")
        self._transaction = Transaction(transaction_id(self._services.now()), mail)
        return say(250, "2.1.0", "Sender ok")

    def _rcpt(self, rest: str) -> Answer:
        transaction = self._transaction
        if transaction is None:
            return Step(_NO_MAIL)
        if transaction.incoming is not None:
            return say(503, "5.5.1", "The message has begun")
        rcpt = parse_rcpt(rest)
        if transaction.accepted >= self._options.recipient_limit:
            return say(452, "4.5.3", "Too many recipients")
        return self._add_recipient(transaction, rcpt)

    async def _add_recipient(self, transaction: Transaction, rcpt: Rcpt) -> Step:
        try:
            address, recipient = await self._resolve(rcpt)
        except MailsrvError as error:
            transaction.refused += 1
            return Step(refusal(error))
        except Exception:  # noqa: BLE001
            transaction.refused += 1
            log.failure("mx {transaction} recipient lookup failed", transaction=transaction.id)
            return Step(LOCAL_ERROR)
        transaction.accepted += 1
        transaction.targets.setdefault(recipient.alias, Target(recipient.alias, address))
        return say(250, "2.1.5", "Recipient ok")

    async def _resolve(self, rcpt: Rcpt) -> tuple[Address, Recipient]:
        if rcpt.address is not None:
            if rcpt.address.domain.startswith("["):
                raise NoSuchDomain("Address literals are not served")
            return rcpt.address, await self._services.store.resolve(str(rcpt.address))
        for address in _postmasters(self._options):
            try:
                return address, await self._services.store.resolve(str(address))
            except (NoSuchAlias, NoSuchDomain):
                continue
        raise NoSuchAlias("No postmaster")

    def _data(self, rest: str) -> Step:
        if rest:
            return say(501, "5.5.4", "DATA takes no argument")
        transaction = self._transaction
        if transaction is None:
            return Step(_NO_MAIL)
        if transaction.incoming is not None:
            return say(503, "5.5.1", "BDAT and DATA do not mix")
        if not transaction.targets:
            return Step(_NO_RECIPIENTS)
        self._begin(transaction)
        self._last_chunk = True
        return Step(Reply(354, None, ('End the message with "." on a line',)), Then.DATA)

    def _bdat(self, rest: str) -> Step:
        bdat = parse_bdat(rest)
        if bdat is None:
            # How much of what follows is message cannot be known.
            return part(501, "5.5.4", "Syntax: BDAT octets [LAST]")
        self._last_chunk = bdat.last
        transaction = self._transaction
        if transaction is None:
            self._refused_chunk = _NO_MAIL
        elif not transaction.targets:
            self._refused_chunk = _NO_RECIPIENTS
        elif transaction.incoming is None:
            self._begin(transaction)
        return Step(None, Then.CHUNK, bdat.octets)

    def _client(self) -> Client:
        return Client(self._link.address, self._helo or "", self._extended, self._link.tls())

    def _begin(self, transaction: Transaction) -> None:
        transaction.incoming = Incoming(self._options.message_limit, self._services.budget)

    def _starttls(self, rest: str) -> Step:
        if rest:
            return say(501, "5.5.4", "STARTTLS takes no argument")
        if self._link.tls() is not None:
            return say(503, "5.5.1", "TLS is already on")
        if not self._link.offers_tls:
            return say(502, "5.5.1", "TLS is not available")
        self._reset()
        return Step(Reply(220, "2.0.0", ("Ready to start TLS",)), Then.TLS)

    def _rset(self, rest: str) -> Step:
        if rest:
            return say(501, "5.5.4", "RSET takes no argument")
        self._reset()
        return say(250, "2.0.0", "Reset")

    def _noop(self, _rest: str) -> Step:
        return say(250, "2.0.0", "Ok")

    def _vrfy(self, rest: str) -> Step:
        if not rest:
            return say(501, "5.5.4", "Syntax: VRFY address")
        return say(252, "2.5.0", "Not verified; mail for it is tried")

    def _help(self, _rest: str) -> Step:
        return say(214, "2.0.0", f"Commands: {' '.join(sorted(_HANDLERS))}", "See RFC 5321")

    def _quit(self, rest: str) -> Step:
        if rest:
            return say(501, "5.5.4", "QUIT takes no argument")
        self._reset()
        return part(221, "2.0.0", f"{self._options.hostname} closes the connection")

    def _reset(self) -> None:
        if self._transaction is None:
            return
        report_given_up(self._transaction)
        if self._transaction.incoming:
            self._transaction.incoming.close()
        self._transaction = None


def _postmasters(options: MxOptions) -> list[Address]:
    """Whom ``<Postmaster>`` may mean, best first (rfc5321:3401)."""
    if options.postmaster:
        return [parse_address(options.postmaster)]
    parent = options.hostname.partition(".")[2]
    return [Address("postmaster", domain) for domain in (options.hostname, parent) if domain]


_HANDLERS: dict[str, Callable[[Session, str], Answer]] = {
    "BDAT": Session._bdat,  # noqa: SLF001
    "DATA": Session._data,  # noqa: SLF001
    "EHLO": Session._ehlo,  # noqa: SLF001
    "HELO": Session._hello,  # noqa: SLF001
    "HELP": Session._help,  # noqa: SLF001
    "MAIL": Session._mail,  # noqa: SLF001
    "NOOP": Session._noop,  # noqa: SLF001
    "QUIT": Session._quit,  # noqa: SLF001
    "RCPT": Session._rcpt,  # noqa: SLF001
    "RSET": Session._rset,  # noqa: SLF001
    "STARTTLS": Session._starttls,  # noqa: SLF001
    "VRFY": Session._vrfy,  # noqa: SLF001
}
