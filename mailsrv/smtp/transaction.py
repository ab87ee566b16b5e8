"""A mail transaction: its envelope, and what happens after the end of its message."""

from collections.abc import Callable
from datetime import UTC, datetime

import attrs
from twisted.logger import Logger

from mailsrv.smtp.content import Budget, Incoming
from mailsrv.smtp.delivery import Message, Target, Unfinished, Verdict, deliver, judge
from mailsrv.smtp.grammar import Mail
from mailsrv.smtp.limits import Rates
from mailsrv.smtp.options import MxOptions
from mailsrv.smtp.reply import LOCAL_ERROR, Reply, Step
from mailsrv.smtp.trace import Client, count_hops, gap, mail_date, received, return_path
from mailsrv.store.interfaces import IStore

log = Logger()

_TOO_MANY_HOPS = Reply(554, "5.4.6", ("Too many hops, the message goes in circles",))


@attrs.frozen
class Services:
    """What all sessions of a process share. ``now`` gives an aware datetime."""

    store: IStore
    options: MxOptions
    budget: Budget
    rates: Rates
    now: Callable[[], datetime]
    unfinished: Unfinished = attrs.field(factory=Unfinished)


@attrs.define(eq=False)
class Transaction:
    """From MAIL to the end of the message."""

    id: str
    mail: Mail
    targets: dict[str, Target] = attrs.field(factory=dict)
    """By ObjectID of the alias: a mailbox gets one copy, however many addresses lead to it."""
    accepted: int = 0
    refused: int = 0
    """RCPT commands that were answered with 4xx or 5xx."""
    incoming: Incoming | None = None


async def finish(
    services: Services, client: Client, transaction: Transaction, incoming: Incoming
) -> Step:
    """Judge and deliver; never raises. Holds the memory until the store answered for everybody."""
    verdicts: list[Verdict] = []
    try:
        content = incoming.finish()
        if isinstance(content, Reply):
            reply = content
        elif count_hops(content) > services.options.hop_limit:
            reply = _TOO_MANY_HOPS
        else:
            verdicts, reply = await _deliver(services, client, transaction, content)
    except Exception:  # noqa: BLE001
        log.failure("mx {transaction} failed", transaction=transaction.id)
        reply = LOCAL_ERROR
    finally:
        incoming.close()
    _report(transaction, incoming.size, verdicts, reply)
    return Step(reply, stored=reply.code == 250)


async def _deliver(
    services: Services, client: Client, transaction: Transaction, content: bytes
) -> tuple[list[Verdict], Reply]:
    now = services.now().astimezone(UTC)
    mail = transaction.mail
    top, date, below = return_path(mail.sender), mail_date(now), gap(content)

    def trace_for(target: Target) -> bytes:
        hostname = services.options.hostname
        utf8 = mail.utf8 or not (target.address is None or target.address.ascii)
        stamp = received(client, hostname, transaction.id, target.address, utf8=utf8, date=date)
        return top + stamp + below

    message = Message(transaction.id, mail.sender, content, f"{now:%Y-%m-%dT%H:%M:%SZ}")
    seed = services.unfinished.seed(message)
    targets = list(transaction.targets.values())
    verdicts = await deliver(services.store, message, seed, targets, trace_for)
    reply = judge(verdicts, transaction.id)
    services.unfinished.note(seed, reply)
    return verdicts, reply


def report_given_up(transaction: Transaction) -> None:
    """Log a transaction that ended without a whole message, unless nothing came of it at all."""
    if transaction.incoming is None and not transaction.refused:
        return
    log.info(
        "mx {transaction} from={domain} recipients={recipients} refused={refused} size={size} "
        "given up",
        **_envelope(transaction),
        size=transaction.incoming.size if transaction.incoming else 0,
    )


def _report(transaction: Transaction, size: int, verdicts: list[Verdict], reply: Reply) -> None:
    log.info(
        "mx {transaction} from={domain} recipients={recipients} refused={refused} size={size} "
        "mailboxes={mailboxes} stored={stored} waiting={waiting} repeated={repeated} "
        "reply={code} {status}",
        **_envelope(transaction),
        size=size,
        mailboxes=len(transaction.targets),
        stored=sum(verdict.error is None for verdict in verdicts),
        waiting=sum(verdict.where == "waiting" for verdict in verdicts),
        repeated=sum(verdict.duplicate for verdict in verdicts),
        code=reply.code,
        status=reply.status,
    )


def _envelope(transaction: Transaction) -> dict[str, object]:
    sender = transaction.mail.sender
    return {
        "transaction": transaction.id,
        "domain": sender.domain if sender else "<>",
        "recipients": transaction.accepted,
        "refused": transaction.refused,
    }
