"""The seam between front ends and mailboxes.

A front end (IMAP, POP3, MX, web) holds one ``IStore`` and never learns whether the mailbox is
on this machine. Every method takes and returns plain msgspec values, so that the link can carry
the same interface over a WebSocket; methods return Deferreds that fail with the errors of
``mailsrv.errors``. Writes take a ``write_id``: the same id sent again has one effect and the same
answer (None where the caller never repeats).
"""

# zope interfaces declare methods without self
# ruff: noqa: N805

from twisted.internet.defer import Deferred
from zope.interface import Interface

from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.values import (
    Appended,
    Changes,
    Copied,
    Expunged,
    FetchPage,
    FetchRequest,
    Folder,
    NewMessage,
    Section,
    Selected,
    StoreFlags,
    StoreResult,
    UidSet,
)
from mailsrv.store.values import (
    Access,
    Delivered,
    Delivery,
    Quota,
    Recipient,
    Scope,
    ScramAccepted,
    ScramChallenge,
    ScramProof,
)


class IListener(Interface):
    """A session that wants to hear of its mailbox. Calls come on the reactor thread."""

    def changed(folder_id: int, modseq: int) -> None:
        """A commit raised the folder's modseq; ask ``changes`` at the next safe moment.

        ``folder_id`` 0 means that the list of folders changed. A folder that was deleted is
        announced as well, and ``changes`` fails with NoSuchFolder.
        """

    def revoked(reason: str) -> None:
        """The credential, the alias or the file is no longer valid: say goodbye and log out."""


class IStore(Interface):
    """Mailboxes and the addresses that lead to them."""

    # Logging in

    def login(
        address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Deferred[Access]:
        """Deferred of Access; AuthenticationFailed says nothing about what was wrong.

        ``listener`` (IListener) is called until ``logout``. Waiting mail is merged on the way.
        Cancelled, it opens nothing.
        """

    def scram_challenge(address: str) -> Deferred[ScramChallenge]:
        """Deferred of ScramChallenge; for an unknown address a steady invented one."""

    def login_scram(
        address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> Deferred[ScramAccepted]:
        """Deferred of ScramAccepted, or AuthenticationFailed."""

    def logout(access: Access) -> None:
        """Forget the session's key and listener. Never fails, may be called twice."""

    def poll(access: Access) -> Deferred[int]:
        """Deferred of int: merge waiting mail now, answer how many messages came."""

    # Folders

    def folders(access: Access) -> Deferred[list[Folder]]:
        """Deferred of list[Folder], sorted by name, INBOX first."""

    def subscriptions(access: Access) -> Deferred[list[str]]:
        """Deferred of list[str]: subscribed names, also of folders that are gone."""

    def create_folder(
        access: Access, name: str, special_use: str | None, write_id: str | None
    ) -> Deferred[Folder]:
        """Deferred of Folder; parents are made as needed. AlreadyExists, InvalidInput."""

    def delete_folder(access: Access, name: str, write_id: str | None) -> Deferred[None]:
        """Deferred of None. NoSuchFolder; InvalidInput for INBOX or one with children."""

    def rename_folder(access: Access, old: str, new: str, write_id: str | None) -> Deferred[None]:
        """Deferred of None; children move along; INBOX's messages move, INBOX stays."""

    def subscribe(
        access: Access, name: str, subscribed: bool, write_id: str | None
    ) -> Deferred[None]:
        """Deferred of None."""

    def select(access: Access, name: str, writable: bool) -> Deferred[Selected]:
        """Deferred of Selected. NoSuchFolder."""

    # Messages

    def append(
        access: Access, folder: str, messages: list[NewMessage], write_id: str | None
    ) -> Deferred[Appended]:
        """Deferred of Appended, on disk; all or none. NoSuchFolder, OverQuota, MessageTooLarge."""

    def fetch(access: Access, folder_id: int, request: FetchRequest) -> Deferred[FetchPage]:
        """Deferred of FetchPage; call again from ``next_uid`` until that is None."""

    def read(access: Access, folder_id: int, uid: int, section: Section) -> Deferred[bytes | None]:
        """Deferred of bytes or None: one section (with its start and length), of any size."""

    def changes(
        access: Access, folder_id: int, since: int, claim_recent: bool
    ) -> Deferred[Changes]:
        """Deferred of Changes after modseq ``since``. NoSuchFolder when it was deleted."""

    def store_flags(
        access: Access, folder_id: int, change: StoreFlags, write_id: str | None
    ) -> Deferred[StoreResult]:
        """Deferred of StoreResult."""

    def expunge(
        access: Access, folder_id: int, uids: UidSet, write_id: str | None
    ) -> Deferred[Expunged]:
        """Deferred of Expunged: those of ``uids`` that have \\Deleted."""

    def copy(
        access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        """Deferred of Copied; all or none. NoSuchFolder, OverQuota."""

    def move(
        access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Deferred[Copied]:
        """Deferred of Copied; one transaction."""

    def search(access: Access, folder_id: int, criteria: Criteria) -> Deferred[Found]:
        """Deferred of Found."""

    def quota(access: Access) -> Deferred[Quota]:
        """Deferred of Quota."""

    # Mail from the world

    def resolve(address: str) -> Deferred[Recipient]:
        """Deferred of Recipient. NoSuchAlias, AliasDisabled, NoSuchDomain; MailboxNotReady and
        OverQuota where ``deliver`` would fail for any message."""

    def deliver(alias: str, delivery: Delivery) -> Deferred[Delivered]:
        """Deferred of Delivered: on disk, in the mailbox or sealed. OverQuota, DiskFull ..."""
