"""Logging in and out: a proof becomes a session with its key in the vault."""

import itertools
import math
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.task import deferLater

from mailsrv.directory.directory import Directory
from mailsrv.errors import (
    AuthenticationFailed,
    Elsewhere,
    KeyGone,
    MailboxMissing,
    MailboxMoved,
    MailsrvError,
    Unavailable,
    WrongKey,
)
from mailsrv.keys.vault import Vault, new_handle
from mailsrv.keys.wiping import wiped
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.gate import Gate
from mailsrv.store.interfaces import IListener
from mailsrv.store.leases import Leases
from mailsrv.store.limits import Limits
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.merging import Merging
from mailsrv.store.restored import settle
from mailsrv.store.revocation import Revocation
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.usage import Usages
from mailsrv.store.values import Access, Scope, ScramAccepted, ScramChallenge, ScramProof
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import Workers, log_unexpected

_USES_KEPT = 10_000


class _Shut(Exception):
    """The mailbox is held still now: come again when it is not."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias


@attrs.frozen
class Newcomer:
    """Who wants in. ``session`` is the id it brings, when its key shall be here on lease only."""

    listener: IListener | None
    session: str | None = None


@attrs.frozen(repr=False)
class _Admitted:
    opened: Opened
    revision: int
    """Of the directory, before it was asked."""
    mail_waits: bool


class Entrance:
    """Reactor's thread, but for the methods that begin with ``_admit``, ``_look`` and ``_note``.

    Who cannot log in learns so after a whole number of ``limits.refusal_seconds``, whatever it
    took to find out: how long it took would tell whether the address is one of ours.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        workers: Workers,
        directory: Directory,
        authentication: Authentication,
        vault: Vault,
        mailboxes: Mailboxes,
        files: WaitingFiles,
        usages: Usages,
        sessions: Sessions,
        leases: Leases,
        gate: Gate,
        merging: Merging,
        revocation: Revocation,
        entered: Callable[[Opened], None],
        now: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._directory = directory
        self._authentication = authentication
        self._vault = vault
        self._mailboxes = mailboxes
        self._files = files
        self._usages = usages
        self._sessions = sessions
        self._leases = leases
        self._gate = gate
        self._merging = merging
        self._revocation = revocation
        self._entered = entered
        self._now = now
        self._limits = limits
        self._turns = DeferredSemaphore(limits.logins_at_once)
        self._serials = itertools.count(1)
        self._uses: dict[str, datetime] = {}
        self._uses_lock = threading.Lock()

    async def challenge(self, address: str) -> ScramChallenge:
        """Parameters of an address, real or invented."""
        return await self._workers.run(self._authentication.challenge, address)

    async def login(self, address: str, password: str, scope: Scope, who: Newcomer) -> Access:
        """By password."""
        began = next(self._serials)
        admitted = await self._ask(
            lambda: self._authentication.with_password(address, password, scope)
        )
        access = self._enter(admitted, who, began)
        mail_waits = admitted.mail_waits
        del admitted  # from here on the key lies in the vault alone
        return await self._welcome(access, mail_waits)

    async def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, who: Newcomer
    ) -> ScramAccepted:
        """By SCRAM proof."""
        began = next(self._serials)
        admitted = await self._ask(lambda: self._authentication.with_proof(address, proof, scope))
        access = self._enter(admitted, who, began)
        signature, mail_waits = admitted.opened.signature, admitted.mail_waits
        del admitted
        await self._welcome(access, mail_waits)
        return ScramAccepted(access=access, server_signature=signature)

    def key(self, access: Access) -> bytes:
        """The packed key of a session that has just logged in, to be wiped. KeyGone."""
        return self._vault.open(access.key)

    def serial(self) -> int:
        """A number for a session that begins now."""
        return next(self._serials)

    def settle(self, session: Session, revision: int) -> None:
        """Enter a session, by what the directory said at ``revision``.

        It takes the place of an earlier one of its id. KeyGone when that began later, or is
        somebody else's.
        """
        former = self._sessions.with_id(session.access.session)
        if former is not None:
            if former.access.alias != session.access.alias:
                raise KeyGone("another mailbox has a session of this id")
            if former.began > session.began:
                raise KeyGone("another login has taken the place of this one")
            self.logout(former.access)
        self._sessions.enter(session)
        self._revocation.entered(revision)

    def logout(self, access: Access) -> None:
        """Forget key and listener; the last session of a mailbox closes its connections."""
        session = self._sessions.find(access)
        if session is not None:
            self._sessions.remove(access)
            self._forget_key(session)

    def close_unused(self, session: Session) -> None:
        """Close the connections to a mailbox whose last key has gone."""
        access = session.access
        if not self._sessions.uses(access.mailbox, access.alias):
            self._workers.run(self._mailboxes.forget, access.mailbox).addErrback(lambda _: None)

    def depart(self, session: Session, primary: str) -> None:
        """Another primary serves the alias: what a leased session asks for is to be had there."""
        if session.primary is None:
            session.primary = primary
            self._forget_key(session)
            _tell(session, str(Elsewhere(primary)))

    def _forget_key(self, session: Session) -> None:
        self._leases.forget(session)
        self.close_unused(session)

    def end(self, session: Session, reason: str) -> None:
        """End a session that no longer holds and tell its front end why."""
        elsewhere = Elsewhere.said(reason)
        if elsewhere is not None and session.leased:
            self.depart(session, elsewhere.primary)
        else:
            self.logout(session.access)
            _tell(session, reason)

    async def _ask(self, prove: Callable[[], Opened]) -> _Admitted:
        """Let a login have a thread: some at a time, so that guessing leaves threads to others.

        Cancelled while it waits for its turn, it costs nothing more.
        """
        if len(self._turns.waiting) >= self._limits.logins_waiting:
            raise Unavailable("too many logins are under way: try again")
        began = self._reactor.seconds()
        try:
            while True:
                try:
                    return await self._take_turn(prove)
                except _Shut as shut:
                    await self._gate.opened(shut.alias)
        except AuthenticationFailed:
            step, took = self._limits.refusal_seconds, self._reactor.seconds() - began
            await deferLater(self._reactor, math.ceil(took / step) * step - took)
            raise

    async def _take_turn(self, prove: Callable[[], Opened]) -> _Admitted:
        await self._turns.acquire()
        if self._workers.closing:
            self._turns.release()
            raise Unavailable("the server is shutting down")
        return await self._workers.run_then(self._turns.release, self._admit, prove)

    def _enter(self, admitted: _Admitted, who: Newcomer, began: int) -> Access:
        opened = admitted.opened
        leased = who.session is not None
        access = Access(
            session=secrets.token_hex(12) if who.session is None else who.session,
            alias=opened.alias,
            address=opened.address,
            mailbox=opened.mailbox,
            credential=opened.credential.id,
            key=new_handle(),
        )
        session = Session(access, who.listener, opened.public_key, leased=leased, began=began)
        self.settle(session, admitted.revision)
        with wiped(opened.key.pack()) as packed:
            if leased:
                self._leases.begin(session, packed)
            else:
                self._vault.put(packed, access.key)
        self._entered(opened)
        return access

    async def _welcome(self, access: Access, mail_waits: bool) -> Access:
        if not mail_waits:
            # what was sealed after the look and before the session was there has no one else
            # to bring it in
            self._workers.begin(lambda: self.merge(access)).addErrback(lambda _: None)
            return access
        try:
            with self._leases.using(self._sessions.check(access)):
                await self._merging.merge(access, self._limits.login_messages)
        except BaseException:
            self.logout(access)
            raise
        return access

    async def merge(self, access: Access) -> int:
        """Merge waiting mail; how many messages came. KeyGone, LeaseEnded, Elsewhere."""
        session = self._sessions.check(access)
        # most of the time nothing waits, and then the mailbox need not be opened
        if not await self._workers.run(self._files.exist, session.public_key):
            return 0
        with self._leases.using(session):
            return await self._merging.merge(access)

    def _admit(self, prove: Callable[[], Opened]) -> _Admitted:
        revision = self._directory.revision()
        try:
            return self._look(prove(), revision)
        except (WrongKey, MailboxMissing, MailboxMoved):
            # the password may have been changed between one question and the next
            again = self._directory.revision()
            if again == revision:
                raise
            return self._look(prove(), again)

    def _look(self, opened: Opened, revision: int) -> _Admitted:
        if not self._gate.try_enter(opened.alias):
            raise _Shut(opened.alias)
        try:
            with self._mailboxes.just_opened(opened) as mailbox:
                settle(self._directory, opened, mailbox)
                # what a crash kept from being written to the directory is put right here
                self._usages.measure(opened.alias, mailbox)
        finally:
            self._gate.leave(opened.alias)
        with suppress(MailsrvError):  # a directory that cannot be written still lets owners in
            self._note_use(opened.credential.id)
        return _Admitted(opened, revision, self._files.exist(opened.public_key))

    def _note_use(self, credential: str) -> None:
        now = self._now()
        with self._uses_lock:
            last = self._uses.get(credential)
            if last is not None and (now - last).total_seconds() < self._limits.used_seconds:
                return
            if len(self._uses) >= _USES_KEPT:
                self._uses.clear()
            self._uses[credential] = now
        self._directory.used_credential(credential, now)


def _tell(session: Session, reason: str) -> None:
    if session.listener is None:
        return
    try:
        session.listener.revoked(reason)
    except Exception as error:  # noqa: BLE001 - one listener's fault is not the others'
        log_unexpected(error)
