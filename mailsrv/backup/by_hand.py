"""A backup that somebody types for, with the password, in a process of its own."""

from mailsrv.backup.daily import Daily, Outcome
from mailsrv.directory.directory import Alias
from mailsrv.errors import BackupStoreFailed, NoSuchBackup
from mailsrv.store.beside import Beside

PATIENCE = 5.0
"""Seconds to wait for a change of the mailbox that is under way."""


def back_up_now(daily: Daily, mailboxes: Beside, address: str, password: str) -> Outcome:
    """Back a mailbox up, while the server runs or not. Blocking.

    AuthenticationFailed, InvalidInput for what another primary serves, MailboxBusy, and what
    failed, which is noted.
    """
    alias = mailboxes.alias(address)
    daily.prepare()
    try:
        try:
            return _once(daily, mailboxes, alias, password)
        except NoSuchBackup:  # nothing has changed, and what it was compared with has gone
            return _once(daily, mailboxes, alias, password)
    except BackupStoreFailed as error:
        daily.failed(alias.id, error)
        raise


def _once(daily: Daily, mailboxes: Beside, alias: Alias, password: str) -> Outcome:
    turn = daily.begin(alias.id)
    try:
        # a move copies the file octet by octet, and a change of the password replaces it
        with (
            mailboxes.volume.exclusive(alias.id, PATIENCE),
            mailboxes.open(alias.address, password, None) as mine,
        ):
            turn.copy(mine.mailbox, mine.opened.key)
        outcome = turn.keep()
        if outcome.what == "taken":
            turn.prune()
    finally:
        turn.end()
    return outcome
