"""The seam between front ends and mailboxes.

A front end (IMAP, POP3, MX, web) holds one ``IStore`` and never learns whether the mailbox is
on this machine. Every method takes and returns plain msgspec values, so that the link can carry
the same interface over a WebSocket; methods return Deferreds that fail with the errors of
``mailsrv.errors``. Writes take a ``write_id``: the same id sent again has one effect and the same
answer (None where the caller never repeats).
"""

# zope interfaces declare methods without self
# ruff: noqa: N805

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

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


class IListener(Interface):
    """A session that wants to hear of its mailbox. Calls come on the reactor thread."""

    def changed(folder_id: int, modseq: int) -> None:
        """A commit raised the folder's modseq; ask ``changes`` at the next safe moment.

        ``folder_id`` 0 means that the list of folders changed. A folder that was deleted is
        announced as well, and ``changes`` fails with NoSuchFolder.
        """

    def revoked(reason: str) -> None:
        """The credential, the alias or the file is no longer valid: say goodbye and log out.

        A leased session whose alias went to another primary hears the sentence of Elsewhere
        (``Elsewhere.said(reason)``): it goes on there, after ``resume``. Here it stays until
        ``logout``, without its key, and what it asks for fails with Elsewhere.
        """


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

    def expunged(
        access: Access, which: ExpungedQuery, before: int | None, max_rows: int
    ) -> Deferred[ExpungedPage]:
        """Deferred of ExpungedPage: expunged messages that can be had back, the newest first.

        Call again with the page's ``before`` until that is None. InvalidInput.
        """

    def undelete(
        access: Access, which: ExpungedQuery, to: str | None, write_id: str | None
    ) -> Deferred[Undeleted]:
        """Deferred of Undeleted: expunged messages are back in their folders, or in ``to``.

        All or none, on disk. Folders are made as needed. InvalidInput.
        """

    def purge(access: Access, which: ExpungedQuery, write_id: str | None) -> Deferred[Purged]:
        """Deferred of Purged: nobody can have these expunged messages back. InvalidInput."""

    def quota(access: Access) -> Deferred[Quota]:
        """Deferred of Quota. Expunged messages count while they can be had back, and make room
        for others where these would not fit."""

    def back_up(access: Access) -> Deferred[BackupState]:
        """Deferred of BackupState: back the mailbox up now, whole, unless nothing has changed.

        Answers when the backup is where backups are kept. InvalidInput where none are made,
        BackupStoreFailed, DiskFull, MailboxBusy; Unavailable when the server stops first.
        """

    # Mail from the world

    def resolve(address: str) -> Deferred[Recipient]:
        """Deferred of Recipient. NoSuchAlias, AliasDisabled, NoSuchDomain; MailboxNotReady and
        OverQuota where ``deliver`` would fail for any message."""

    def deliver(alias: str, delivery: Delivery) -> Deferred[Delivered]:
        """Deferred of Delivered: on disk, in the mailbox or sealed. OverQuota, DiskFull ..."""


class IBackups(Interface):
    """Who makes the backups of a store's mailboxes. Reactor's thread."""

    def back_up(alias: str) -> Deferred[BackupState]:
        """Deferred of BackupState, as ``IStore.back_up`` of a session of this alias."""


class IKeeper(Interface):
    """Somebody far away who may hold keys of sessions: the link to a secondary."""

    def ask(alias: str, mailbox: str) -> Deferred[Access | None]:
        """Deferred of the Access of a session of the alias whose key opens this mailbox file.

        The key was brought by ``IPrimary.lend`` when it answers; None when there is no such
        session. ``mailbox`` is the ObjectID of the current file. May be cancelled.
        """


class IFrozen(Interface):
    """An alias on which nothing happens: a hold that ends by ``thaw`` or after its time."""

    holds = Attribute("bool: False once it ended, and then the file may have been written to.")

    def run(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Deferred of what ``function`` answers, run on a worker thread while the alias is frozen.

        Unavailable when the hold has ended. Its time may pass meanwhile: it then ends after
        ``function`` does, so that a switch is never made for an alias that lives again.
        """

    def thaw() -> Deferred[None]:
        """Deferred of None: end the hold. May be called twice.

        If the directory names another primary by now, sessions of the alias end here, and what
        waited fails with Elsewhere.
        """


class IPrimary(IStore):
    """What the link asks of the primary beside ``IStore``: sessions whose keys are elsewhere.

    The key of a *leased* session lies in a secondary's vault. The primary has it from login or
    ``lend`` until ``lease_seconds`` after the last request that needed it, never longer than the
    session. A request that needs it and finds it gone fails with LeaseEnded before anything was
    done; ``lend`` it, and repeat.

    Everything about an alias of another primary fails with Elsewhere; a login does so after the
    proof, and a wrong password fails here as it would there.
    """

    name = Attribute("str: what the directory calls this primary.")
    moves = Attribute("Moves (store.moving): for who moves mailboxes to other primaries.")

    def login_leased(
        address: str, password: str, scope: Scope, listener: IListener | None, session: str
    ) -> Deferred[tuple[Access, bytes]]:
        """Deferred of Access and packed FileKey, to be wiped: as ``login``, with the key on lease.

        ``session`` is the id for ``Access.session``, from whoever holds the key. An earlier
        session of that id ends, silently; of two logins with one id under way at once the one
        that began later stays, and the other fails with KeyGone.
        """

    def login_scram_leased(
        address: str, proof: ScramProof, scope: Scope, listener: IListener | None, session: str
    ) -> Deferred[tuple[ScramAccepted, bytes]]:
        """Deferred of ScramAccepted and packed FileKey: as ``login_scram`` and the above."""

    def lend(access: Access, key: bytes) -> None:
        """Bring the key (packed FileKey, 48 octets) of a leased session; its lease begins anew.

        KeyGone when the session has ended, Elsewhere when its alias is another primary's now,
        InvalidInput for what is no key.
        """

    def resume(
        sessions: Sequence[Access], listeners: Sequence[IListener | None]
    ) -> Deferred[list[Access | str]]:
        """Enter sessions again that a secondary still has, without their keys; in order.

        For each the Access to use from now on: it has another ``key``, and the mailbox id of now
        when the mailbox was moved. Or the sentence why it does not hold; that of Elsewhere when
        another primary serves the alias. A session of that id that is still here is replaced,
        and a ``logout`` of its former Access does nothing. Waiting mail is brought in by asking
        the keepers: add the link's keeper first.
        """

    def add_keeper(keeper: IKeeper) -> None:
        """Ask this one too when mail comes for an alias whose key is not here."""

    def remove_keeper(keeper: IKeeper) -> None:
        """Ask it no more, and wait for none of its answers. May be called twice."""

    def freeze(alias: str, patience: float) -> Deferred[IFrozen]:
        """Deferred of IFrozen: nothing is open of the alias's mailbox and waiting mail.

        What runs ends first (MailboxBusy when it takes more than ``patience`` seconds, or another
        process is changing the mailbox, or another hold is there). What comes meanwhile waits,
        ``Limits.frozen_seconds`` at most and then fails with Unavailable; the hold ends by
        itself after as long. It includes the lock that a password change takes
        (``Volume.exclusive`` of the alias). NoSuchAlias, MailboxNotReady, Elsewhere.
        """
