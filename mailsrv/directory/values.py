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

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


class MailboxRecord(msgspec.Struct, frozen=True):
    """A mailbox file: ``id`` is its name, mail that waits for it is sealed to ``public_key``."""

    id: str
    public_key: bytes
    created: str
    primary: str = DEFAULT_PRIMARY
    """On whose volume it lies."""


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


class Unverified(msgspec.Struct, frozen=True, order=True):
    """A file that came with a move and was not opened with its owner's key since."""

    alias: str
    mailbox: str


class Usage(msgspec.Struct, frozen=True):
    """What one alias holds."""

    octets: int
    messages: int


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

    @property
    def tightest(self) -> QuotaLevel:
        """The level with the least room; the alias's own when there is no limit at all."""
        limited = [
            level for level in (self.alias, self.domain, self.account) if level.limit is not None
        ]
        return min(limited, key=lambda level: level.left or 0, default=self.alias)
