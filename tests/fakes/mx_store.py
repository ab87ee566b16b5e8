"""A store in memory for what the MX asks: addresses and deliveries."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, maybeDeferred
from zope.interface import implementer

from mailsrv.errors import MailsrvError, NoSuchAlias, NoSuchDomain, Unavailable
from mailsrv.store.interfaces import IStore
from mailsrv.store.values import Delivered, Delivery, Recipient


def _unavailable(*_args: object) -> Deferred[None]:
    return fail(Unavailable("This store only takes mail"))


@implementer(IStore)
class MxStore:
    """Addresses of ``example.com`` and what was delivered to them.

    ``addresses`` maps an address in lower case to an ObjectID or to the error that resolving it
    gives; ``failing`` maps an ObjectID to the error of its next deliveries. With ``slow`` every
    answer waits for ``release``.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, str | Exception] = {
            "hello@example.com": "a1",
            "you@example.com": "a2",
            "postmaster@example.com": "a3",
            "grüße@example.com": "a4",
        }
        self.failing: dict[str, Exception] = {}
        self.delivered: list[tuple[str, Delivery]] = []
        self.seen: set[tuple[str, str]] = set()
        self.asked: list[str] = []
        self.slow = False
        self._waiting: list[Deferred[None]] = []

    def release(self, count: int = 1) -> None:
        """Let the oldest answers out."""
        for _ in range(count):
            self._waiting.pop(0).callback(None)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def logout(self, access: object) -> None:
        pass

    def resolve(self, address: str) -> Deferred[Recipient]:
        self.asked.append(address)
        return self._answer(lambda: self._resolve(address))

    def deliver(self, alias: str, delivery: Delivery) -> Deferred[Delivered]:
        return self._answer(lambda: self._deliver(alias, delivery))

    def _answer(self, work: Callable[[], object]) -> Deferred:
        if not self.slow:
            return maybeDeferred(work)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting.addCallback(lambda _none: work())

    def _resolve(self, address: str) -> Recipient:
        local, _, domain = address.lower().rpartition("@")
        found = self.addresses.get(f"{local}@{domain}")
        detail = None
        if found is None and "+" in local:
            local, _, detail = local.partition("+")
            found = self.addresses.get(f"{local}@{domain}")
        if isinstance(found, Exception):
            raise found
        if found is None:
            served = any(known.endswith(f"@{domain}") for known in self.addresses)
            error: type[MailsrvError] = NoSuchAlias if served else NoSuchDomain
            raise error("unknown")
        return Recipient(found, f"{local}@{domain}", detail)

    def _deliver(self, alias: str, delivery: Delivery) -> Delivered:
        if alias in self.failing:
            raise self.failing[alias]
        if (alias, delivery.delivery_id) in self.seen:
            return Delivered("live", duplicate=True)
        self.seen.add((alias, delivery.delivery_id))
        self.delivered.append((alias, delivery))
        return Delivered("live")


for name in IStore.names():
    if not hasattr(MxStore, name):
        setattr(MxStore, name, staticmethod(_unavailable))
