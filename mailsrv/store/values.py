"""Values of the store that are not about the inside of one mailbox.

Those about folders and messages are in ``mailsrv.mailbox.values`` and ``.criteria`` and are
exported here too, since front ends import from the store alone.
"""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from mailsrv.keys.quiet import Quiet
from mailsrv.mailbox.criteria import *  # noqa: F403
from mailsrv.mailbox.values import *  # noqa: F403
from mailsrv.mailbox.values import DATE

Identifier = Annotated[str, Meta(max_length=24)]

Scope = Literal["imap", "pop3", "smtp", "web"]
"""What a credential may be used for."""

ALL_SCOPES: tuple[Scope, ...] = ("imap", "pop3", "smtp", "web")


class Access(msgspec.Struct, frozen=True):
    """An open door to one mailbox: what a session holds between login and logout.

    ``key`` is the vault's handle of the file key, not the key. ``session`` tells this login from
    others of the same alias.
    """

    session: Annotated[str, Meta(max_length=128)]
    alias: Identifier
    """ObjectID of the alias."""
    address: Annotated[str, Meta(max_length=1024)]
    mailbox: Identifier
    """ObjectID and file name of the mailbox file at login."""
    credential: Identifier
    key: Annotated[str, Meta(max_length=64)]


class ScramChallenge(msgspec.Struct, frozen=True):
    """Salt and count that the client needs (rfc5802:340); shared by all credentials of an alias."""

    salt: bytes
    iterations: int


class ScramProof(Quiet, frozen=True):
    """What the client sent, enough to verify it against each credential (rfc5802:247)."""

    shown: ClassVar[tuple[str, ...]] = ()

    auth_message: bytes
    proof: bytes


class ScramAccepted(msgspec.Struct, frozen=True):
    access: Access
    server_signature: bytes


class Quota(msgspec.Struct, frozen=True):
    """The tightest of alias, domain and account; ``limit_octets`` None means no limit.

    ``used_octets`` is the sum over the level that ``limit_octets`` belongs to.
    """

    used_octets: int
    limit_octets: int | None
    messages: int


class BackupState(msgspec.Struct, frozen=True):
    """What became of the wish for a backup; ``time`` and ``octets`` are those of the newest one.

    ``what`` is taken; unchanged, when the mailbox holds what it held then; or recent, when it does
    not and the last one was taken too short a time ago to take another.
    """

    what: Literal["taken", "unchanged", "recent"]
    time: str
    """ISO 8601 UTC."""
    octets: int


class Recipient(msgspec.Struct, frozen=True):
    """Where mail for an address goes."""

    alias: str
    """ObjectID of the alias."""
    address: str
    """The alias's own address: no plus detail, catch-all resolved."""
    detail: str | None = None
    """What followed "+" in the local part."""


class Delivery(Quiet, frozen=True):
    """A message for one alias. ``content`` already has Return-Path and Received."""

    shown: ClassVar[tuple[str, ...]] = ("delivery_id", "received")

    content: bytes
    delivery_id: Annotated[str, Meta(min_length=1, max_length=255)]
    received: Annotated[str, Meta(pattern=DATE)]
    """ISO 8601 UTC; becomes the internal date."""


class Delivered(msgspec.Struct, frozen=True):
    """``where`` is live (in the mailbox, EXISTS announced) or waiting (sealed until login)."""

    where: Literal["live", "waiting"]
    duplicate: bool = False
