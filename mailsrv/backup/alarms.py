"""What the operator is told of: backups that are late, fail or are damaged. Decisions only.

A mail comes when there is something new, an hour after the last at the earliest, and tells of all
that is wrong; while something stays wrong, once a day; and once when all is well again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import attrs

from mailsrv.directory.values import BackupStanding

BETWEEN = timedelta(hours=1)
REMINDER = timedelta(days=1)
MOST_LINES = 200
"""Problems that are told in one mail; of others the number."""


@attrs.frozen
class Problem:
    """``alias`` is an ObjectID; the sentence names what is wrong with its backups."""

    alias: str
    address: str
    sentence: str
    late: bool = False


def problems(pending: Sequence[BackupStanding], late: timedelta, now: datetime) -> list[Problem]:
    """What is wrong, of those whose backup is wanted or failed."""
    limit = now - late
    found = []
    for one in pending:
        record = one.record
        is_late = record.wanted is not None and datetime.fromisoformat(record.wanted) <= limit
        last = f"the newest backup is of {record.taken}" if record.taken else "there is no backup"
        if record.problem is not None:
            sentence = f"failed at {record.failed}: {record.problem}; {last}"
        elif is_late:
            sentence = f"could have been backed up since {record.wanted} and was not; {last}"
        else:
            continue
        found.append(Problem(one.alias, one.address, sentence, is_late))
    return found


class Alarms:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._told: set[tuple[str, bool]] = set()
        self._last: datetime | None = None

    def news(self, found: Sequence[Problem]) -> list[Problem]:
        """Those that were not there at the last look: for the log."""
        before, self._known = self._known, {(one.alias, one.sentence) for one in found}
        return [one for one in found if (one.alias, one.sentence) not in before]

    def due(self, found: Sequence[Problem], now: datetime) -> bool:
        """Whether a mail is to be sent now. ``told`` says that it was."""
        if not found and not self._told:
            return False
        if self._last is None:
            return True
        since = now - self._last
        if since < BETWEEN:
            return False
        return not found or since >= REMINDER or not _keys(found) <= self._told

    def postponed(self, now: datetime) -> None:
        """The mail could not be sent."""
        self._last = now

    def told(self, found: Sequence[Problem], now: datetime) -> None:
        """A mail about these was sent."""
        self._told = _keys(found)
        self._last = now


def write_mail(found: Sequence[Problem], to: str, hostname: str, now: datetime) -> bytes:
    """The message, from Return-Path on. CRLF line ends."""
    message = EmailMessage(policy=SMTP)
    message["Return-Path"] = "<>"
    message["From"] = f"mailsrv on {hostname} <postmaster@{hostname}>"
    message["To"] = to
    message["Subject"] = _subject(found)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id(now)}@{hostname}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_text(found))
    return message.as_bytes()


def message_id(now: datetime) -> str:
    """What tells this mail from others of this server."""
    return f"backups-{now.strftime('%Y%m%dT%H%M%S%fZ')}"


def _keys(found: Sequence[Problem]) -> set[tuple[str, bool]]:
    """A failure that becomes late is news once more."""
    return {(one.alias, one.late) for one in found}


def _subject(found: Sequence[Problem]) -> str:
    if not found:
        return "Backups: all is well again"
    mailboxes = "1 mailbox" if len(found) == 1 else f"{len(found)} mailboxes"
    return f"Backups: something is wrong with {mailboxes}"


def _text(found: Sequence[Problem]) -> str:
    if not found:
        return "No backup is late, and the last attempts have succeeded.\n"
    lines = [f"{one.address}\n    {one.sentence}\n" for one in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        lines.append(f"... and {len(found) - MOST_LINES} more\n")
    lines.append("\n'mailsrv backup list' tells how all backups stand.\n")
    return "".join(lines)
