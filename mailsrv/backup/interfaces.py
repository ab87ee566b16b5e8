"""Where backups are kept, as those who make and restore them see it."""

# zope interfaces declare methods without self
# ruff: noqa: N805

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import attrs
from zope.interface import Interface


@attrs.frozen
class StoredObject:
    """One object: its size in octets, and when it was put there (ISO 8601 UTC text)."""

    name: str
    octets: int
    modified: str


class IObjectStore(Interface):
    """A folder or a bucket. Blocking, any thread. Names are those of ``layout``.

    What fails for good, after as many tries as make sense, raises BackupStoreFailed with a sentence
    that names the store and says what it answered, and never a credential.
    """

    def put(name: str, path: Path) -> None:
        """Store a file under a name, in bounded memory; it is there whole or not at all.

        An object of that name is replaced. What is there was compared with what was sent
        (checksum) when this returns. BackupStoreFailed.
        """

    def write(name: str, data: bytes) -> None:
        """The same with octets that are in memory."""

    def get(name: str, path: Path) -> None:
        """Write an object to a new file at ``path``, in bounded memory; it is on disk then.

        Nothing is left at ``path`` when it fails. NoSuchBackup, BackupStoreFailed, DiskFull.
        """

    def read(name: str) -> bytes:
        """A small object, at most 16 MiB. NoSuchBackup, BackupStoreFailed."""

    def list(prefix: str) -> Iterator[StoredObject]:
        """Objects whose names begin so, by name; any number, in bounded memory."""

    def remove(names: Iterable[str]) -> int:
        """Remove objects; how many. Missing ones do not matter. BackupStoreFailed.

        A bucket does not say which were missing: there they count too.
        """

    def tidy(before: datetime, prefix: str = "") -> int:
        """Remove what transfers left that began before then and were broken off; how many.

        No object is touched. ``prefix`` limits it to names below a folder, a/b/ for example.
        BackupStoreFailed.
        """
