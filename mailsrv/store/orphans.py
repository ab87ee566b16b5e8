"""Remove what a crash left on the volume: files that the directory does not name.

Two kinds: files that were replaced and noted as discarded, and new ones that never became an
alias's mailbox. The second kind goes only after an hour and only when no process is at work on
it. Waiting mail is never removed here, whoever it waits for.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from twisted.logger import Logger

from mailsrv.directory.directory import Directory
from mailsrv.errors import MailboxBusy
from mailsrv.store.volume import LOCK_NAME, MAILBOX_NAME, Volume

GRACE = timedelta(hours=1)

log = Logger()


def remove_orphans(directory: Directory, volume: Volume, now: Callable[[], datetime]) -> list[str]:
    """Ids of the files that were removed. Blocking; safe while everything else runs."""
    removed: list[str] = []
    for file_id in directory.discarded_mailboxes():
        volume.remove_mailbox(file_id)
        directory.forget_mailbox(file_id)
        removed.append(file_id)
    limit = (now() - GRACE).timestamp()
    for name in _older_than(volume, LOCK_NAME, limit):
        with suppress(MailboxBusy), volume.exclusive(name, patience=0):
            pass  # to give it back removes it
    for file_id in sorted(_older_than(volume, MAILBOX_NAME, limit) - _named(directory)):
        try:
            with volume.exclusive(file_id, patience=0):
                # named in the moment before the lock was ours: then it is a mailbox now
                if file_id not in _named(directory):
                    volume.remove_mailbox(file_id)
                    removed.append(file_id)
        except MailboxBusy:
            continue
    if removed:
        log.info("Removed {count} files that nobody names", count=len(removed))
    return removed


def _older_than(volume: Volume, names: re.Pattern[str], limit: float) -> set[str]:
    newest: dict[str, float] = {}
    with os.scandir(volume.mailboxes) as entries:
        for entry in entries:
            found = names.fullmatch(entry.name)
            if found is None:
                continue
            try:
                changed = entry.stat().st_mtime
            except FileNotFoundError:
                continue
            newest[found[1]] = max(changed, newest.get(found[1], 0.0))
    return {file_id for file_id, changed in newest.items() if changed < limit}


def _named(directory: Directory) -> set[str]:
    named: set[str] = set()
    for alias in directory.aliases():
        current = directory.mailbox(alias.id)
        if current is not None:
            named.add(current.id)
        named.update(record.id for record in directory.archived_mailboxes(alias.id))
    return named
