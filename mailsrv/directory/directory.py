"""The directory: one class for all that is known about addresses and who may open them.

Blocking. Several threads and processes (server, command line) share one database; each change is
one transaction.
"""

from collections.abc import Callable
from datetime import datetime

from mailsrv.directory.accounts import Accounts
from mailsrv.directory.aliases import Aliases
from mailsrv.directory.backups import Backups
from mailsrv.directory.buckets import Buckets
from mailsrv.directory.credentials import Credentials
from mailsrv.directory.database import Database
from mailsrv.directory.dump import Dumps
from mailsrv.directory.erasures import Erasures
from mailsrv.directory.mailboxes import Mailboxes
from mailsrv.directory.migrate import migrate
from mailsrv.directory.moves import Moves
from mailsrv.directory.primaries import Primaries
from mailsrv.directory.quotas import Quotas
from mailsrv.directory.restores import Restores
from mailsrv.directory.touches import Touches
from mailsrv.directory.values import (
    Account,
    Alias,
    BackupRecord,
    BackupStanding,
    Domain,
    DomainBucket,
    Erasure,
    KnownPrimary,
    MailboxFile,
    MailboxRecord,
    QuotaLevel,
    QuotaLevels,
    Unverified,
    Usage,
)

__all__ = [
    "Account",
    "Alias",
    "BackupRecord",
    "BackupStanding",
    "Directory",
    "Domain",
    "DomainBucket",
    "Erasure",
    "KnownPrimary",
    "MailboxFile",
    "MailboxRecord",
    "QuotaLevel",
    "QuotaLevels",
    "Unverified",
    "Usage",
]


class Directory(
    Accounts,
    Aliases,
    Backups,
    Buckets,
    Credentials,
    Dumps,
    Erasures,
    Mailboxes,
    Moves,
    Primaries,
    Quotas,
    Restores,
    Touches,
):
    """Accounts, domains, aliases, credentials, files and quotas.

    Besides the errors that each method names, all raise Unavailable, StorageFailed, DiskFull or
    ReadOnlyVolume when the database fails, and SchemaMismatch before ``migrate``.
    """

    def __init__(self, url: str, now: Callable[[], datetime]) -> None:
        """Take ``sqlite:///PATH`` or ``postgresql+psycopg://...`` and a clock. InvalidInput."""
        super().__init__(Database(url), now)

    def __repr__(self) -> str:
        return f"<Directory in {self._database!r}>"

    def migrate(self) -> None:
        """Create the tables or bring them up to date; several processes may do so at once.

        SchemaMismatch for a directory that a newer version has migrated.
        """
        migrate(self._database)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
