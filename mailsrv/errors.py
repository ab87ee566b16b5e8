"""The errors that cross rooms.

Each carries what every protocol needs to answer with: an IMAP response code
(rfc5530, rfc9051:7370), an SMTP reply code with its enhanced status (rfc3463) and a
sentence fit for the client. ``str(error)`` never contains a password, a key or text of a
message, so it may be logged.
"""

from typing import ClassVar, Self


class MailsrvError(Exception):
    """Base of every error that a caller in another room may expect."""

    imap_code: ClassVar[str | None] = None
    """IMAP response code without brackets; None sends a plain NO."""

    smtp_code: ClassVar[int] = 451
    smtp_status: ClassVar[str] = "4.3.0"


class InvalidInput(MailsrvError):
    """A value from outside breaks a rule; the message says which and what was expected."""

    imap_code = "CANNOT"
    smtp_code = 501
    smtp_status = "5.5.4"


# Directory


class NoSuchAlias(MailsrvError):
    """The address is not one of ours."""

    smtp_code = 550
    smtp_status = "5.1.1"


class AliasDisabled(MailsrvError):
    """The address exists and takes no mail now, by its owner's or the operator's will."""

    smtp_code = 550
    smtp_status = "5.2.1"


class AlreadyExists(MailsrvError):
    """A domain, alias or folder of that name is already there."""

    imap_code = "ALREADYEXISTS"


class NoSuchDomain(MailsrvError):
    """The domain is not one of ours."""

    smtp_code = 550
    smtp_status = "5.1.2"


# Keys


class AuthenticationFailed(MailsrvError):
    """Unknown address, wrong password, revoked credential or missing scope: never says which."""

    imap_code = "AUTHENTICATIONFAILED"
    smtp_code = 535
    smtp_status = "5.7.8"


class WeakPassword(InvalidInput):
    """The owner's own password would be guessed; the message says what to do better."""


class SealBroken(MailsrvError):
    """Sealed bytes do not open: wrong key, wrong context, or damaged."""


class KeyGone(MailsrvError):
    """The vault no longer holds the key: the session that brought it has ended."""

    imap_code = "UNAVAILABLE"


class LeaseEnded(KeyGone):
    """The primary no longer has the session's key: send it again. Nothing was done."""


class StaleKey(MailsrvError):
    """Sealed to a key, or under a nonce, that this primary no longer has: seal it again."""

    imap_code = "UNAVAILABLE"


# Mailbox


class WrongKey(MailsrvError):
    """The file does not open with this key, or its first page is damaged."""

    imap_code = "CORRUPTION"


class MailboxDamaged(MailsrvError):
    """A page of the file fails its authentication, or the file is cut short."""

    imap_code = "CORRUPTION"


class MailboxMissing(MailsrvError):
    """The directory names a file that is not on the volume."""

    imap_code = "UNAVAILABLE"


class MailboxBusy(MailsrvError):
    """Another writer held the mailbox for longer than a writer waits."""

    imap_code = "INUSE"
    smtp_status = "4.2.0"


class MailboxMoved(MailsrvError):
    """The directory names another file by now (password change): log in again."""

    imap_code = "UNAVAILABLE"
    smtp_status = "4.2.0"


class SchemaMismatch(MailsrvError):
    """The file's tables differ from the declared ones in a way that cannot be mended."""

    imap_code = "SERVERBUG"


class DiskFull(MailsrvError):
    """The volume has no room; nothing of the write was kept."""

    imap_code = "UNAVAILABLE"
    smtp_code = 452
    smtp_status = "4.3.1"


class ReadOnlyVolume(MailsrvError):
    """The volume or the file may not be written."""

    imap_code = "UNAVAILABLE"


class NeedsWriter(ReadOnlyVolume):
    """The mailbox was opened to be read only, and who may write it has to do this."""


class StorageFailed(MailsrvError):
    """The operating system refused a read, a write or a sync."""

    imap_code = "UNAVAILABLE"


class OverQuota(MailsrvError):
    """Storing this would pass the quota of the alias, its domain or its account."""

    imap_code = "OVERQUOTA"
    smtp_code = 452
    smtp_status = "4.2.2"


class NoSuchFolder(MailsrvError):
    """No folder of that name, or it has gone since it was selected."""

    imap_code = "NONEXISTENT"


class FolderHasChildren(InvalidInput):
    """A folder stays while there are folders below it."""

    imap_code = "HASCHILDREN"


class MessageTooLarge(MailsrvError):
    """The message passes the configured limit (APPENDLIMIT, SIZE)."""

    imap_code = "TOOBIG"
    smtp_code = 552
    smtp_status = "5.3.4"


class MailboxNotReady(MailsrvError):
    """The alias has no mailbox yet: no password was ever set, so there is no key to seal to."""

    imap_code = "UNAVAILABLE"
    smtp_code = 450
    smtp_status = "4.2.1"


class TooManyResults(MailsrvError):
    """The request needs more memory or time than one client may have."""

    imap_code = "LIMIT"


# Store


class VolumeInUse(MailsrvError):
    """Another server holds the data directory: two writers would ruin it."""


class Unavailable(MailsrvError):
    """The primary cannot be reached or is shutting down; the same request may work later."""

    imap_code = "UNAVAILABLE"
    smtp_status = "4.3.2"


class LinkLost(Unavailable):
    """The link went away before the answer came: whether the request was done is not known."""


class Elsewhere(MailsrvError):
    """Another primary serves this address by what the directory says now."""

    imap_code = "UNAVAILABLE"
    smtp_status = "4.3.2"

    _SENTENCE: ClassVar[str] = "served by primary "

    def __init__(self, primary: str) -> None:
        super().__init__(f"{self._SENTENCE}{primary}")
        self.primary = primary

    @classmethod
    def said(cls, sentence: str) -> Self | None:
        """The error whose text this is; None for any other sentence."""
        primary = sentence.removeprefix(cls._SENTENCE)
        return None if primary in (sentence, "") else cls(primary)


# Backups


class BackupStoreFailed(MailsrvError):
    """The store of the backups refused, did not answer, or gave back other octets than it got."""

    imap_code = "UNAVAILABLE"


class NoSuchBackup(MailsrvError):
    """No backup of that time or name is kept."""


class BackupDamaged(MailsrvError):
    """What came back from the store of the backups is not what was put there."""
