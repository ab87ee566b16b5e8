"""A backup that somebody types for, with the password, in a process of its own."""

from collections.abc import Callable
from datetime import datetime

from mailsrv.backup.daily import Daily, Outcome
from mailsrv.directory.directory import Directory
from mailsrv.errors import BackupStoreFailed, InvalidInput, NoSuchBackup
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.volume import Volume

PATIENCE = 5.0
"""Seconds to wait for a change of the mailbox that is under way."""


def back_up_now(
    daily: Daily,
    volume: Volume,
    authentication: Authentication,
    address: str,
    password: str,
    primary: str,
    now: Callable[[], datetime],
) -> Outcome:
    """Back a mailbox up, while the server runs or not. Blocking.

    ``primary`` is the name of the one that the volume belongs to. AuthenticationFailed,
    InvalidInput for what another primary serves, MailboxBusy, and what failed, which is noted.
    """
    directory = daily.directory
    alias = directory.alias(address)
    _require_here(directory, alias.id, primary)
    opened = authentication.with_password(address, password, None)
    daily.prepare()
    try:
        try:
            return _once(daily, volume, opened, primary, now)
        except NoSuchBackup:  # nothing has changed, and what it was compared with has gone
            return _once(daily, volume, opened, primary, now)
    except BackupStoreFailed as error:
        daily.failed(alias.id, error)
        raise


def _once(
    daily: Daily, volume: Volume, opened: Opened, primary: str, now: Callable[[], datetime]
) -> Outcome:
    turn = daily.begin(opened.alias)
    try:
        # a move copies the file octet by octet, and a change of the password replaces it
        with volume.exclusive(opened.alias, PATIENCE):
            _require_here(daily.directory, opened.alias, primary)
            with Mailbox.open(volume.mailbox(opened.mailbox), opened.key, now) as mailbox:
                turn.copy(mailbox, opened.key)
        outcome = turn.keep()
        if outcome.what == "taken":
            turn.prune()
    finally:
        turn.end()
    return outcome


def _require_here(directory: Directory, alias_id: str, primary: str) -> None:
    alias = directory.alias_by_id(alias_id)
    if alias.primary != primary:
        raise InvalidInput(f"{alias.address} is served by primary {alias.primary}: run this there")
