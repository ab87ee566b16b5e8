"""Logging in, for a client that may be gone before the door opens.

When the session ends meanwhile the store is told, so that nobody makes it work for clients that
do not wait. It may be too late for that: what it then opens is closed again at once, so that no key
and no listener stays behind.
"""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailsrv.store.interfaces import IListener, IStore
from mailsrv.store.values import Access, Scope, ScramAccepted, ScramChallenge, ScramProof

SCOPE: Scope = "imap"

T = TypeVar("T")


class Entrance:
    """The ways into a mailbox for one session, which hears of it as ``listener``."""

    def __init__(self, store: IStore, listener: IListener) -> None:
        self._store = store
        self._listener = listener
        self.account = ""
        """The address of the last attempt, as the client spelled it."""

    async def login(self, address: str, password: str) -> Access:
        """As IStore.login."""
        self.account = address
        asked = self._store.login(address, password, SCOPE, self._listener)
        return await self._unless_over(asked, lambda access: access)

    async def scram_challenge(self, address: str) -> ScramChallenge:
        """As IStore.scram_challenge."""
        self.account = address
        return await self._store.scram_challenge(address)

    async def login_scram(self, address: str, proof: ScramProof) -> ScramAccepted:
        """As IStore.login_scram."""
        asked = self._store.login_scram(address, proof, SCOPE, self._listener)
        return await self._unless_over(asked, lambda accepted: accepted.access)

    def logout(self, access: Access) -> None:
        """As IStore.logout."""
        self._store.logout(access)

    async def _unless_over(self, asked: Deferred[T], access_of: Callable[[T], Access]) -> T:
        outer: Deferred[T] = Deferred(lambda _outer: asked.cancel())

        def opened(result: T) -> None:
            if outer.called:
                self._store.logout(access_of(result))
            else:
                outer.callback(result)

        def refused(failure: Failure) -> None:
            if not outer.called:
                outer.errback(failure)

        asked.addCallbacks(opened, refused)
        return await outer
