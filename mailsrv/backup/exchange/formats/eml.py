"""A directory for each folder, in it a file for each message with exactly its octets, and an index.

Files are numbered in the order of the folder, and their time of change is the internal date.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mailsrv.backup.exchange.formats.index import (
    Entry,
    IndexWriter,
    entries,
    make_folders,
    prune,
)
from mailsrv.backup.exchange.formats.values import Mail, Position
from mailsrv.errors import BackupDamaged

INDEX = "index.jsonl"


class EmlWriter:
    """Writes one folder, from ``position`` on."""

    def __init__(self, root: Path, levels: tuple[str, ...], position: Position) -> None:
        self._folder = root.joinpath(*levels)
        make_folders(root, levels)
        self._index = IndexWriter(self._folder / INDEX, position.index_octets)
        self._messages = position.messages
        self._octets = position.octets
        self._written: list[Path] = []

    def add(self, mail: Mail, sha256: bytes) -> None:
        """Write one message."""
        self._messages += 1
        name = f"{self._messages:08d}.eml"
        write_message(self._folder / name, mail)
        self._written.append(self._folder / name)
        self._index.add(Entry.of(mail, sha256, file=name))
        self._octets += len(mail.content)

    def flush(self) -> Position:
        """Let others see what was written; how far it is."""
        return Position(self._messages, self._octets, self._index.flush())

    def written(self) -> list[Path]:
        """The files that were written to since this was asked last, and may not be on disk."""
        files, self._written = self._written, []
        return [*files, self._folder / INDEX]

    def finish(self) -> None:
        """Nothing is left to do when all messages are written."""

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def write_message(path: Path, mail: Mail) -> None:
    """A file with the octets of a message, changed last at its internal date."""
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(mail.content)
    seconds = epoch(mail.date)
    os.utime(path, (seconds, seconds))


def epoch(date: str) -> int:
    """Seconds since 1970 of ISO 8601 UTC text; 0 for what no calendar has."""
    try:
        moment = datetime.fromisoformat(f"{date[:17]}00+00:00")
    except ValueError:
        return 0
    # added, since a leap second is written as 60, which datetime does not know
    return int(moment.timestamp()) + int(date[17:19])


def iso(seconds: float) -> str:
    """The reverse."""
    try:
        moment = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def remove_eml(root: Path, levels: tuple[str, ...]) -> None:
    """Remove what a writer made of a folder; folders below it stay."""
    folder = root.joinpath(*levels)
    if folder.is_dir():
        for path in [*folder.glob("[0-9]*.eml"), folder / INDEX]:
            if not path.is_dir():
                path.unlink(missing_ok=True)
    prune(root, levels)


def indexed_files(folder: Path) -> Iterator[tuple[Entry, Path]]:
    """What the index lists, with the files."""
    for entry in entries(folder / INDEX):
        name = entry.file
        if name is None or name.startswith(".") or "/" in name or "\0" in name:
            raise BackupDamaged("a line of the index does not say which file it is of")
        yield entry, folder / name
