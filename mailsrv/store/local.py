"""The store on this machine: ``IStore`` over a directory, a volume and a pool of threads.

Guards the door: nothing begins once a stop has begun, and what nobody expected becomes
Unavailable. What stands behind it is wired in ``wiring``.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailsrv.errors import InvalidInput, MailboxNotReady, OverQuota
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
from mailsrv.store.entrance import Newcomer
from mailsrv.store.home import NOT_READY
from mailsrv.store.interfaces import IFrozen, IKeeper, IListener, IPrimary
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
from mailsrv.store.wiring import Wiring


@implementer(IPrimary)
class LocalStore(Wiring):
    """The methods are those of ``IPrimary`` and ``IStore``, described there."""

    # Logging in

    def login(
        self, address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Deferred[Access]:
        return self._workers.begin(
            lambda: self._entrance.login(address, password, scope, Newcomer(listener))
        )

    def scram_challenge(self, address: str) -> Deferred[ScramChallenge]:
        return self._workers.begin(lambda: self._entrance.challenge(address))

    def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> Deferred[ScramAccepted]:
        return self._workers.begin(
            lambda: self._entrance.login_scram(address, proof, scope, Newcomer(listener))
        )

    def logout(self, access: Access) -> None:
        self._entrance.logout(access)

    def poll(self, access: Access) -> Deferred[int]:
        return self._workers.begin(lambda: self._entrance.merge(access))

    # Folders

    def folders(self, access: Access) -> Deferred[list[Folder]]:
        return self._workers.begin(lambda: self._operations.work(access, lambda box: box.folders()))

    def subscriptions(self, access: Access) -> Deferred[list[str]]:
        return self._workers.begin(
            lambda: self._operations.work(access, lambda box: box.subscriptions())
        )

    def create_folder(
        self, access: Access, name: str, special_use: str | None, write_id: str | None
    ) -> Deferred[Folder]:
        return self._workers.begin(
            lambda: self._operations.create_folder(access, name, special_use, write_id)
        )

    def delete_folder(self, access: Access, name: str, write_id: str | None) -> Deferred[None]:
        return self._workers.begin(lambda: self._operations.delete_folder(access, name, write_id))

    def rename_folder(
        self, access: Access, old: str, new: str, write_id: str | None
    ) -> Deferred[None]:
        return self._workers.begin(
            lambda: self._operations.rename_folder(access, old, new, write_id)
        )

    def subscribe(
        self, access: Access, name: str, subscribed: bool, write_id: str | None
    ) -> Deferred[None]:
        return self._workers.begin(
            lambda: self._operations.subscribe(access, name, subscribed, write_id)
        )

    def select(self, access: Access, name: str, writable: bool) -> Deferred[Selected]:
        return self._workers.begin(
            lambda: self._operations.work(access, lambda box: box.select(name, writable))
        )

    # Messages

    def append(
        self, access: Access, folder: str, messages: list[NewMessage], write_id: str | None
    ) -> Deferred[Appended]:
        return self._workers.begin(
            lambda: self._operations.append(access, folder, messages, write_id)
        )

    def fetch(self, access: Access, folder_id: int, request: FetchRequest) -> Deferred[FetchPage]:
        return self._workers.begin(lambda: self._operations.fetch(access, folder_id, request))

    def read(
        self, access: Access, folder_id: int, uid: int, section: Section
    ) -> Deferred[bytes | None]:
        return self._workers.begin(
            lambda: self._operations.work(access, lambda box: box.read(folder_id, uid, section))
        )

    def changes(
        self, access: Access, folder_id: int, since: int, claim_recent: bool
    ) -> Deferred[Changes]:
        return self._workers.begin(
            lambda: self._operations.work(
                access, lambda box: box.changes(folder_id, since, claim_recent)
            )
        )

    def store_flags(
        self, access: Access, folder_id: int, change: StoreFlags, write_id: str | None
    ) -> Deferred[StoreResult]:
        return self._workers.begin(
            lambda: self._operations.store_flags(access, folder_id, change, write_id)
        )

    def expunge(
        self, access: Access, folder_id: int, uids: UidSet, write_id: str | None
    ) -> Deferred[Expunged]:
        return self._workers.begin(
            lambda: self._operations.expunge(access, folder_id, uids, write_id)
        )

    def copy(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        return self._workers.begin(
            lambda: self._operations.copy(access, folder_id, uids, to, write_id)
        )

    def move(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        return self._workers.begin(
            lambda: self._operations.move(access, folder_id, uids, to, write_id)
        )

    def search(self, access: Access, folder_id: int, criteria: Criteria) -> Deferred[Found]:
        return self._workers.begin(
            lambda: self._operations.work(access, lambda box: box.search(folder_id, criteria))
        )

    def expunged(
        self, access: Access, which: ExpungedQuery, before: int | None, max_rows: int
    ) -> Deferred[ExpungedPage]:
        return self._workers.begin(
            lambda: self._operations.work(access, lambda box: box.expunged(which, before, max_rows))
        )

    def undelete(
        self, access: Access, which: ExpungedQuery, to: str | None, write_id: str | None
    ) -> Deferred[Undeleted]:
        return self._workers.begin(lambda: self._operations.undelete(access, which, to, write_id))

    def purge(self, access: Access, which: ExpungedQuery, write_id: str | None) -> Deferred[Purged]:
        return self._workers.begin(lambda: self._operations.purge(access, which, write_id))

    def quota(self, access: Access) -> Deferred[Quota]:
        return self._workers.begin(lambda: self._quota(access))

    def back_up(self, access: Access) -> Deferred[BackupState]:
        return self._workers.begin(lambda: self._back_up(access))

    # Mail from the world

    def resolve(self, address: str) -> Deferred[Recipient]:
        return self._workers.begin(lambda: self._resolve(address))

    def deliver(self, alias: str, delivery: Delivery) -> Deferred[Delivered]:
        return self._workers.begin(lambda: self._deliveries.deliver(alias, delivery))

    # For the link

    def login_leased(
        self, address: str, password: str, scope: Scope, listener: IListener | None, session: str
    ) -> Deferred[tuple[Access, bytes]]:
        async def login() -> tuple[Access, bytes]:
            who = Newcomer(listener, session)
            access = await self._entrance.login(address, password, scope, who)
            return access, self._entrance.key(access)

        return self._workers.begin(login)

    def login_scram_leased(
        self,
        address: str,
        proof: ScramProof,
        scope: Scope,
        listener: IListener | None,
        session: str,
    ) -> Deferred[tuple[ScramAccepted, bytes]]:
        async def login() -> tuple[ScramAccepted, bytes]:
            who = Newcomer(listener, session)
            accepted = await self._entrance.login_scram(address, proof, scope, who)
            return accepted, self._entrance.key(accepted.access)

        return self._workers.begin(login)

    def lend(self, access: Access, key: bytes) -> None:
        self._resumption.lend(access, key)

    def resume(
        self, sessions: Sequence[Access], listeners: Sequence[IListener | None]
    ) -> Deferred[list[Access | str]]:
        return self._workers.begin(lambda: self._resumption.resume(sessions, listeners))

    def add_keeper(self, keeper: IKeeper) -> None:
        self._keepers.add(keeper)

    def remove_keeper(self, keeper: IKeeper) -> None:
        self._keepers.remove(keeper)

    def freeze(self, alias: str, patience: float) -> Deferred[IFrozen]:
        return self._workers.begin(lambda: self._freezing.freeze(alias, patience))

    # Behind the interface

    async def _quota(self, access: Access) -> Quota:
        self._sessions.check(access)
        return await self._workers.run(self._usages.quota, access.alias)

    async def _back_up(self, access: Access) -> BackupState:
        self._sessions.check(access)
        if self.backups is None:
            raise InvalidInput("no backups are made here")
        return await self.backups.back_up(access.alias)

    async def _resolve(self, address: str) -> Recipient:
        return await self._workers.run(self._recipient, address)

    def _recipient(self, address: str) -> Recipient:
        """On a worker thread. A sender should hear now what ``deliver`` would refuse anyway."""
        alias, detail = self._directory.resolve(address)
        self._home.check(alias)
        if self._directory.mailbox(alias.id) is None:
            raise MailboxNotReady(NOT_READY)
        if self._usages.full(alias.id):
            raise OverQuota("the mailbox is full")
        return Recipient(alias=alias.id, address=alias.address, detail=detail)
