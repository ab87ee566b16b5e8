"""Names of the objects that backups consist of, and what their manifests say.

A manifest (JSON) is put last and removed first: what has none is not a backup, but what a crash
left. Nothing here tells whose mailbox it is to who does not have the directory::

    mailboxes/ALIAS/copies/20261123T101500Z-FILE.sqlite      a whole mailbox by itself
    mailboxes/ALIAS/copies/20261123T101500Z-FILE.json        its manifest
    mailboxes/ALIAS/logs/FILE/20261123T101500Z-1a2b3c4d/  a chain: all pages that were written
                            0000000001.frames                since its beginning, in pieces
                            0000000001-5e6f7a8b.base.sqlite  the file, to apply them to from 1 on
                            0000000001-5e6f7a8b.base.json    its manifest
                            0000000002.frames
                            ...                              there may be later bases
"""

import re
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from mailsrv.errors import BackupDamaged

ObjectId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z")]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Octets = Annotated[int, Meta(ge=0, le=2**44)]
Time = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]

_STAMP = "%Y%m%dT%H%M%SZ"
_CHAIN = r"\A[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z"
_CHAIN_OBJECT = re.compile(
    r"mailboxes/[0-9a-f]{24}/logs/([0-9a-f]{24})/([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})/"
    r"([0-9]{10})(?:\.frames|-[0-9a-f]{8}\.base\.(?:sqlite|json))"
)
_COPY = re.compile(r"mailboxes/([0-9a-f]{24})/copies/([0-9]{8}T[0-9]{6}Z)-([0-9a-f]{24})\.json")


class CopyManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Of one copy. ``sha256`` is of the object, ``digest`` of the content (``mailbox.digest``)."""

    alias: ObjectId
    mailbox: ObjectId
    taken: Time
    octets: Octets
    sha256: Digest
    digest: Digest
    messages: int

    @property
    def name(self) -> str:
        """Of the copy itself."""
        return f"{_copy_stem(self.alias, self.mailbox, self.taken)}.sqlite"

    @property
    def manifest_name(self) -> str:
        """Of this manifest."""
        return f"{_copy_stem(self.alias, self.mailbox, self.taken)}.json"


class BaseManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Of a mailbox file as it lay there while others wrote, to which a chain's frames belong.

    It is a mailbox once segments from ``first`` on have been applied, all before ``until``: then
    as it was ``milliseconds`` after 1970 UTC. ``sha256`` is of the object, ``token`` in its name.
    """

    alias: ObjectId
    mailbox: ObjectId
    chain: Annotated[str, Meta(pattern=_CHAIN)]
    token: Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}\Z")]
    first: int
    until: int
    milliseconds: Octets
    octets: Octets
    sha256: Digest

    @property
    def name(self) -> str:
        """Of the copy itself."""
        return f"{self._stem}.base.sqlite"

    @property
    def manifest_name(self) -> str:
        """Of this manifest."""
        return f"{self._stem}.base.json"

    @property
    def _stem(self) -> str:
        return f"{chain_of(self.alias, self.mailbox, self.chain)}{self.first:010}-{self.token}"


class ChainObject(NamedTuple):
    """What the name of an object says that belongs to a chain."""

    name: str
    mailbox: str
    chain: str
    number: int

    @property
    def is_segment(self) -> bool:
        """Whether it is a piece of the chain."""
        return self.name.endswith(".frames")

    @property
    def is_manifest(self) -> bool:
        """Whether it is the manifest of a base."""
        return self.name.endswith(".json")


def encode_manifest(manifest: msgspec.Struct) -> bytes:
    """A line of JSON."""
    return msgspec.json.encode(manifest) + b"\n"


def decode_copy(data: bytes) -> CopyManifest:
    """The reverse. BackupDamaged."""
    try:
        return msgspec.json.decode(data, type=CopyManifest)
    except msgspec.MsgspecError:
        raise BackupDamaged("the manifest of a backup cannot be read") from None


def decode_base(data: bytes) -> BaseManifest:
    """Of a base. BackupDamaged."""
    try:
        return msgspec.json.decode(data, type=BaseManifest)
    except msgspec.MsgspecError:
        raise BackupDamaged("the manifest of a base cannot be read") from None


def of_alias(alias: str) -> str:
    """What the names of all objects of an alias begin with."""
    return f"mailboxes/{alias}/"


def copies_of(alias: str) -> str:
    """What the names of its copies and their manifests begin with."""
    return f"{of_alias(alias)}copies/"


def logs_of(alias: str) -> str:
    """What the names of its chains begin with."""
    return f"{of_alias(alias)}logs/"


def chain_of(alias: str, mailbox: str, chain: str) -> str:
    """What the names of all objects of a chain begin with."""
    return f"{logs_of(alias)}{mailbox}/{chain}/"


def segment(alias: str, mailbox: str, chain: str, number: int) -> str:
    """Name of a piece of a chain."""
    return f"{chain_of(alias, mailbox, chain)}{number:010}.frames"


def chain_object(name: str) -> ChainObject | None:
    """What belongs to a chain, by its name; None for any other object."""
    found = _CHAIN_OBJECT.fullmatch(name)
    return found and ChainObject(name, found[1], found[2], int(found[3]))


def is_copy_manifest(name: str) -> bool:
    """Whether an object's name is that of the manifest of a copy."""
    return _COPY.fullmatch(name) is not None


def stamp(moment: datetime) -> str:
    """A moment as it stands in names."""
    return moment.astimezone(UTC).strftime(_STAMP)


def iso(moment: datetime) -> str:
    """A moment as it stands in manifests."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _copy_stem(alias: str, mailbox: str, taken: str) -> str:
    return f"{copies_of(alias)}{re.sub('[-:]', '', taken)}-{mailbox}"
