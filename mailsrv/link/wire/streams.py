"""Long bodies in pieces, with credits: what a receiver has no room for is never sent.

A body over ``CHUNK`` is announced with its size. ``FIRST_CREDIT`` octets may follow at once, the
rest when the receiver has reserved room for the whole body from a budget that all links of the
process share. Pure: no transport, no clock.
"""

from collections import Counter, deque
from collections.abc import Callable

from mailsrv.errors import InvalidInput
from mailsrv.link.wire.frames import Chunk
from mailsrv.link.wire.limits import CHUNK, FIRST_CREDIT

Key = tuple[int, bool]
"""Id of the call, and whether this is its answer."""


class Reservation:
    """Room for one body; made by ``Budget.reserve``."""

    def __init__(
        self, budget: "Budget", octets: int, granted: Callable[[], None], owner: object
    ) -> None:
        self._budget = budget
        self.owner = self if owner is None else owner
        self._open = True
        self.octets = octets
        self.held = min(octets, FIRST_CREDIT)
        self.granted = granted
        self.waits = True

    @property
    def missing(self) -> int:
        """Octets that are still to come."""
        return self.octets - self.held

    def give_back(self) -> None:
        """The body is gone from memory. May be called again."""
        if self._open:
            self._open = False
            self._budget.returned(self)


class Budget:
    """Octets for long bodies. Who finds none left waits: first come, first served.

    One body is always let in, whatever its size: a budget can be set too small, but nobody waits
    for ever. One owner has half of it at most, so that the others have some too.
    """

    def __init__(self, octets: int) -> None:
        self._octets = octets
        self._held: Counter[object] = Counter()
        self._waiting: deque[Reservation] = deque()
        self._let_in = 0
        self.used = 0

    def reserve(
        self, octets: int, granted: Callable[[], None], owner: object = None
    ) -> Reservation:
        """Take the first credit's worth now; ``granted`` is called when the rest is there too."""
        reservation = Reservation(self, octets, granted, owner)
        self.used += reservation.held
        self._waiting.append(reservation)
        self._serve()
        return reservation

    def returned(self, reservation: Reservation) -> None:
        """For ``Reservation.give_back``."""
        self.used -= reservation.held
        if reservation.waits:
            self._waiting.remove(reservation)
        else:
            self._let_in -= 1
            self._held[reservation.owner] -= reservation.octets
            if not self._held[reservation.owner]:
                del self._held[reservation.owner]
        self._serve()

    def _serve(self) -> None:
        while (first := self._next()) is not None:
            if self._let_in and self.used + first.missing > self._octets:
                return
            self._waiting.remove(first)
            self.used += first.missing
            self._let_in += 1
            self._held[first.owner] += first.octets
            first.held, first.waits = first.octets, False
            first.granted()

    def _next(self) -> Reservation | None:
        """The longest-waiting of those whose owners have not their share yet."""
        for one in self._waiting:
            held = self._held.get(one.owner, 0)
            if not held or held + one.octets <= self._octets // 2:
                return one
        return None


class Outgoing:
    """A long body on its way out."""

    def __init__(self, key: Key, body: bytes) -> None:
        self.key = key
        self._body = memoryview(body)
        self._sent = 0
        self._credit = FIRST_CREDIT

    @property
    def ready(self) -> bool:
        """Whether a chunk may be sent now."""
        return self._sent < min(self._credit, len(self._body))

    @property
    def unsent(self) -> int:
        """Octets that are still here."""
        return len(self._body) - self._sent

    def allow(self, octets: int) -> None:
        """The receiver's credit came."""
        self._credit += octets

    def next_chunk(self) -> Chunk:
        """The next piece; only when ``ready``."""
        end = min(self._sent + CHUNK, self._credit, len(self._body))
        piece = bytes(self._body[self._sent : end])
        self._sent = end
        return Chunk(id=self.key[0], answer=self.key[1], data=piece)


class Incoming:
    """A long body that arrives. ``grant`` sends credit to the other side."""

    def __init__(
        self, size: int, budget: Budget, grant: Callable[[int], None], owner: object = None
    ) -> None:
        self._size = size
        self._grant = grant
        self._credit = FIRST_CREDIT
        self._arrived = 0
        self._body = bytearray()
        self._wanted = True
        self._reservation = budget.reserve(size, self._granted, owner)

    @property
    def owed(self) -> bool:
        """Whether the other side may send, and has not."""
        return self._arrived < min(self._credit, self._size)

    @property
    def progress(self) -> tuple[int, int]:
        """Octets that have come, and that were allowed to come: either grows."""
        return self._arrived, self._credit

    @property
    def complete(self) -> bool:
        """Whether the last octet has come."""
        return self._arrived == self._size

    def add(self, data: bytes) -> None:
        """Take a chunk. InvalidInput when it is empty or more than was announced or granted."""
        if not data:
            raise InvalidInput("an empty chunk")
        self._arrived += len(data)
        if self._arrived > min(self._credit, self._size):
            raise InvalidInput(
                f"{self._arrived} octets of a body of {self._size}, {self._credit} granted"
            )
        if self._wanted:
            self._body += data

    def take(self) -> bytearray:
        """The whole body; it stays reserved until ``close``."""
        body, self._body = self._body, bytearray()
        return body

    def close(self) -> None:
        """Keep nothing of it; what still comes is counted only. May be called again."""
        self._wanted = False
        self._body = bytearray()
        self._reservation.give_back()

    def _granted(self) -> None:
        if self._size > FIRST_CREDIT:
            self._credit = self._size
            self._grant(self._size - FIRST_CREDIT)
