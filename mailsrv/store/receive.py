"""Write a batch of deliveries of one alias: live, or sealed into the waiting file.

Whatever is wrong with the live mailbox alone (busy with a password change, replaced, damaged,
its key gone) sends the batch to the waiting file: mail that can be kept is not refused.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import attrs
from twisted.logger import Logger

from mailsrv.directory.directory import MailboxRecord
from mailsrv.errors import (
    KeyGone,
    MailboxBusy,
    MailboxDamaged,
    MailboxMissing,
    MailboxMoved,
    MailsrvError,
    NoSuchAlias,
    OverQuota,
    ReadOnlyVolume,
    SchemaMismatch,
    StorageFailed,
    Unavailable,
    WrongKey,
)
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.store.home import Home
from mailsrv.store.merge import INBOX, OF_ONE_MESSAGE
from mailsrv.store.usage import Usages
from mailsrv.store.values import Access, Delivered, Delivery
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import log_unexpected

LIVE_ONLY = (
    KeyGone,
    MailboxBusy,
    MailboxDamaged,
    MailboxMissing,
    MailboxMoved,
    ReadOnlyVolume,
    SchemaMismatch,
    StorageFailed,
    WrongKey,
)
"""What may be wrong with the live mailbox and not with the waiting file."""

_EXPECTED = (KeyGone, MailboxBusy, MailboxMoved)

Outcome = Delivered | MailsrvError

log = Logger()


@attrs.frozen
class Batch:
    """One outcome for each delivery, in order, and what to announce."""

    outcomes: list[Outcome]
    folder_id: int = 0
    modseq: int = 0
    busy: bool = False
    """The live mailbox was locked for long: better leave it alone for a while."""
    wrong_key: bool = False


@attrs.define
class _Progress:
    outcomes: dict[str, Outcome] = attrs.Factory(dict)
    folder_id: int = 0
    modseq: int = 0
    busy: bool = False
    wrong_key: bool = False


class Receiver:
    """Blocking; one batch of an alias at a time, which the caller sees to."""

    def __init__(
        self,
        home: Home,
        files: WaitingFiles,
        usages: Usages,
        mailbox_of: Callable[[Access], AbstractContextManager[Mailbox]],
    ) -> None:
        self._home = home
        self._files = files
        self._usages = usages
        self._mailbox_of = mailbox_of

    def receive(
        self, alias: str, key_holder: Access | None, deliveries: Sequence[Delivery]
    ) -> Batch:
        """``key_holder`` is a session of the alias, or None.

        MailboxNotReady, NoSuchAlias, Elsewhere.
        """
        record = self._home.mailbox(alias)
        progress = _Progress()
        distinct: dict[str, Delivery] = {}
        for one in deliveries:
            distinct.setdefault(one.delivery_id, one)
        pending = self._within_quota(alias, list(distinct.values()), progress)
        reserved = sum(len(one.content) for one in pending)
        try:
            if key_holder is not None and key_holder.mailbox == record.id:
                pending = self._live(key_holder, pending, progress)
            if pending:
                self._wait(alias, record, pending, progress)
        finally:
            self._usages.release(alias, reserved)
        return Batch(
            outcomes=_in_order(deliveries, progress.outcomes),
            folder_id=progress.folder_id,
            modseq=progress.modseq,
            busy=progress.busy,
            wrong_key=progress.wrong_key,
        )

    def _within_quota(
        self, alias: str, deliveries: list[Delivery], progress: _Progress
    ) -> list[Delivery]:
        kept: list[Delivery] = []
        admitted = self._usages.reserve(alias, [len(one.content) for one in deliveries])
        for delivery, fits in zip(deliveries, admitted, strict=True):
            if fits:
                kept.append(delivery)
            else:
                progress.outcomes[delivery.delivery_id] = OverQuota("the mailbox is full")
        return kept

    def _live(
        self, access: Access, deliveries: list[Delivery], progress: _Progress
    ) -> list[Delivery]:
        """Append to INBOX; answers what could not be, for the waiting file."""
        try:
            self._append(access, deliveries, progress)
        except LIVE_ONLY as error:
            progress.busy = isinstance(error, MailboxBusy)
            progress.wrong_key = isinstance(error, WrongKey)
            if not isinstance(error, _EXPECTED):
                log.error(
                    "Mailbox {mailbox} takes no mail ({kind}): it waits instead",
                    mailbox=access.mailbox,
                    kind=type(error).__name__,
                )
            return deliveries
        except MailsrvError as error:
            if isinstance(error, OF_ONE_MESSAGE) and len(deliveries) > 1:
                return self._singly(access, deliveries, progress)
            progress.outcomes.update(dict.fromkeys((one.delivery_id for one in deliveries), error))
        except Exception as error:  # noqa: BLE001
            log_unexpected(error)
            if len(deliveries) > 1:
                return self._singly(access, deliveries, progress)
            refused = Unavailable("the message cannot be stored now")
            progress.outcomes[deliveries[0].delivery_id] = refused
        return []

    def _singly(
        self, access: Access, deliveries: list[Delivery], progress: _Progress
    ) -> list[Delivery]:
        """One message that cannot be stored must not keep the others away."""
        return [late for one in deliveries for late in self._live(access, [one], progress)]

    def _append(self, access: Access, deliveries: list[Delivery], progress: _Progress) -> None:
        if not deliveries:
            return
        messages = [
            NewMessage(one.content, internal_date=one.received, delivery_id=one.delivery_id)
            for one in deliveries
        ]
        with self._mailbox_of(access) as mailbox:
            self._usages.make_room(access.alias, mailbox)
            first_new = _uidnext(mailbox)
            appended = mailbox.append(INBOX, messages, None)
            self._usages.measure(access.alias, mailbox)
        progress.folder_id, progress.modseq = appended.folder_id, appended.modseq
        for delivery, uid in zip(deliveries, appended.uids, strict=True):
            progress.outcomes[delivery.delivery_id] = Delivered("live", duplicate=uid < first_new)

    def _wait(
        self, alias: str, record: MailboxRecord, deliveries: list[Delivery], progress: _Progress
    ) -> None:
        try:
            self._files.add(record.public_key, alias, deliveries)
        except MailsrvError as error:
            log.error(
                "Waiting mail of alias {alias} cannot be written: {kind}",
                alias=alias,
                kind=type(error).__name__,
            )
            raise
        now_current = self._after(alias, record.public_key)
        if now_current.public_key != record.public_key:
            # the owner started over while we sealed: what the new mailbox cannot open is no use
            self._files.add(now_current.public_key, alias, deliveries)
        self._usages.add(alias, sum(len(one.content) for one in deliveries), len(deliveries))
        for delivery in deliveries:
            progress.outcomes[delivery.delivery_id] = Delivered("waiting")

    def _after(self, alias: str, public_key: bytes) -> MailboxRecord:
        """The current file after something was sealed to this key."""
        try:
            return self._home.mailbox(alias)
        except NoSuchAlias:
            # erased while we sealed: its waiting file was perhaps removed before we made it anew
            with self._files.locked(public_key):
                if not self._home.needs_waiting_mail(public_key):
                    self._files.remove(public_key)
            raise


def _uidnext(mailbox: Mailbox) -> int:
    return next(folder.uidnext for folder in mailbox.folders() if folder.name == INBOX)


def _in_order(deliveries: Sequence[Delivery], outcomes: dict[str, Outcome]) -> list[Outcome]:
    answers: list[Outcome] = []
    answered: set[str] = set()
    for delivery in deliveries:
        outcome = outcomes[delivery.delivery_id]
        if delivery.delivery_id in answered and isinstance(outcome, Delivered):
            outcome = Delivered(outcome.where, duplicate=True)
        answered.add(delivery.delivery_id)
        answers.append(outcome)
    return answers
