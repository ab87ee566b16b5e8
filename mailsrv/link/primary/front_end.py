"""The primary's end of a link: what a front end asks is done in the store, for its sessions only.

A connection knows the sessions that logged in, or were entered again, over it. When it is lost
they end, and with them the keys that were lent. Whoever has them enters them again over the next
connection, and what is there of an earlier one is replaced by the store.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredLock, succeed
from zope.interface import implementer

from mailsrv.errors import Elsewhere, InvalidInput, KeyGone, MailsrvError, Unavailable
from mailsrv.keys.wiping import wipe, wiped
from mailsrv.link.mailbox_operations import (
    MAILBOX_OPERATIONS,
    SessionOperation,
)
from mailsrv.link.operations import (
    FRONTEND_OPERATIONS,
    Deliver,
    Lending,
    LendKey,
    LoggedIn,
    Login,
    LoginScram,
    Logout,
    Resolve,
    Resume,
    Resumed,
    ScramChallengeOf,
)
from mailsrv.link.primary.announcer import Announcer, Ear
from mailsrv.link.sealed import ASK, KEY, PASSWORD, PROOF, LinkKeys, Opener, new_ask, seal_for
from mailsrv.link.transport.tokens import FRONTEND
from mailsrv.link.wire.connection import ILinkHandler, LinkConnection, MakeHandler, WelcomeParts
from mailsrv.link.wire.frames import Lent, NoteBody, Operation, decode_body
from mailsrv.link.wire.served import Received
from mailsrv.store.interfaces import IKeeper, IListener, IPrimary
from mailsrv.store.values import Access, ScramProof

ENDED = "this session has ended: log in again"

SESSIONS = 50_000
"""Of one link: more than a process can have clients."""

LOGINS_AT_ONCE = 96
"""Of one link: more than a front end of ours begins, fewer than all that may wait here."""


@attrs.define(eq=False)
class _Session:
    """One session of this connection; ``access`` is None while its login is under way."""

    access: Access | None = None
    login: Deferred[Any] | None = None


@implementer(IKeeper)
class FrontEnd:
    """One connection of a front end, and its sessions at this primary.

    Made before the connection has its peer, so nothing is sent from the constructor.
    """

    accepts: ClassVar[Mapping[str, type[Operation]]] = FRONTEND_OPERATIONS
    notes: ClassVar[Mapping[str, type[NoteBody]]] = {}

    def __init__(self, store: IPrimary, keys: LinkKeys, connection: LinkConnection) -> None:
        self._store = store
        self._keys = keys
        self._connection = connection
        self._opener = Opener(keys, connection.welcome.nonce)
        self._sessions: dict[str, _Session] = {}
        self._aliases: dict[str, set[str]] = {}
        self._lost = False
        self._logins = 0
        self._resuming = DeferredLock()
        self._announcer = Announcer(lambda: connection.peer)
        self._does: dict[type[Operation], Callable[[Any], Any]] = {
            Login: lambda call: self._login(call.operation),
            LoginScram: lambda call: self._login_scram(call.operation),
            Logout: self._logout,
            Resume: lambda call: self._resume(call.operation),
            ScramChallengeOf: lambda call: store.scram_challenge(call.operation.address),
            Resolve: lambda call: store.resolve(call.operation.address),
            Deliver: lambda call: store.deliver(call.operation.alias, call.operation.delivery),
        }
        self._does.update(dict.fromkeys(MAILBOX_OPERATIONS, self._work))
        store.add_keeper(self)
        connection.closed.addBoth(self._closed)

    # IHandler

    def called(self, call: Received) -> Deferred[Any] | Awaitable[Any]:
        """Do it, if it is one of the things that a front end may ask for."""
        return self._does[type(call.operation)](call)  # type: ignore[no-any-return]

    def told(self, note: NoteBody) -> None:
        """A front end tells nothing."""

    # IKeeper

    def ask(self, alias: str, mailbox: str) -> Deferred[Access | None]:
        """As IKeeper.ask. Who has no session of the alias is not troubled."""
        if self._lost or alias not in self._aliases:
            return succeed(None)
        return Deferred.fromCoroutine(self._ask(alias, mailbox))

    async def _ask(self, alias: str, mailbox: str) -> Access | None:
        ask = new_ask()
        lending: Lending | None = await self._connection.peer.call(LendKey(alias, mailbox, ask))
        if lending is None:
            return None
        session = self._sessions.get(lending.session)
        access = session.access if session is not None else None
        if access is None or (access.alias, access.mailbox) != (alias, mailbox):
            return None
        try:
            about = (alias, mailbox, lending.session)
            with wiped(self._keys.open(lending.sealed, ASK, ask, 0, *about)) as key:
                self._store.lend(access, key)
        except MailsrvError:  # the session has ended meanwhile, or this is no key
            return None
        return access

    # Sessions

    def _require_room(self, logins: int, sessions: int) -> None:
        """Unavailable where this link has its share of what all front ends need."""
        if self._logins + logins > LOGINS_AT_ONCE:
            raise Unavailable(f"{LOGINS_AT_ONCE} logins are under way on this link: try again")
        if len(self._sessions) + sessions > SESSIONS:
            raise Unavailable(f"a link has at most {SESSIONS} sessions")

    async def _login(self, asked: Login) -> LoggedIn:
        self._require_room(logins=1, sessions=1)
        about = (asked.address, asked.session)
        secret = self._opener.open(asked.secret, PASSWORD, asked.number, *about)
        try:
            password = secret.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise InvalidInput("a password that is not UTF-8") from None
        ear = self._ear(asked.session, asked.listens)
        opening = self._store.login_leased(asked.address, password, asked.scope, ear, asked.session)
        access, key = await self._entering(asked.session, opening, lambda opened: opened[0])
        return LoggedIn(_on_the_wire(access), self._sealed(key, asked))

    async def _login_scram(self, asked: LoginScram) -> LoggedIn:
        self._require_room(logins=1, sessions=1)
        about = (asked.address, asked.session)
        secret = self._opener.open(asked.secret, PROOF, asked.number, *about)
        proof = decode_body(ScramProof, secret)
        ear = self._ear(asked.session, asked.listens)
        opening = self._store.login_scram_leased(
            asked.address, proof, asked.scope, ear, asked.session
        )
        accepted, key = await self._entering(
            asked.session, opening, lambda opened: opened[0].access
        )
        access = _on_the_wire(accepted.access)
        return LoggedIn(access, self._sealed(key, asked), accepted.server_signature)

    def _sealed(self, key: bytes, asked: Login | LoginScram) -> bytes:
        about = (KEY, self._connection.welcome.nonce, asked.number, asked.session)
        with wiped(key):
            return seal_for(self._connection.public_key, key, *about)

    async def _entering(
        self, id_: str, opening: Deferred[Any], access_of: Callable[[Any], Access]
    ) -> Any:
        """Wait for a login and its key. One that nobody wants any more by then is closed at once.

        What there is of its id ends: who asks again has not heard of it.
        """
        self._end(id_)
        session = self._sessions[id_] = _Session(login=opening)
        self._logins += 1
        try:
            opened = await opening
        except BaseException:
            if self._sessions.get(id_) is session:
                del self._sessions[id_]
            raise
        finally:
            self._logins -= 1
        access = access_of(opened)
        if self._sessions.get(id_) is not session:
            self._store.logout(access)
            wipe(opened[1])
            raise KeyGone(ENDED)
        self._enter(id_, session, access)
        return opened

    def _enter(self, id_: str, session: _Session, access: Access) -> None:
        session.access, session.login = access, None
        self._sessions[id_] = session
        self._aliases.setdefault(access.alias, set()).add(id_)

    def _forget(self, id_: str) -> _Session | None:
        """Take a session out of the tables."""
        session = self._sessions.pop(id_, None)
        if session is not None and session.access is not None:
            of_alias = self._aliases[session.access.alias]
            of_alias.discard(id_)
            if not of_alias:
                del self._aliases[session.access.alias]
        return session

    def _end(self, id_: str) -> None:
        """End a session, or its login; none of that id is fine."""
        self._announcer.forget(id_)
        session = self._forget(id_)
        if session is None:
            return
        if session.login is not None:
            session.login.cancel()
        elif session.access is not None:
            self._store.logout(session.access)

    def _logout(self, call: Received) -> Deferred[None]:
        self._end(_session_of(call))
        return succeed(None)

    async def _resume(self, asked: Resume) -> list[Access | str]:
        async with self._resuming:  # each looks much up, and there may be many
            self._require_room(logins=0, sessions=len(asked.sessions))
            return await self._enter_again(asked)

    async def _enter_again(self, asked: Resume) -> list[Access | str]:
        accesses = [one.access for one in asked.sessions]
        ears = [self._ear(one.access.session, one.listens) for one in asked.sessions]
        answers = await self._store.resume(accesses, ears)
        return [
            self._resumed(one, answer) for one, answer in zip(asked.sessions, answers, strict=True)
        ]

    def _resumed(self, asked: Resumed, answer: Access | str) -> Access | str:
        if isinstance(answer, str):
            return answer
        if self._lost:
            self._store.logout(answer)
            return ENDED
        self._forget(asked.access.session)
        self._enter(answer.session, _Session(), answer)
        return _on_the_wire(answer)

    def _ear(self, session: str, listens: bool) -> IListener:
        return Ear(self._announcer, session, listens, self._ended)

    def _ended(self, id_: str, reason: str) -> None:
        """The store has ended a session; one that goes on elsewhere stays until it logs out."""
        session = self._sessions.get(id_)
        if session is not None and session.access is not None and Elsewhere.said(reason) is None:
            self._forget(id_)

    # In a mailbox

    def _work(self, call: Received) -> Deferred[Any]:
        """``IStore``'s method of the operation's name, which is one of our own table."""
        access = self._access(call)
        if call.lent is not None:
            self._lend(access, call.lent)
        operation = call.operation
        assert isinstance(operation, SessionOperation)  # noqa: S101
        method: Callable[..., Deferred[Any]] = getattr(self._store, operation.name)
        fields = operation.__struct_fields__
        return method(access, *(getattr(operation, field) for field in fields))

    def _access(self, call: Received) -> Access:
        session = self._sessions.get(_session_of(call))
        if session is None or session.access is None:
            raise KeyGone(ENDED)
        return session.access

    def _lend(self, access: Access, lent: Lent) -> None:
        with wiped(self._opener.lent(lent, access.alias, access.session)) as key:
            self._store.lend(access, key)

    # The end

    def _closed(self, reason: object) -> object:
        """The connection is gone: its sessions end, and the keys that were lent go."""
        self._lost = True
        self._store.remove_keeper(self)
        self._announcer.close()
        for id_ in list(self._sessions):
            self._end(id_)
        return reason


class _Nobody:
    """Handler of a role for which this primary does nothing."""

    accepts: ClassVar[Mapping[str, type[Operation]]] = {}
    notes: ClassVar[Mapping[str, type[NoteBody]]] = {}

    def called(self, call: Received) -> Deferred[Any]:
        raise InvalidInput(f"operation '{call.operation.name}' is not for this role")

    def told(self, note: NoteBody) -> None:
        """Nothing is told."""


@attrs.frozen
class LinkPrimary:
    """What a server of the link needs of a primary. ``others`` makes handlers by role: what an
    operator may do is none of a front end's business, nor the reverse."""

    store: IPrimary
    keys: LinkKeys
    lease_seconds: float
    others: Mapping[str, MakeHandler] = {}

    def welcome(self) -> WelcomeParts:
        """What it says of itself."""
        return WelcomeParts(self.store.name, self.keys.public, self.lease_seconds)

    def handler(self, connection: LinkConnection) -> ILinkHandler:
        """The handler of a new connection, by the role that its token gave it."""
        if connection.role == FRONTEND:
            return FrontEnd(self.store, self.keys, connection)
        make = self.others.get(connection.role)
        return _Nobody() if make is None else make(connection)


def _session_of(call: Received) -> str:
    if call.session is None:
        raise InvalidInput(f"operation '{call.operation.name}' needs a session")
    return call.session


def _on_the_wire(access: Access) -> Access:
    """Without the handle of our vault, which is of no use elsewhere."""
    return msgspec.structs.replace(access, key="")
