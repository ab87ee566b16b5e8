"""Remove what a crash left on the volume: mailbox files that nothing will ever name.

Two kinds: files that were replaced and noted as discarded, and new ones that never became an
alias's mailbox. That the directory does not name a file is no proof of the second: it may be a
directory restored from a backup, or the wrong one. The lock that its maker left behind is, since
it stands from before the file is made until after it is named. Waiting mail is never removed
here, whoever it waits for.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from twisted.logger import Logger

from mailsrv.directory.directory import Directory
from mailsrv.directory.values import DEFAULT_PRIMARY
from mailsrv.errors import MailboxBusy
from mailsrv.store.volume import LOCK_NAME, Volume

GRACE = timedelta(hours=1)

log = Logger()


def remove_orphans(
    directory: Directory,
    volume: Volume,
    now: Callable[[], datetime],
    primary: str = DEFAULT_PRIMARY,
) -> list[str]:
    """Ids of the files that were removed. Blocking; safe while everything else runs.

    ``primary`` is the name of the one that the volume belongs to.
    """
    removed: list[str] = []
    for file_id in directory.discarded_mailboxes(primary):
        volume.remove_mailbox(file_id)
        directory.forget_mailbox(file_id)
        removed.append(file_id)
    limit = (now() - GRACE).timestamp()
    for file_id in _locks_older_than(volume, limit):
        # to give the lock back removes it, whatever it stood for
        with suppress(MailboxBusy), volume.exclusive(file_id, patience=0):
            if volume.mailbox(file_id).exists() and not directory.knows_mailbox(file_id):
                volume.remove_mailbox(file_id)
                removed.append(file_id)
    if removed:
        log.info("Removed {count} files that nobody names", count=len(removed))
    return removed


def _locks_older_than(volume: Volume, limit: float) -> list[str]:
    """What crashed processes were at work on: ids of files and of aliases."""
    found: list[str] = []
    with os.scandir(volume.mailboxes) as entries:
        for entry in entries:
            lock = LOCK_NAME.fullmatch(entry.name)
            if lock is not None:
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < limit:
                        found.append(lock[1])
    return sorted(found)
