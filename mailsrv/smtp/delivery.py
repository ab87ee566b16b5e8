"""Handing a message to the store, once for each mailbox, and one reply for all of it.

SMTP has one reply after the message, however many recipients there were. What it can be:

* All are stored: 250.
* Some are stored, some are not: 451, whatever the reason of those that are not. The sender tries
  again; those that have the message do not get it twice, because the delivery id is the same;
  and what will never work is by then refused at RCPT, for that recipient alone. (rfc5321:3275
  asks for 250 and a notification instead. There is nothing here that could send one, and 250
  without one would lose mail.)
* None is stored: the reason, when they agree; otherwise a temporary one if any is temporary.

The delivery id is a hash over the envelope sender, the mailbox and the octets as they came,
without our trace fields. A sender that missed our 250 (rfc1047's doubled mail), or that got 451,
repeats just these, from whatever address. Octets alone do not make two messages one: a device may
well send the same alarm twice. So the hash is only used when the message has both a Message-ID
and a Date; otherwise each transaction gets ids of its own, and a repeat may be stored twice rather
than be lost. What was answered with a temporary error is surely repeated, for days perhaps: as
long as ``Unfinished`` remembers it, its repeats keep the ids of the first try. How long a repeat
is recognised is the mailbox's choice: as long as it remembers applied ids. Senders try for about
five days.
"""

import hashlib
import re
from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import DeferredSemaphore, gatherResults
from twisted.logger import Logger

from mailsrv.errors import MailsrvError
from mailsrv.smtp.address import Address
from mailsrv.smtp.reply import LOCAL_ERROR, Reply, refusal
from mailsrv.smtp.trace import header_of
from mailsrv.store.interfaces import IStore
from mailsrv.store.values import Delivery

log = Logger()

_IDENTITY = (
    re.compile(rb"^message-id[ \t]*:", re.IGNORECASE | re.MULTILINE),
    re.compile(rb"^date[ \t]*:", re.IGNORECASE | re.MULTILINE),
)
_COPIES_OCTETS = 32 * 1024 * 1024
_AT_ONCE = 16
"""Deliveries of one message in progress, as long as their copies stay within _COPIES_OCTETS."""


class Target(msgspec.Struct, frozen=True):
    """One mailbox that gets the message. ``address`` is what RCPT said first."""

    alias: str
    address: Address | None


class Verdict(msgspec.Struct, frozen=True):
    """What became of one target. ``error`` None: it is on disk."""

    target: Target
    error: Reply | None = None
    where: str = ""
    duplicate: bool = False


class Message(msgspec.Struct, frozen=True):
    """A whole message with its envelope."""

    transaction: str
    sender: Address | None
    content: bytes
    received: str
    """ISO 8601 UTC."""


class Seed(msgspec.Struct, frozen=True):
    """What a message's delivery ids are made of."""

    fingerprint: bytes
    """SHA-256 over sender and octets."""
    octets: bytes

    def delivery_id(self, alias: str) -> str:
        """64 hex digits for the ObjectID of an alias."""
        return hashlib.sha256(self.octets + b"\0" + alias.encode()).hexdigest()


class Unfinished:
    """Messages without an identity that their senders were told to send again, the last few."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._seeds: dict[bytes, Seed] = {}

    def seed(self, message: Message) -> Seed:
        digest = hashlib.sha256(str(message.sender or "").encode() + b"\0")
        digest.update(message.content)
        fingerprint = digest.digest()
        header = header_of(message.content)
        if all(pattern.search(header) for pattern in _IDENTITY):
            return Seed(fingerprint, fingerprint)
        own = Seed(fingerprint, message.transaction.encode())
        return self._seeds.get(fingerprint, own)

    def note(self, seed: Seed, reply: Reply) -> None:
        """Remember the seed after a temporary error; forget it otherwise."""
        self._seeds.pop(seed.fingerprint, None)
        if 400 <= reply.code < 500 and seed.octets != seed.fingerprint:
            if len(self._seeds) >= self._most:
                del self._seeds[next(iter(self._seeds))]
            self._seeds[seed.fingerprint] = seed


async def deliver(
    store: IStore,
    message: Message,
    seed: Seed,
    targets: Sequence[Target],
    trace_for: Callable[[Target], bytes],
) -> list[Verdict]:
    """Store the message for every target; never raises. ``trace_for`` gives the fields on top."""

    async def one(target: Target) -> Verdict:
        delivery = Delivery(
            content=trace_for(target) + message.content,
            delivery_id=seed.delivery_id(target.alias),
            received=message.received,
        )
        try:
            delivered = await store.deliver(target.alias, delivery)
        except MailsrvError as error:
            log.info(
                "delivery {transaction} alias={alias} failed: {reason}",
                transaction=message.transaction,
                alias=target.alias,
                reason=type(error).__name__,
            )
            return Verdict(target, refusal(error))
        except Exception:  # noqa: BLE001
            log.failure("delivery {transaction} failed", transaction=message.transaction)
            return Verdict(target, LOCAL_ERROR)
        return Verdict(target, None, delivered.where, delivered.duplicate)

    if len(targets) == 1:
        return [await one(targets[0])]
    at_once = max(1, min(_AT_ONCE, _COPIES_OCTETS // max(1, len(message.content))))
    slots = DeferredSemaphore(at_once)
    running = [slots.run(one, target) for target in targets]
    return list(await gatherResults(running))


def judge(verdicts: Sequence[Verdict], transaction: str) -> Reply:
    """One reply for all targets; see the module's docstring."""
    errors = [verdict.error for verdict in verdicts if verdict.error]
    if not errors:
        return Reply(250, "2.0.0", (f"Stored as {transaction}",))
    temporary = [error for error in errors if error.code < 500]
    if len(errors) < len(verdicts):
        status = temporary[0].status if temporary else "4.3.0"
        text = "Not stored for all recipients, try again; nobody gets it twice"
        return Reply(451, status, (text,))
    return (temporary or errors)[0]
