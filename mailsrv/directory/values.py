"""What the directory answers with, as plain frozen values.

Times are ISO 8601 UTC text, sizes octets, ids ObjectIDs; a quota of None means no limit.
"""

import msgspec

from mailsrv.settings import BucketPlace

DEFAULT_PRIMARY = "primary"
"""The name of the one that serves an alias where nothing else was said."""


class Account(msgspec.Struct, frozen=True):
    """A person who owns domains."""

    id: str
    name: str
    quota: int | None
    created: str


class Domain(msgspec.Struct, frozen=True):
    """``name`` is in A-label form (``xn--...``), lower case; ``account`` is a name."""

    id: str
    name: str
    account: str | None
    quota: int | None
    created: str


class DomainBucket(msgspec.Struct, frozen=True):
    """The bucket that a domain has for itself; its secret access key as it was sealed."""

    domain_id: str
    domain: str
    place: BucketPlace
    sealed_secret: bytes


class Alias(msgspec.Struct, frozen=True):
    """``address`` is normalised; its local part is ``*`` for the catch-all of a domain."""

    id: str
    address: str
    enabled: bool
    quota: int | None
    created: str
    primary: str = DEFAULT_PRIMARY
    """Name of the primary that serves it."""

    deleted: str | None = None
    """When its deletion was asked for; it is erased after a time of grace."""

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def active(self) -> bool:
        """Whether it takes mail and logins."""
        return self.enabled and self.deleted is None


class MailboxRecord(msgspec.Struct, frozen=True):
    """A mailbox file: ``id`` is its name, mail that waits for it is sealed to ``public_key``."""

    id: str
    public_key: bytes
    created: str
    primary: str = DEFAULT_PRIMARY
    """On whose volume it lies."""

    restored: str | None = None
    """When it came from a backup, and nobody has opened it with its owner's key since."""


class MailboxFile(msgspec.Struct, frozen=True):
    """What is known of a file. ``state`` is one of those that ``schema`` names."""

    id: str
    state: str
    primary: str
    created: str


class KnownPrimary(msgspec.Struct, frozen=True, order=True):
    """A primary that has started, and when it did so first."""

    name: str
    created: str


class Erasure(msgspec.Struct, frozen=True):
    """What one primary has left to remove of an alias that is gone from the directory."""

    alias: str
    address: str
    primary: str
    domain_id: str | None
    files: tuple[str, ...]
    """Ids of those on this primary's volume."""

    public_keys: tuple[bytes, ...]
    """Of all files that the alias ever had, by which its waiting mail is named."""

    begun: str

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


class Unverified(msgspec.Struct, frozen=True, order=True):
    """A file that came with a move and was not opened with its owner's key since."""

    alias: str
    mailbox: str


class Usage(msgspec.Struct, frozen=True):
    """What one alias holds."""

    octets: int
    messages: int
    recoverable: int = 0
    """Of the octets, those of expunged messages, which make room for others."""


class QuotaLevel(msgspec.Struct, frozen=True):
    """``used`` is the sum over all aliases of the level."""

    used: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """Octets that still fit (negative when over), or None without a limit."""
        return None if self.limit is None else self.limit - self.used


class QuotaLevels(msgspec.Struct, frozen=True):
    """Quotas pool: an alias may fill what its domain and account have left, and no more."""

    alias: QuotaLevel
    domain: QuotaLevel
    account: QuotaLevel
    """Of the domain's account; without an account, no use and no limit."""
    messages: int
    """Messages of the alias."""
    recoverable: int = 0
    """Of the alias's octets, those of expunged messages."""

    @property
    def tightest(self) -> QuotaLevel:
        """The level with the least room; the alias's own when there is no limit at all."""
        limited = [
            level for level in (self.alias, self.domain, self.account) if level.limit is not None
        ]
        return min(limited, key=lambda level: level.left or 0, default=self.alias)


class BackupRecord(msgspec.Struct, frozen=True):
    """``taken`` is when the newest copy was made, of the file ``mailbox`` with content ``digest``.

    ``checked`` is when that was last found to be still true; ``wanted`` since when a copy is due
    that could have been made; ``failed`` and ``problem`` when and why the last attempt failed.
    """

    mailbox: str | None = None
    digest: bytes | None = None
    taken: str | None = None
    checked: str | None = None
    wanted: str | None = None
    failed: str | None = None
    problem: str | None = None


class BackupStanding(msgspec.Struct, frozen=True):
    """An alias with a mailbox (its current file, and when that was made) and its backups."""

    alias: str
    address: str
    mailbox: str
    created: str
    record: BackupRecord

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]
