"""A store that passes every request on to another one: what a store around a store begins with."""

from twisted.internet.defer import Deferred
from zope.interface import implementer

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
class PassingStore:
    """The methods are those of ``IStore``; ``remote`` provides it."""

    def __init__(self, remote: IStore) -> None:
        self.remote = remote

    def login(
        self, address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Deferred[Access]:
        return self.remote.login(address, password, scope, listener)

    def scram_challenge(self, address: str) -> Deferred[ScramChallenge]:
        return self.remote.scram_challenge(address)

    def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> Deferred[ScramAccepted]:
        return self.remote.login_scram(address, proof, scope, listener)

    def logout(self, access: Access) -> None:
        self.remote.logout(access)

    def poll(self, access: Access) -> Deferred[int]:
        return self.remote.poll(access)

    def folders(self, access: Access) -> Deferred[list[Folder]]:
        return self.remote.folders(access)

    def subscriptions(self, access: Access) -> Deferred[list[str]]:
        return self.remote.subscriptions(access)

    def create_folder(
        self, access: Access, name: str, special_use: str | None, write_id: str | None
    ) -> Deferred[Folder]:
        return self.remote.create_folder(access, name, special_use, write_id)

    def delete_folder(self, access: Access, name: str, write_id: str | None) -> Deferred[None]:
        return self.remote.delete_folder(access, name, write_id)

    def rename_folder(
        self, access: Access, old: str, new: str, write_id: str | None
    ) -> Deferred[None]:
        return self.remote.rename_folder(access, old, new, write_id)

    def subscribe(
        self, access: Access, name: str, subscribed: bool, write_id: str | None
    ) -> Deferred[None]:
        return self.remote.subscribe(access, name, subscribed, write_id)

    def select(self, access: Access, name: str, writable: bool) -> Deferred[Selected]:
        return self.remote.select(access, name, writable)

    def append(
        self, access: Access, folder: str, messages: list[NewMessage], write_id: str | None
    ) -> Deferred[Appended]:
        return self.remote.append(access, folder, messages, write_id)

    def fetch(self, access: Access, folder_id: int, request: FetchRequest) -> Deferred[FetchPage]:
        return self.remote.fetch(access, folder_id, request)

    def read(
        self, access: Access, folder_id: int, uid: int, section: Section
    ) -> Deferred[bytes | None]:
        return self.remote.read(access, folder_id, uid, section)

    def changes(
        self, access: Access, folder_id: int, since: int, claim_recent: bool
    ) -> Deferred[Changes]:
        return self.remote.changes(access, folder_id, since, claim_recent)

    def store_flags(
        self, access: Access, folder_id: int, change: StoreFlags, write_id: str | None
    ) -> Deferred[StoreResult]:
        return self.remote.store_flags(access, folder_id, change, write_id)

    def expunge(
        self, access: Access, folder_id: int, uids: UidSet, write_id: str | None
    ) -> Deferred[Expunged]:
        return self.remote.expunge(access, folder_id, uids, write_id)

    def copy(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        return self.remote.copy(access, folder_id, uids, to, write_id)

    def move(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        return self.remote.move(access, folder_id, uids, to, write_id)

    def search(self, access: Access, folder_id: int, criteria: Criteria) -> Deferred[Found]:
        return self.remote.search(access, folder_id, criteria)

    def expunged(
        self, access: Access, which: ExpungedQuery, before: int | None, max_rows: int
    ) -> Deferred[ExpungedPage]:
        return self.remote.expunged(access, which, before, max_rows)

    def undelete(
        self, access: Access, which: ExpungedQuery, to: str | None, write_id: str | None
    ) -> Deferred[Undeleted]:
        return self.remote.undelete(access, which, to, write_id)

    def purge(self, access: Access, which: ExpungedQuery, write_id: str | None) -> Deferred[Purged]:
        return self.remote.purge(access, which, write_id)

    def quota(self, access: Access) -> Deferred[Quota]:
        return self.remote.quota(access)

    def back_up(self, access: Access) -> Deferred[BackupState]:
        return self.remote.back_up(access)

    def resolve(self, address: str) -> Deferred[Recipient]:
        return self.remote.resolve(address)

    def deliver(self, alias: str, delivery: Delivery) -> Deferred[Delivered]:
        return self.remote.deliver(alias, delivery)
