"""IStore on plain Python data: a stand-in for front ends' tests, held to the same conformance
suite as the real one.

By default every answer is there at once. With ``hold()`` answers wait until ``release()``, so that
a test can look at a session between a question and its answer.
"""

import hashlib
import hmac
from array import array
from collections.abc import Callable
from functools import wraps
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailsrv.errors import (
    AliasDisabled,
    AuthenticationFailed,
    InvalidInput,
    KeyGone,
    MessageTooLarge,
    NoSuchAlias,
    NoSuchDomain,
    OverQuota,
)
from mailsrv.message.scan import body
from mailsrv.message.sections import filter_fields, locate
from mailsrv.store.interfaces import IListener, IStore
from mailsrv.store.values import (
    ALL_SCOPES,
    DELETED,
    LARGE,
    SEEN,
    Access,
    Appended,
    BackupState,
    Changes,
    Copied,
    Criteria,
    Delivered,
    Delivery,
    Expunged,
    ExpungedMessage,
    ExpungedPage,
    ExpungedQuery,
    FetchPage,
    FetchRequest,
    Flags,
    Folder,
    Found,
    NewMessage,
    Purged,
    Quota,
    Recipient,
    Scope,
    ScramAccepted,
    ScramChallenge,
    ScramProof,
    Section,
    Selected,
    StoreFlags,
    StoreResult,
    UidSet,
    Undeleted,
    UndeletedFolder,
)
from tests.fakes.mailboxes import (
    FakeFolder,
    FakeMailbox,
    FakeMessage,
    drop_keywords,
    merge_keywords,
    ranges,
)
from tests.fakes.matching import matches

ITERATIONS = 4096


@attrs.define
class FakeAlias:
    id: str
    address: str
    passwords: dict[str, tuple[Scope, ...]]
    quota: int | None
    enabled: bool = True
    mailbox: FakeMailbox = attrs.field(factory=FakeMailbox)
    waiting: list[Delivery] = attrs.field(factory=list)


def answered(method: Callable[..., Any]) -> Callable[..., Deferred[Any]]:
    """The method's result or error as a Deferred, held back when the store is told so."""

    @wraps(method)
    def answer(self: "FakeStore", *args: Any) -> Deferred[Any]:
        self.calls.append(method.__name__)
        try:
            self._fail_if_told(method.__name__)
            result = succeed(method(self, *args))
        except Exception as error:  # noqa: BLE001 - as a Deferred would carry it
            result = fail(error)
        return self._hold(result)

    return answer


@implementer(IStore)
class FakeStore:
    """``failures`` maps a method's name to the error that its next call raises; ``calls`` lists
    the methods called."""

    def __init__(
        self, now: Callable[[], str] = lambda: "2026-11-23T10:15:00Z", largest: int = 50 * 1024**2
    ) -> None:
        self.failures: dict[str, Exception] = {}
        self.calls: list[str] = []
        self.backup: BackupState | None = None
        self.sessions: dict[str, tuple[FakeAlias, IListener | None]] = {}
        self._now = now
        self._largest = largest
        self._aliases: dict[str, FakeAlias] = {}
        self._held: list[tuple[Deferred[Any], Deferred[Any]]] | None = None
        self._writes: dict[tuple[str, str], Any] = {}

    # What tests do that clients cannot

    def add_alias(
        self,
        address: str,
        password: str,
        quota: int | None = None,
        scopes: tuple[Scope, ...] = ALL_SCOPES,
    ) -> str:
        """A new alias, or one more password for an old one; answers the alias's id."""
        alias = self._aliases.get(address)
        if alias is None:
            alias = FakeAlias(f"{len(self._aliases) + 1:024x}", address, {}, quota)
            self._aliases[address] = alias
        alias.passwords[password] = scopes
        return alias.id

    def disable(self, address: str) -> None:
        self._aliases[address].enabled = False

    def mailbox(self, address: str) -> FakeMailbox:
        return self._aliases[address].mailbox

    def hold(self) -> None:
        """From now on answers wait for ``release``."""
        self._held = []

    def release(self) -> None:
        """Let held answers go, in order; those asked meanwhile go through at once."""
        held, self._held = self._held or [], None
        for outer, inner in held:
            if not outer.called:
                inner.chainDeferred(outer)

    def release_one(self, which: int) -> None:
        """Let one of the held answers go, and go on holding."""
        if self._held:
            outer, inner = self._held.pop(which % len(self._held))
            if not outer.called:
                inner.chainDeferred(outer)

    def revoke(self, address: str, reason: str = "The password has changed") -> None:
        for alias, listener in list(self.sessions.values()):
            if alias.address == address and listener is not None:
                listener.revoked(reason)

    def _fail_if_told(self, name: str) -> None:
        error = self.failures.pop(name, None)
        if error is not None:
            raise error

    def _hold(self, result: Deferred[Any]) -> Deferred[Any]:
        if self._held is None:
            return result
        outer: Deferred[Any] = Deferred(lambda _: self._give_back(result))
        result.addErrback(lambda failure: failure)
        self._held.append((outer, result))
        return outer

    def _give_back(self, result: Deferred[Any]) -> None:
        """Who asked does not want the answer: a login that is cancelled opens nothing."""

        def log_out(answer: Any) -> None:
            if isinstance(answer, ScramAccepted | Access):
                self.logout(answer.access if isinstance(answer, ScramAccepted) else answer)

        result.addCallbacks(log_out, lambda _: None)

    # Inside

    def _of(self, access: Access) -> FakeAlias:
        if access.session not in self.sessions:
            raise KeyGone("The session has ended")
        return self.sessions[access.session][0]

    def _announce(self, alias: FakeAlias, folder_id: int, modseq: int) -> None:
        for owner, listener in list(self.sessions.values()):
            if owner is alias and listener is not None:
                listener.changed(folder_id, modseq)

    def _once(self, alias: FakeAlias, write_id: str | None, write: Callable[[], Any]) -> Any:
        if write_id is None:
            return write()
        if (alias.id, write_id) not in self._writes:
            self._writes[alias.id, write_id] = write()
        return self._writes[alias.id, write_id]

    def _room(self, alias: FakeAlias, octets: int) -> None:
        """Room for so much more, or OverQuota. Expunged messages are in nobody's way."""
        held = alias.mailbox.octets(kept=False) + sum(len(one.content) for one in alias.waiting)
        if alias.quota is not None and held + octets > alias.quota:
            raise OverQuota("The mailbox is full")

    def _trim(self, alias: FakeAlias) -> None:
        """The oldest expunged messages go where others need the room."""
        mailbox = alias.mailbox
        while alias.quota is not None and mailbox.kept and mailbox.octets() > alias.quota:
            mailbox.kept.pop(0)

    def _open(self, alias: FakeAlias, listener: IListener | None, password: str) -> Access:
        session = f"session-{len(self.calls)}-{len(self.sessions)}"
        self.sessions[session] = (alias, listener)
        self._merge(alias)
        return Access(
            session=session,
            alias=alias.id,
            address=alias.address,
            mailbox=alias.id,
            credential=hashlib.sha256(password.encode()).hexdigest()[:24],
            key="",
        )

    def _merge(self, alias: FakeAlias) -> int:
        waiting, alias.waiting = alias.waiting, []
        for delivery in waiting:
            self._put(alias, delivery)
        return len(waiting)

    def _put(self, alias: FakeAlias, delivery: Delivery) -> None:
        inbox = alias.mailbox.named("INBOX")
        inbox.modseq += 1
        inbox.add(delivery.content, Flags(), delivery.received, self._now())
        self._trim(alias)
        self._announce(alias, inbox.id, inbox.modseq)

    # Logging in

    @answered
    def login(
        self, address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Access:
        alias = self._aliases.get(address.lower())
        if alias is None or not alias.enabled or scope not in alias.passwords.get(password, ()):
            raise AuthenticationFailed("Login failed")
        return self._open(alias, listener, password)

    @answered
    def scram_challenge(self, address: str) -> ScramChallenge:
        salt = hashlib.sha256(address.lower().encode()).digest()[:16]
        return ScramChallenge(salt=salt, iterations=ITERATIONS)

    @answered
    def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> ScramAccepted:
        alias = self._aliases.get(address.lower())
        salt = hashlib.sha256(address.lower().encode()).digest()[:16]
        for password, scopes in alias.passwords.items() if alias and alias.enabled else ():
            salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
            client_key = hmac.digest(salted, b"Client Key", "sha256")
            stored = hashlib.sha256(client_key).digest()
            mask = hmac.digest(stored, proof.auth_message, "sha256")
            wanted = bytes(a ^ b for a, b in zip(client_key, mask, strict=True))
            if scope in scopes and hmac.compare_digest(wanted, proof.proof):
                server_key = hmac.digest(salted, b"Server Key", "sha256")
                return ScramAccepted(
                    access=self._open(alias, listener, password),
                    server_signature=hmac.digest(server_key, proof.auth_message, "sha256"),
                )
        raise AuthenticationFailed("Login failed")

    def logout(self, access: Access) -> None:
        self.sessions.pop(access.session, None)

    @answered
    def poll(self, access: Access) -> int:
        return self._merge(self._of(access))

    # Folders

    @answered
    def folders(self, access: Access) -> list[Folder]:
        return self._of(access).mailbox.listed()

    @answered
    def subscriptions(self, access: Access) -> list[str]:
        return sorted(self._of(access).mailbox.subscribed, key=lambda name: (name != "INBOX", name))

    @answered
    def create_folder(
        self, access: Access, name: str, special_use: str | None, write_id: str | None
    ) -> Folder:
        alias = self._of(access)
        made = self._once(alias, write_id, lambda: alias.mailbox.create(name, special_use))
        self._announce(alias, 0, 0)
        return made.as_value(subscribed=False)

    @answered
    def delete_folder(self, access: Access, name: str, write_id: str | None) -> None:
        alias = self._of(access)
        gone = self._once(alias, write_id, lambda: alias.mailbox.delete(name, self._now()))
        self._announce(alias, 0, 0)
        self._announce(alias, gone.id, gone.modseq + 1)

    @answered
    def rename_folder(self, access: Access, old: str, new: str, write_id: str | None) -> None:
        alias = self._of(access)
        self._once(alias, write_id, lambda: alias.mailbox.rename(old, new))
        self._announce(alias, 0, 0)
        inbox = alias.mailbox.named("INBOX")
        self._announce(alias, inbox.id, inbox.modseq)

    @answered
    def subscribe(self, access: Access, name: str, subscribed: bool, write_id: str | None) -> None:
        mailbox = self._of(access).mailbox
        name = mailbox.checked(name)
        (mailbox.subscribed.add if subscribed else mailbox.subscribed.discard)(name)

    @answered
    def select(self, access: Access, name: str, writable: bool) -> Selected:
        return self._of(access).mailbox.select(name, writable)

    # Messages

    @answered
    def append(
        self, access: Access, folder: str, messages: list[NewMessage], write_id: str | None
    ) -> Appended:
        alias = self._of(access)
        target = alias.mailbox.named(folder)
        if any(len(message.content) > self._largest for message in messages):
            raise MessageTooLarge("The message is larger than the limit")
        result = self._once(alias, write_id, lambda: self._append(alias, target, messages))
        self._announce(alias, target.id, target.modseq)
        return result

    def _append(self, alias: FakeAlias, target: FakeFolder, messages: list[NewMessage]) -> Appended:
        self._room(alias, sum(len(message.content) for message in messages))
        target.modseq += 1
        uids = tuple(
            target.add(one.content, one.flags, one.internal_date or self._now(), self._now())
            for one in messages
        )
        self._trim(alias)
        return Appended(
            folder_id=target.id, uidvalidity=target.uidvalidity, uids=uids, modseq=target.modseq
        )

    @answered
    def fetch(self, access: Access, folder_id: int, request: FetchRequest) -> FetchPage:
        alias = self._of(access)
        folder = alias.mailbox.numbered(folder_id)
        page, rest, size = [], None, 0
        for message in folder.picked(request.uids):
            if request.changed_since is not None and message.modseq <= request.changed_since:
                continue
            if len(page) >= request.max_rows or size > request.max_bytes:
                rest = message.uid
                break
            page.append(message)
            size += sum(len(self._cut(message, one) or b"") for one in request.sections) + 100
        seen = self._mark_seen(alias, folder, page) if request.mark_seen else ()
        rows = [self._row(message, request) for message in page]
        return FetchPage(rows=rows, next_uid=rest, newly_seen=seen)

    def _mark_seen(
        self, alias: FakeAlias, folder: FakeFolder, page: list[FakeMessage]
    ) -> tuple[int, ...]:
        unseen = [message for message in page if not message.system & SEEN]
        if unseen:
            folder.modseq += 1
            for message in unseen:
                message.system |= SEEN
                message.modseq = folder.modseq
            self._announce(alias, folder.id, folder.modseq)
        return tuple(message.uid for message in unseen)

    def _row(self, message: FakeMessage, request: FetchRequest) -> tuple[Any, ...]:
        cells: dict[str, Callable[[], Any]] = {
            "flags": lambda: message.system,
            "keywords": lambda: message.keywords,
            "modseq": lambda: message.modseq,
            "internal_date": lambda: message.internal_date,
            "saved": lambda: message.saved,
            "size": lambda: message.scanned.size,
            "envelope": lambda: message.scanned.envelope,
            "bodystructure": lambda: message.scanned.bodystructure,
            "body": lambda: body(message.scanned.root),
            "email_id": lambda: message.email_id,
            "thread_id": lambda: message.email_id,
            "preview": lambda: message.scanned.preview,
        }
        row: list[Any] = [message.uid, *(cells[name]() for name in request.columns)]
        for section in request.sections:
            piece = self._cut(message, section)
            row.append(len(piece) if piece is not None and len(piece) > LARGE else piece)
        return tuple(row)

    def _cut(self, message: FakeMessage, section: Section) -> bytes | None:
        kind = section.kind
        fields = kind.startswith("HEADER.FIELDS")
        place = locate(message.scanned.root, section.path, "HEADER" if fields else kind)
        if place is None:
            return None
        piece = message.content[place[0] : place[1]]
        if fields:
            piece = filter_fields(piece, section.fields, kind.endswith("NOT"))
        end = None if section.length is None else section.start + section.length
        return piece[section.start : end]

    @answered
    def read(self, access: Access, folder_id: int, uid: int, section: Section) -> bytes | None:
        message = self._of(access).mailbox.numbered(folder_id).messages.get(uid)
        return None if message is None else self._cut(message, section)

    @answered
    def changes(self, access: Access, folder_id: int, since: int, claim_recent: bool) -> Changes:
        return self._of(access).mailbox.numbered(folder_id).changes(since, claim_recent)

    @answered
    def store_flags(
        self, access: Access, folder_id: int, change: StoreFlags, write_id: str | None
    ) -> StoreResult:
        alias = self._of(access)
        folder = alias.mailbox.numbered(folder_id)
        result = self._once(alias, write_id, lambda: self._store_flags(folder, change))
        if result.modseq > result.base:
            self._announce(alias, folder.id, folder.modseq)
        return result

    def _store_flags(self, folder: FakeFolder, change: StoreFlags) -> StoreResult:
        base, refused, rows = folder.modseq, [], []
        limit = change.unchanged_since
        for message in folder.picked(change.uids):
            if limit is not None and message.modseq > limit:
                refused.append(message.uid)
                continue
            before = (message.system, message.keywords)
            _apply(message, change)
            if (message.system, message.keywords) != before:
                folder.modseq = base + 1
                message.modseq = base + 1
            rows.append(message.row())
        return StoreResult(base=base, modseq=folder.modseq, rows=rows, refused=ranges(refused))

    @answered
    def expunge(
        self, access: Access, folder_id: int, uids: UidSet, write_id: str | None
    ) -> Expunged:
        alias = self._of(access)
        folder = alias.mailbox.numbered(folder_id)
        result = self._once(alias, write_id, lambda: self._expunge(alias, folder, uids))
        if result.uids:
            self._announce(alias, folder.id, folder.modseq)
        return result

    def _expunge(self, alias: FakeAlias, folder: FakeFolder, uids: UidSet) -> Expunged:
        base = folder.modseq
        gone = [message.uid for message in folder.picked(uids) if message.system & DELETED]
        folder.modseq += bool(gone)
        alias.mailbox.keep(folder, gone, self._now())
        folder.remove(gone)
        return Expunged(base=base, modseq=folder.modseq, uids=ranges(gone))

    @answered
    def copy(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Copied:
        return self._carry(access, folder_id, uids, to, write_id, remove=False)

    @answered
    def move(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Copied:
        return self._carry(access, folder_id, uids, to, write_id, remove=True)

    def _carry(
        self,
        access: Access,
        folder_id: int,
        uids: UidSet,
        to: str,
        write_id: str | None,
        *,
        remove: bool,
    ) -> Copied:
        alias = self._of(access)
        source, target = alias.mailbox.numbered(folder_id), alias.mailbox.named(to)
        result = self._once(
            alias, write_id, lambda: self._copy(alias, source, target, uids, remove=remove)
        )
        if result.source:
            self._announce(alias, target.id, target.modseq)
            if remove:
                self._announce(alias, source.id, source.modseq)
        return result

    def _copy(
        self,
        alias: FakeAlias,
        source: FakeFolder,
        target: FakeFolder,
        uids: UidSet,
        *,
        remove: bool,
    ) -> Copied:
        chosen = list(source.picked(uids))
        if not remove:
            self._room(alias, sum(message.scanned.size for message in chosen))
        base = source.modseq
        target.modseq += bool(chosen)
        placed = []
        for one in chosen:
            flags = Flags(system=one.system, keywords=one.keywords)
            placed.append(target.add(one.content, flags, one.internal_date, self._now()))
        self._trim(alias)
        if remove and chosen:
            source.modseq += source is not target
            source.remove([message.uid for message in chosen])
        return Copied(
            folder_id=target.id,
            uidvalidity=target.uidvalidity,
            source=tuple(message.uid for message in chosen),
            destination=tuple(placed),
            base=base,
            modseq=source.modseq if remove else base,
            destination_modseq=target.modseq,
        )

    @answered
    def search(self, access: Access, folder_id: int, criteria: Criteria) -> Found:
        folder = self._of(access).mailbox.numbered(folder_id)
        found = [message for message in folder.messages.values() if matches(message, criteria)]
        return Found(
            uids=array("I", [message.uid for message in found]).tobytes(),
            modseq=max((message.modseq for message in found), default=0),
        )

    @answered
    def expunged(
        self, access: Access, which: ExpungedQuery, before: int | None, max_rows: int
    ) -> ExpungedPage:
        mailbox = self._of(access).mailbox
        found = mailbox.recoverable(which)[::-1]
        left = [one for one in found if before is None or one.id < before]
        page = [
            ExpungedMessage(
                id=one.id,
                folder=mailbox.folder_of(one),
                uid=one.message.uid,
                subject=one.message.scanned.subject,
                sender=one.message.scanned.sender,
                sent=one.message.scanned.sent,
                internal_date=one.message.internal_date,
                saved=one.message.saved,
                size=one.message.scanned.size,
                expunged=one.expunged,
            )
            for one in left[:max_rows]
        ]
        return ExpungedPage(page, page[-1].id if len(left) > max_rows else None)

    @answered
    def undelete(
        self, access: Access, which: ExpungedQuery, to: str | None, write_id: str | None
    ) -> Undeleted:
        alias = self._of(access)
        folders = len(alias.mailbox.by_id)
        result = self._once(alias, write_id, lambda: self._undelete(alias.mailbox, which, to))
        if len(alias.mailbox.by_id) > folders:
            self._announce(alias, 0, 0)
        for folder in result.folders:
            self._announce(alias, folder.id, folder.modseq)
        return result

    def _undelete(self, mailbox: FakeMailbox, which: ExpungedQuery, to: str | None) -> Undeleted:
        chosen = mailbox.recoverable(which)
        to = None if to is None else mailbox.checked(to)
        folders = len(mailbox.by_id)
        placed: dict[int, list[int]] = {}
        for one in chosen:
            name = mailbox.folder_of(one) if to is None else to
            target = mailbox.find(name) or mailbox.create(name, None)
            if target.id not in placed:
                target.modseq += 1
            flags = Flags(system=one.message.system & ~DELETED, keywords=one.message.keywords)
            date = one.message.internal_date
            uid = target.add(one.message.content, flags, date, self._now())
            placed.setdefault(target.id, []).append(uid)
            mailbox.kept.remove(one)
        done = [(mailbox.by_id[folder_id], uids) for folder_id, uids in placed.items()]
        return Undeleted(
            len(chosen),
            sum(one.message.scanned.size for one in chosen),
            tuple(
                UndeletedFolder(one.id, one.name, one.uidvalidity, ranges(uids), one.modseq)
                for one, uids in done
            ),
            len(mailbox.by_id) > folders,
        )

    @answered
    def purge(self, access: Access, which: ExpungedQuery, write_id: str | None) -> Purged:
        alias = self._of(access)
        return self._once(alias, write_id, lambda: self._purge(alias.mailbox, which))

    def _purge(self, mailbox: FakeMailbox, which: ExpungedQuery) -> Purged:
        chosen = mailbox.recoverable(which)
        for one in chosen:
            mailbox.kept.remove(one)
        return Purged(len(chosen), sum(one.message.scanned.size for one in chosen))

    @answered
    def quota(self, access: Access) -> Quota:
        alias = self._of(access)
        every = alias.mailbox.by_id.values()
        return Quota(
            used_octets=alias.mailbox.octets(),
            limit_octets=alias.quota,
            messages=sum(len(one.messages) for one in every),
        )

    @answered
    def back_up(self, access: Access) -> BackupState:
        self._of(access)
        if self.backup is None:
            raise InvalidInput("No backups are made here")
        return self.backup

    # Mail from the world

    @answered
    def resolve(self, address: str) -> Recipient:
        local, at, domain = address.lower().rpartition("@")
        if not at or not local or not domain:
            raise InvalidInput("An address has the form name@domain")
        if not any(known.endswith("@" + domain) for known in self._aliases):
            raise NoSuchDomain("The domain is not one of ours")
        plain, plus, detail = local.partition("+")
        tries = ((local, None), (plain, detail if plus else None), ("*", None))
        for name, rest in tries:
            alias = self._aliases.get(f"{name}@{domain}")
            if alias is None:
                continue
            if not alias.enabled:
                raise AliasDisabled("The address takes no mail now")
            self._room(alias, 1)
            return Recipient(alias=alias.id, address=alias.address, detail=rest)
        raise NoSuchAlias("The address is not one of ours")

    @answered
    def deliver(self, alias: str, delivery: Delivery) -> Delivered:
        owner = next((one for one in self._aliases.values() if one.id == alias), None)
        if owner is None:
            raise NoSuchAlias("The address is not one of ours")
        live = any(one is owner for one, _ in self.sessions.values())
        where = "live" if live else "waiting"
        if delivery.delivery_id in owner.mailbox.delivered:
            return Delivered(where=where, duplicate=True)
        self._room(owner, len(delivery.content))
        owner.mailbox.delivered.add(delivery.delivery_id)
        if live:
            self._put(owner, delivery)
        else:
            owner.waiting.append(delivery)
        return Delivered(where=where)


def _apply(message: FakeMessage, change: StoreFlags) -> None:
    flags = change.flags
    if change.operation == "add":
        message.system |= flags.system
        message.keywords = merge_keywords(message.keywords, flags.keywords)
    elif change.operation == "remove":
        message.system &= ~flags.system
        message.keywords = drop_keywords(message.keywords, flags.keywords)
    else:
        message.system = flags.system
        message.keywords = merge_keywords("", flags.keywords)
