"""Bring waiting mail into the mailbox, so that a crash at any point leaves each message once.

Two files cannot be committed together. A batch is appended under its delivery ids in one synced
transaction, then its rows are removed, then the file if it is empty. Whatever is repeated after
a crash finds its delivery id in the mailbox and is not stored again.
"""

from collections.abc import Sequence

import attrs
from twisted.logger import Logger

from mailsrv.errors import InvalidInput, MailsrvError, MessageTooLarge, SealBroken
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Appended, NewMessage
from mailsrv.mailbox.waiting import WaitingMail, WaitingRow
from mailsrv.store.waiting import WaitingFiles, unpack
from mailsrv.store.workers import log_unexpected

INBOX = "INBOX"

OF_ONE_MESSAGE = (InvalidInput, MessageTooLarge)
"""What is wrong with one message and not with those that came with it."""

_COPIED_AT_ONCE = 100
"""Messages that are listed at a time; their octets are read one by one."""

log = Logger()


@attrs.frozen
class Merged:
    """What one batch did."""

    messages: int = 0
    folder_id: int = 0
    modseq: int = 0
    more: bool = False
    """Whether another batch may be waiting."""


class Merger:
    """Blocking; one batch of one mailbox at a time, which the caller sees to."""

    def __init__(self, files: WaitingFiles, batch_messages: int, batch_octets: int) -> None:
        self._files = files
        self._batch_messages = batch_messages
        self._batch_octets = batch_octets

    def merge_batch(self, mailbox: Mailbox, alias: str) -> Merged:
        """Take a batch of waiting mail into INBOX."""
        private_key, public_key = mailbox.keys()
        if not self._files.exist(public_key):
            return Merged()
        with self._files.open(public_key) as waiting:
            rows = waiting.batch(self._limit(waiting))
            appended, aside = _append(mailbox, private_key, alias, rows)
            if aside:
                self._set_aside(public_key, alias, aside)
            with self._files.locked(public_key):
                waiting.remove([row.delivery_id for row in rows])
                empty = self._files.delete_if_empty(public_key, waiting)
        return Merged(
            messages=len(rows) - len(aside),
            folder_id=appended.folder_id if appended else 0,
            modseq=appended.modseq if appended else 0,
            more=not empty,
        )

    def _limit(self, waiting: WaitingMail) -> int:
        """How many messages to take, so that large ones do not fill the memory together."""
        average = waiting.octets() // max(1, waiting.count())
        return max(1, min(self._batch_messages, self._batch_octets // max(1, average)))

    def _set_aside(self, public_key: bytes, alias: str, rows: Sequence[WaitingRow]) -> None:
        with self._files.open_aside(public_key) as aside:
            aside.add([(row.delivery_id, row.sealed, row.received, row.size) for row in rows])
        log.error(
            "{count} waiting messages of alias {alias} could not be merged and are kept in {file}",
            count=len(rows),
            alias=alias,
            file=self._files.volume.set_aside(public_key).name,
        )


def copy_in(files: WaitingFiles, mailbox: Mailbox, alias: str) -> int:
    """Copy what waits into INBOX, and take nothing away; how many messages.

    For another process than the one that merges, or a mailbox that may never be used. A later
    merge finds the delivery ids. What cannot be stored is left to that, which sets it aside.
    """
    private_key, public_key = mailbox.keys()
    if not files.exist(public_key):
        return 0
    count, after = 0, ""
    with files.open(public_key) as waiting:
        while listed := waiting.listing(after, _COPIED_AT_ONCE):
            after = listed[-1].delivery_id
            for one in sorted(listed, key=lambda one: one.number):
                count += _copy(mailbox, private_key, alias, waiting.rows([one.delivery_id]))
    return count


def _copy(mailbox: Mailbox, private_key: bytes, alias: str, rows: Sequence[WaitingRow]) -> int:
    """Of one message; there is no row of it when somebody else took it away meanwhile."""
    for row in rows:
        try:
            message = unpack(private_key, alias, row.delivery_id, row.sealed, row.received)
            mailbox.append(INBOX, [message])
        except (*OF_ONE_MESSAGE, SealBroken):
            return 0
    return len(rows)


def _append(
    mailbox: Mailbox, private_key: bytes, alias: str, rows: Sequence[WaitingRow]
) -> tuple[Appended | None, list[WaitingRow]]:
    messages: list[NewMessage] = []
    good: list[WaitingRow] = []
    aside: list[WaitingRow] = []
    for row in rows:
        try:
            messages.append(unpack(private_key, alias, row.delivery_id, row.sealed, row.received))
            good.append(row)
        except SealBroken:
            aside.append(row)
    if not messages:
        return None, aside
    try:
        return mailbox.append(INBOX, messages, None), aside
    except OF_ONE_MESSAGE:
        pass
    except MailsrvError:
        raise
    except Exception as error:  # noqa: BLE001
        log_unexpected(error)
    return _append_singly(mailbox, messages, good, aside)


def _append_singly(
    mailbox: Mailbox, messages: list[NewMessage], rows: list[WaitingRow], aside: list[WaitingRow]
) -> tuple[Appended | None, list[WaitingRow]]:
    """One message that nobody can store must not keep the others away."""
    appended: Appended | None = None
    for message, row in zip(messages, rows, strict=True):
        try:
            appended = mailbox.append(INBOX, [message], None)
        except OF_ONE_MESSAGE:
            aside.append(row)
        except MailsrvError:
            raise
        except Exception as error:  # noqa: BLE001
            log_unexpected(error)
            aside.append(row)
    return appended, aside
