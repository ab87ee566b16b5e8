"""Logging in and out over a link.

The front end names the session before it asks, so that a login that is asked again opens one
session and not two, and one that nobody waits for any more can be closed by name.
"""

import secrets

import msgspec
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from mailsrv.errors import AuthenticationFailed, StaleKey, Unavailable
from mailsrv.keys.vault import Vault
from mailsrv.keys.wiping import wiped
from mailsrv.link.operations import (
    LoggedIn,
    Login,
    LoginScram,
    Logout,
)
from mailsrv.link.sealed import KEY, PASSWORD, PROOF, LinkKeys
from mailsrv.link.secondary.line import Ask, Line
from mailsrv.link.secondary.requests import Asking
from mailsrv.link.secondary.sessions import Held
from mailsrv.link.wire.frames import encode_body
from mailsrv.store.interfaces import IListener
from mailsrv.store.values import Access, Scope, ScramAccepted, ScramProof

AT_ONCE = 64
"""Logins under way at once on all links: fewer than a link's calls, so that a flood of them leaves
room for those who are in."""

WAITING = 256
"""Logins that may wait for their turn; more are told to come again."""

PATIENCE = 30.0
"""Seconds that a login waits for its turn."""

TOO_MANY = "too many logins are under way: try again"


class _Attempt:
    """One login, sealed anew for each connection that it is sent on."""

    def __init__(
        self,
        kind: type[Login] | type[LoginScram],
        address: str,
        secret: bytes,
        scope: Scope,
        listens: bool,
        clock: IReactorTime,
    ) -> None:
        self._kind = kind
        self._address = address
        self._secret = secret
        self._scope = scope
        self._listens = listens
        self._clock = clock
        self._number = 0
        self.session = secrets.token_hex(12)
        self.line: Line | None = None
        self.sent = 0.0

    def __call__(self, line: Line) -> Ask:
        self.line, self.sent = line, self._clock.seconds()
        purpose = PASSWORD if self._kind is Login else PROOF
        about = (self._address, self.session)
        self._number, sealed = line.sealer.seal(self._secret, purpose, *about)
        return Ask(
            self._kind(
                address=self._address,
                secret=sealed,
                number=self._number,
                scope=self._scope,
                session=self.session,
                listens=self._listens,
            )
        )

    def key(self, line: Line, answer: LoggedIn, keys: LinkKeys) -> bytes:
        """The file key that came with the answer, to be wiped."""
        nonce = line.sealer.nonce
        try:
            return keys.open(answer.sealed_key, KEY, nonce, self._number, self.session)
        except StaleKey:
            raise Unavailable("the mailbox server sent a key that does not open") from None


class Doors:
    """Opens sessions and closes them. ``entering`` are the listeners of logins under way."""

    def __init__(
        self,
        asking: Asking,
        entering: dict[str, IListener | None],
        keys: LinkKeys,
        vault: Vault,
        clock: IReactorTime,
    ) -> None:
        self._asking = asking
        self._entering = entering
        self._keys = keys
        self._vault = vault
        self._clock = clock
        self._turns = defer.DeferredSemaphore(AT_ONCE)

    async def login(
        self, address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Access:
        """As IStore.login."""
        secret = password.encode("utf-8", "surrogatepass")
        attempt = _Attempt(Login, address, secret, scope, listener is not None, self._clock)
        access, _ = await self._enter(address, attempt, listener)
        return access

    async def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> ScramAccepted:
        """As IStore.login_scram."""
        secret, listens = encode_body(proof), listener is not None
        attempt = _Attempt(LoginScram, address, secret, scope, listens, self._clock)
        access, answer = await self._enter(address, attempt, listener)
        return ScramAccepted(access=access, server_signature=answer.server_signature)

    def logout(self, access: Access) -> None:
        """As IStore.logout. Where there is no link the session ends with it, for it is not
        entered again."""
        held = self._asking.sessions.of(access)
        if held is not None and self._asking.sessions.remove(held):
            self._vault.drop(held.access.key)
            self._asking.links[held.home].hint(Logout(), held.id)

    async def _enter(
        self, address: str, attempt: _Attempt, listener: IListener | None
    ) -> tuple[Access, LoggedIn]:
        await self._turn()
        self._entering[attempt.session] = listener
        try:
            home, answer = await self._asking.routed(address, attempt)
            return self._admit(home, attempt, answer, listener), answer
        except AuthenticationFailed:
            raise
        except BaseException:
            # it may be open there, or about to be: nobody here will use it
            self._close_everywhere(attempt.session)
            raise
        finally:
            self._entering.pop(attempt.session, None)
            self._turns.release()

    async def _turn(self) -> None:
        """Unavailable when there are too many before this one, or they take too long."""
        if len(self._turns.waiting) >= WAITING:
            raise Unavailable(TOO_MANY)
        turn = self._turns.acquire()
        turn.addTimeout(PATIENCE, self._clock)
        try:
            await turn
        except defer.TimeoutError:
            raise Unavailable(TOO_MANY) from None

    def _admit(
        self, home: str, attempt: _Attempt, answer: LoggedIn, listener: IListener | None
    ) -> Access:
        line = attempt.line
        if line is None or answer.access.session != attempt.session:
            raise Unavailable("the mailbox server answered for another session")
        with wiped(attempt.key(line, answer, self._keys)) as key:
            handle = self._vault.put(key)
        access = msgspec.structs.replace(answer.access, key=handle)
        if attempt.session not in self._entering:
            self._vault.drop(handle)  # revoked before it was open
            return access
        held = Held(access, listener, home)
        held.lease.renew(line, attempt.sent)
        self._asking.sessions.add(held)
        self._asking.routes.learn(access.alias, home)
        return access

    def _close_everywhere(self, session: str) -> None:
        for link in self._asking.links.values():
            link.hint(Logout(), session)
