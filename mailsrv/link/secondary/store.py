"""The store of a front end: ``IStore`` over links to the primaries.

Keys stay here, in the vault of this process, and are lent to the primary for as long as it works
with them. Every write has an id, so that whatever was asked may be asked again.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailsrv.keys.vault import Vault
from mailsrv.link import mailbox_operations as in_mailbox
from mailsrv.link import operations
from mailsrv.link.sealed import LinkKeys
from mailsrv.link.secondary.line import Ask
from mailsrv.link.secondary.login import Doors
from mailsrv.link.secondary.primary_link import PrimaryLink
from mailsrv.link.secondary.reconnection import Ownership
from mailsrv.link.secondary.requests import Asking
from mailsrv.link.secondary.sessions import Held
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.values import (
    Appended,
    Changes,
    Copied,
    Expunged,
    ExpungedPage,
    ExpungedQuery,
    FetchPage,
    FetchRequest,
    Folder,
    NewMessage,
    Purged,
    Section,
    Selected,
    StoreFlags,
    StoreResult,
    UidSet,
    Undeleted,
)
from mailsrv.store.interfaces import IListener, IStore
from mailsrv.store.values import (
    Access,
    BackupState,
    Delivered,
    Delivery,
    Quota,
    Recipient,
    Scope,
    ScramAccepted,
    ScramChallenge,
    ScramProof,
)


@implementer(IStore)
class RemoteStore:
    """Call ``start`` before the first request and ``stop`` after the last, on the reactor.

    The methods are those of ``IStore``, described there. ``links`` are all primaries that this
    front end reaches, by name, and ``home`` is the one to ask about addresses that nobody spoke
    of yet. ``keys`` is the pair whose public half the links' Hello carries. ``vault`` is this
    store's own: closed with it.
    """

    def __init__(
        self,
        links: Mapping[str, PrimaryLink],
        keys: LinkKeys,
        vault: Vault,
        clock: IReactorTime,
        home: str | None = None,
    ) -> None:
        self._links = links
        self._vault = vault
        self._asking = Asking(links, vault, clock, home or next(iter(links)))
        self._ownership = Ownership(self._asking, vault)
        self._doors = Doors(self._asking, self._ownership.entering, keys, vault, clock)
        for link in links.values():
            link.owner = self._ownership

    @property
    def ready(self) -> bool:
        """Whether every primary can be reached now."""
        return all(link.up for link in self._links.values())

    def start(self) -> None:
        """Begin to connect."""
        for link in self._links.values():
            link.start()

    def stop(self) -> Deferred[None]:
        """Deferred of None: fail what waits with Unavailable, close the links, forget all keys."""
        closing = DeferredList([link.stop() for link in self._links.values()])
        self._vault.close()
        return closing.addCallback(lambda _: None)

    def session(self, access: Access) -> Held | None:
        """What is known of a session: its primary, and its access as it is by now. None: ended."""
        return self._asking.sessions.of(access)

    def knows(self, access: Access, folder_id: int, modseq: int = 0) -> None:
        """A session asked about a folder, perhaps elsewhere, and knows it up to a modseq.

        After a reconnect its listener is told when the folder has gone on since.
        """
        held = self._asking.sessions.of(access)
        if held is not None:
            held.asked(folder_id, modseq)

    # Logging in

    def login(
        self, address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Deferred[Access]:
        return Deferred.fromCoroutine(self._doors.login(address, password, scope, listener))

    def scram_challenge(self, address: str) -> Deferred[ScramChallenge]:
        return self._routed(address, operations.ScramChallengeOf(address))

    def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> Deferred[ScramAccepted]:
        return Deferred.fromCoroutine(self._doors.login_scram(address, proof, scope, listener))

    def logout(self, access: Access) -> None:
        self._doors.logout(access)

    def poll(self, access: Access) -> Deferred[int]:
        return self._ask(access, in_mailbox.Poll())

    # Folders

    def folders(self, access: Access) -> Deferred[list[Folder]]:
        return self._ask(access, in_mailbox.Folders())

    def subscriptions(self, access: Access) -> Deferred[list[str]]:
        return self._ask(access, in_mailbox.Subscriptions())

    def create_folder(
        self, access: Access, name: str, special_use: str | None, write_id: str | None
    ) -> Deferred[Folder]:
        return self._ask(access, in_mailbox.CreateFolder(name, special_use, _write(write_id)))

    def delete_folder(self, access: Access, name: str, write_id: str | None) -> Deferred[None]:
        return self._ask(access, in_mailbox.DeleteFolder(name, _write(write_id)))

    def rename_folder(
        self, access: Access, old: str, new: str, write_id: str | None
    ) -> Deferred[None]:
        return self._ask(access, in_mailbox.RenameFolder(old, new, _write(write_id)))

    def subscribe(
        self, access: Access, name: str, subscribed: bool, write_id: str | None
    ) -> Deferred[None]:
        return self._ask(access, in_mailbox.Subscribe(name, subscribed, _write(write_id)))

    def select(self, access: Access, name: str, writable: bool) -> Deferred[Selected]:
        return Deferred.fromCoroutine(self._select(access, name, writable))

    async def _select(self, access: Access, name: str, writable: bool) -> Selected:
        selected: Selected = await self._asking.ask(access, in_mailbox.Select(name, writable))
        self.knows(access, selected.folder.id, selected.folder.highestmodseq)
        return selected

    # Messages

    def append(
        self, access: Access, folder: str, messages: list[NewMessage], write_id: str | None
    ) -> Deferred[Appended]:
        size = sum(len(message.content) for message in messages)
        return self._ask(access, in_mailbox.Append(folder, messages, _write(write_id)), size)

    def fetch(self, access: Access, folder_id: int, request: FetchRequest) -> Deferred[FetchPage]:
        self.knows(access, folder_id)
        return self._ask(access, in_mailbox.Fetch(folder_id, request))

    def read(
        self, access: Access, folder_id: int, uid: int, section: Section
    ) -> Deferred[bytes | None]:
        return self._ask(access, in_mailbox.Read(folder_id, uid, section))

    def changes(
        self, access: Access, folder_id: int, since: int, claim_recent: bool
    ) -> Deferred[Changes]:
        return Deferred.fromCoroutine(self._changes(access, folder_id, since, claim_recent))

    async def _changes(
        self, access: Access, folder_id: int, since: int, claim_recent: bool
    ) -> Changes:
        asked = in_mailbox.ChangesSince(folder_id, since, claim_recent)
        changes: Changes = await self._asking.ask(access, asked)
        self.knows(access, folder_id, changes.modseq)
        return changes

    def store_flags(
        self, access: Access, folder_id: int, change: StoreFlags, write_id: str | None
    ) -> Deferred[StoreResult]:
        return self._ask(access, in_mailbox.Store(folder_id, change, _write(write_id)))

    def expunge(
        self, access: Access, folder_id: int, uids: UidSet, write_id: str | None
    ) -> Deferred[Expunged]:
        return self._ask(access, in_mailbox.Expunge(folder_id, uids, _write(write_id)))

    def copy(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        return self._ask(access, in_mailbox.Copy(folder_id, uids, to, _write(write_id)))

    def move(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        return self._ask(access, in_mailbox.Move(folder_id, uids, to, _write(write_id)))

    def search(self, access: Access, folder_id: int, criteria: Criteria) -> Deferred[Found]:
        return self._ask(access, in_mailbox.Search(folder_id, criteria))

    def expunged(
        self, access: Access, which: ExpungedQuery, before: int | None, max_rows: int
    ) -> Deferred[ExpungedPage]:
        return self._ask(access, in_mailbox.ListExpunged(which, before, max_rows))

    def undelete(
        self, access: Access, which: ExpungedQuery, to: str | None, write_id: str | None
    ) -> Deferred[Undeleted]:
        return self._ask(access, in_mailbox.Undelete(which, to, _write(write_id)))

    def purge(self, access: Access, which: ExpungedQuery, write_id: str | None) -> Deferred[Purged]:
        return self._ask(access, in_mailbox.Purge(which, _write(write_id)))

    def quota(self, access: Access) -> Deferred[Quota]:
        return self._ask(access, in_mailbox.QuotaOf())

    def back_up(self, access: Access) -> Deferred[BackupState]:
        return self._ask(access, in_mailbox.BackUp())

    # Mail from the world

    def resolve(self, address: str) -> Deferred[Recipient]:
        return self._routed(address, operations.Resolve(address))

    def deliver(self, alias: str, delivery: Delivery) -> Deferred[Delivered]:
        return self._routed(alias, operations.Deliver(alias, delivery), len(delivery.content))

    # Behind the interface

    def _ask(
        self, access: Access, operation: in_mailbox.SessionOperation, size: int = 0
    ) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._asking.ask(access, operation, size))

    def _routed(
        self, key: str, operation: in_mailbox.QuietOperation, size: int = 0
    ) -> Deferred[Any]:
        async def ask() -> Any:
            name, answer = await self._asking.routed(key, lambda _: Ask(operation), size)
            if isinstance(answer, Recipient):
                self._asking.routes.learn(answer.alias, name)
            return answer

        return Deferred.fromCoroutine(ask())


def _write(write_id: str | None) -> str:
    """Every write has an id: it may have to be asked for again."""
    return write_id or secrets.token_hex(12)
