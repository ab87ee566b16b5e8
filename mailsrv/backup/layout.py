"""Names of the objects that backups consist of, and what their manifests say.

A manifest (JSON) is put last and removed first: what has none is not a backup, but what a crash
left. Nothing here tells whose mailbox it is to who does not have the directory::

    mailboxes/ALIAS/copies/20261123T101500Z-FILE.sqlite      a whole mailbox by itself
    mailboxes/ALIAS/copies/20261123T101500Z-FILE.json        its manifest
    mailboxes/ALIAS/logs/FILE/20261123T101500Z-1a2b3c4d/     a chain: base, then all that came after
                                                base.sqlite
                                                base.json
                                                0000000001.frames
"""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from mailsrv.errors import BackupDamaged

ObjectId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z")]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Octets = Annotated[int, Meta(ge=0, le=2**44)]
Time = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]

_STAMP = "%Y%m%dT%H%M%SZ"
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


def encode_manifest(manifest: msgspec.Struct) -> bytes:
    """A line of JSON."""
    return msgspec.json.encode(manifest) + b"\n"


def decode_copy(data: bytes) -> CopyManifest:
    """The reverse. BackupDamaged."""
    try:
        return msgspec.json.decode(data, type=CopyManifest)
    except msgspec.MsgspecError:
        raise BackupDamaged("the manifest of a backup cannot be read") from None


def of_alias(alias: str) -> str:
    """What the names of all objects of an alias begin with."""
    return f"mailboxes/{alias}/"


def copies_of(alias: str) -> str:
    """What the names of its copies and their manifests begin with."""
    return f"{of_alias(alias)}copies/"


def logs_of(alias: str) -> str:
    """What the names of its chains begin with."""
    return f"{of_alias(alias)}logs/"


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
