"""Keys that are here for a while: those of sessions whose home is a secondary's vault.

A lease begins when the key is brought and ends ``seconds`` after the last request of the session
that needed it, as soon as nothing is under way with it. What the server does of its own accord
(deliveries, indexing) uses a lease and does not prolong it: once its time is over, what runs ends
and nothing else of that kind begins.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailsrv.errors import LeaseEnded, WrongKey
from mailsrv.keys.vault import Vault
from mailsrv.store.sessions import Session, Sessions

_AT_HAND = nullcontext()
_GONE = "the key of this session is not here any more"

Work = Callable[[str], None]
"""Called with the alias whose key came."""


@attrs.define
class _Lease:
    used: float
    users: int = 0
    """Requests of the session that are under way with the key."""
    borrowers: int = 0


class Leases:
    """Reactor's thread. ``ended`` hears of each session whose key was dropped in time, ``wrong``
    of each whose key turned out to open nothing: mail must not be kept waiting for that one.

    One delayed call serves them all: a key stays at most a quarter longer than its lease.
    """

    def __init__(
        self,
        clock: IReactorTime,
        vault: Vault,
        sessions: Sessions,
        seconds: float,
        ended: Callable[[Session], None],
        wrong: Callable[[Session], None],
    ) -> None:
        self._clock = clock
        self._vault = vault
        self._sessions = sessions
        self._seconds = seconds
        self._ended = ended
        self.wrong = wrong
        self._leases: OrderedDict[Session, _Lease] = OrderedDict()  # oldest use first
        self._next: IDelayedCall | None = None
        self._postponed: dict[str, set[Work]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def begin(self, session: Session, key: bytes) -> None:
        """The key of a session (packed FileKey) came, for the first time or again."""
        self._vault.put(key, session.access.key)
        lease = self._leases.setdefault(session, _Lease(0.0))
        self._renew(session, lease)
        self._schedule()
        for work in self._postponed.pop(session.access.alias, ()):
            work(session.access.alias)

    def using(self, session: Session) -> AbstractContextManager[None]:
        """A request of the session: its key stays until the end of it, and a while longer.

        LeaseEnded when it is not here.
        """
        return self._use(session) if session.leased else _AT_HAND

    def borrowing(self, session: Session | None) -> AbstractContextManager[None]:
        """Work of our own with the session's key: it stays until the end of it. LeaseEnded."""
        if session is None or not session.leased:
            return _AT_HAND
        return self._borrow(session)

    def postpone(self, alias: str, work: Work) -> None:
        """Do this when a key of the alias comes, if its sessions last so long."""
        if self._sessions.of_alias(alias):
            self._postponed.setdefault(alias, set()).add(work)

    def forget(self, session: Session) -> None:
        """The session is gone, or goes on elsewhere: so is its key, whoever is using it."""
        self._vault.drop(session.access.key)
        session.key_here = False
        self._leases.pop(session, None)
        if not self._sessions.of_alias(session.access.alias):
            self._postponed.pop(session.access.alias, None)

    def stop(self) -> None:
        """Look at the clock no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    @contextmanager
    def _use(self, session: Session) -> Iterator[None]:
        lease = self._leases.get(session)
        if lease is None:
            raise LeaseEnded(_GONE)
        self._renew(session, lease)
        lease.users += 1
        try:
            yield
        except WrongKey:
            self.wrong(session)
            raise
        finally:
            lease.users -= 1
            if self._leases.get(session) is lease:
                self._renew(session, lease)

    @contextmanager
    def _borrow(self, session: Session) -> Iterator[None]:
        lease = self._leases.get(session)
        if lease is None or not session.key_here:
            raise LeaseEnded(_GONE)
        lease.borrowers += 1
        try:
            yield
        except WrongKey:
            self.wrong(session)
            raise
        finally:
            lease.borrowers -= 1
            if self._leases.get(session) is lease:
                self._end_if_over(session, lease)

    def _renew(self, session: Session, lease: _Lease) -> None:
        session.key_here = True
        lease.used = self._clock.seconds()
        self._leases.move_to_end(session)

    def _schedule(self) -> None:
        if self._next is None and self._leases:
            oldest = next(iter(self._leases.values()))
            left = oldest.used + self._seconds - self._clock.seconds()
            self._next = self._clock.callLater(max(left, self._seconds / 4), self._sweep)

    def _sweep(self) -> None:
        self._next = None
        limit = self._clock.seconds() - self._seconds
        for session, lease in list(self._leases.items()):
            if lease.used > limit:
                break
            if not lease.users:
                self._end(session, lease)
        self._schedule()

    def _end_if_over(self, session: Session, lease: _Lease) -> None:
        if not session.key_here:
            self._end(session, lease)

    def _end(self, session: Session, lease: _Lease) -> None:
        session.key_here = False  # not for anything new
        if not lease.borrowers:
            self.forget(session)
            self._ended(session)
