"""Mail from the world: into the mailbox when its owner's key can be had, else sealed until then.

While one batch of an alias is being written the next gathers, and goes to disk in one
transaction: the more arrives together, the fewer syncs each message costs, and nobody waits for
company. Each delivery has its own answer. A repeated ``delivery_id`` has no second effect.
"""

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailsrv.errors import MailsrvError, Unavailable
from mailsrv.store.gate import Gate
from mailsrv.store.keepers import Find
from mailsrv.store.leases import Leases
from mailsrv.store.limits import Limits
from mailsrv.store.notifications import Notifications
from mailsrv.store.receive import Batch, Receiver
from mailsrv.store.sessions import Session
from mailsrv.store.values import Delivered, Delivery
from mailsrv.store.workers import Workers, log_unexpected


@attrs.define
class _Queue:
    """What gathers for one alias while its writer is at work."""

    waiting: list[tuple[Delivery, Deferred[Delivered]]] = attrs.Factory(list)


@attrs.frozen
class Arrival:
    """Where a batch went."""

    live: bool
    merge_after: float = 0.0
    """Seconds after which the waiting mail may be brought in, if a session is there."""


class Deliveries:
    """One queue and one writer for each alias that mail is coming in for; reactor's thread.

    ``arrived`` hears of each batch that was stored.
    """

    def __init__(
        self,
        *,
        reactor: IReactorTime,
        workers: Workers,
        gate: Gate,
        receiver: Receiver,
        find: Find,
        leases: Leases,
        notifications: Notifications,
        limits: Limits,
        arrived: Callable[[str, Arrival], None],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._gate = gate
        self._receiver = receiver
        self._find = find
        self._leases = leases
        self._notifications = notifications
        self._limits = limits
        self._arrived = arrived
        self._queues: dict[str, _Queue] = {}
        self._queued_octets = 0
        self._avoided: dict[str, float] = {}

    async def deliver(self, alias: str, delivery: Delivery) -> Delivered:
        """On disk when this answers. Unavailable when too much is under way already."""
        size = len(delivery.content)
        if self._queued_octets and self._queued_octets + size > self._limits.queued_octets:
            raise Unavailable("too much mail is arriving: try again")
        answer: Deferred[Delivered] = Deferred()
        self._queued_octets += size
        try:
            queue = self._queues.get(alias)
            if queue is None:
                queue = self._queues[alias] = _Queue()
                queue.waiting.append((delivery, answer))
                self._workers.begin(lambda: self._write_all(alias, queue))
            else:
                queue.waiting.append((delivery, answer))
            return await answer
        finally:
            self._queued_octets -= size

    async def _write_all(self, alias: str, queue: _Queue) -> None:
        reason: Exception = Unavailable("the message cannot be stored now")
        try:
            while queue.waiting:
                async with self._gate.inside(alias):
                    await self._write(alias, self._take(queue))
        except MailsrvError as error:
            reason = error
        finally:
            del self._queues[alias]
            _fail(queue.waiting, reason)

    def _take(self, queue: _Queue) -> list[tuple[Delivery, Deferred[Delivered]]]:
        octets = count = 0
        for delivery, _ in queue.waiting[: self._limits.batch_messages]:
            octets += len(delivery.content)
            if count and octets > self._limits.batch_octets:
                break
            count += 1
        batch, queue.waiting = queue.waiting[:count], queue.waiting[count:]
        return batch

    async def _write(self, alias: str, batch: list[tuple[Delivery, Deferred[Delivered]]]) -> None:
        deliveries = [delivery for delivery, _ in batch]
        try:
            session = await self._key_holder(alias)
            access = None if session is None else session.access
            with self._leases.borrowing(session):
                written = await self._workers.run(self._receiver.receive, alias, access, deliveries)
        except Exception as error:  # noqa: BLE001
            _fail(batch, error)
            return
        if written.wrong_key and session is not None and session.leased:
            self._leases.wrong(session)
        self._note(alias, written)
        for (_, answer), outcome in zip(batch, written.outcomes, strict=True):
            _answer(answer, outcome)

    def _note(self, alias: str, written: Batch) -> None:
        now = self._reactor.seconds()
        if written.busy:
            self._avoided[alias] = now + self._limits.avoid_seconds
        if written.folder_id:
            self._notifications.announce(alias, written.folder_id, written.modseq)
        if any(isinstance(outcome, Delivered) for outcome in written.outcomes):
            later = max(0.0, self._avoided.get(alias, 0.0) - now)
            self._arrived(alias, Arrival(live=bool(written.folder_id), merge_after=later))

    async def _key_holder(self, alias: str) -> Session | None:
        if self._avoided.get(alias, 0.0) > self._reactor.seconds():
            return None
        self._avoided.pop(alias, None)
        return await self._find(alias)


def _fail(batch: Sequence[tuple[Delivery, Deferred[Delivered]]], error: Exception) -> None:
    if not isinstance(error, MailsrvError):
        log_unexpected(error)
        error = Unavailable("the message cannot be stored now")
    for _, answer in batch:
        _answer(answer, error)


def _answer(answer: Deferred[Delivered], outcome: Delivered | MailsrvError | Exception) -> None:
    if answer.called:  # the asker went away
        return
    if isinstance(outcome, Delivered):
        answer.callback(outcome)
    else:
        answer.errback(outcome)
