"""One mbox file a folder, and beside it an index that makes reading it back exact.

Below ``Work.mbox`` come the folders of ``Work/``. Other programs see an mbox file with the fields
Status, X-Status and X-Keywords before each message's own, as they would write themselves; with the
index these are no part of the message. Without it, or when another program has changed the file, it
is read as any mbox file.
"""

from collections.abc import Iterator
from pathlib import Path

from mailsrv.backup.exchange.formats import mboxrd
from mailsrv.backup.exchange.formats.index import (
    Entry,
    IndexWriter,
    entries,
    make_folders,
    open_at,
    prune,
)
from mailsrv.backup.exchange.formats.reading import NotRead, open_file
from mailsrv.backup.exchange.formats.values import Mail, Position
from mailsrv.errors import BackupDamaged


def mbox_path(root: Path, levels: tuple[str, ...]) -> Path:
    """Where the messages of a folder are."""
    return root.joinpath(*levels[:-1], f"{levels[-1]}.mbox")


def index_path(root: Path, levels: tuple[str, ...]) -> Path:
    """Where their index is."""
    return root.joinpath(*levels[:-1], f"{levels[-1]}.jsonl")


class MboxWriter:
    """Writes the file of one folder, from ``position`` on."""

    def __init__(self, root: Path, levels: tuple[str, ...], position: Position) -> None:
        path = mbox_path(root, levels)
        make_folders(root, levels[:-1])
        self._file = open_at(path, position.octets)
        self._index = IndexWriter(index_path(root, levels), position.index_octets)
        self._offset = position.octets
        self._messages = position.messages
        self._files = [path, index_path(root, levels)]

    def add(self, mail: Mail, sha256: bytes) -> None:
        """Write one message."""
        stored = mboxrd.to_mbox(mail.content, mail.flags, mail.date)
        self._file.write(stored.before)
        self._file.write(stored.text)
        self._file.write(stored.after)
        place = {
            "offset": self._offset + len(stored.before),
            "stored": len(stored.text),
            "newline": "lf" if stored.is_lf else "as is",
        }
        self._index.add(Entry.of(mail, sha256, **place))
        self._offset += len(stored.before) + len(stored.text) + len(stored.after)
        self._messages += 1

    def flush(self) -> Position:
        """Let others see what was written; how far it is."""
        self._file.flush()
        return Position(self._messages, self._offset, self._index.flush())

    def written(self) -> list[Path]:
        """The files that were written to since this was asked last, and may not be on disk."""
        return self._files

    def finish(self) -> None:
        """Nothing is left to do when all messages are written."""

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._index.close()


def remove_mbox(root: Path, levels: tuple[str, ...]) -> None:
    """Remove what a writer made of a folder."""
    mbox_path(root, levels).unlink(missing_ok=True)
    index_path(root, levels).unlink(missing_ok=True)
    prune(root, levels[:-1])


def is_as_indexed(root: Path, levels: tuple[str, ...]) -> bool:
    """Whether the index ends where the file does: other programs that change it change that."""
    last: Entry | None = None
    try:
        for entry in entries(index_path(root, levels)):
            last = entry
        size = mbox_path(root, levels).stat().st_size
    except (FileNotFoundError, NotRead, BackupDamaged):
        return False
    if last is None:
        return size == 0
    if last.offset is None or last.stored is None:
        return False
    return size - last.offset - last.stored in (1, 2)


def indexed_messages(
    root: Path, levels: tuple[str, ...], largest: int
) -> Iterator[tuple[Entry, bytes | None]]:
    """What the index lists, with the octets; whether they are right is for who reads to check.

    None for what is larger than ``largest``. FileNotFoundError, NotRead.
    """
    with open_file(mbox_path(root, levels)) as file:
        for entry in entries(index_path(root, levels)):
            if entry.offset is None or entry.stored is None:
                raise BackupDamaged("a line of the index does not say where the message is")
            # quoting makes lines of six octets or more longer by one
            if max(entry.size, entry.stored // 2) > largest:
                yield entry, None
                continue
            file.seek(entry.offset)
            text = file.read(entry.stored)
            yield entry, mboxrd.from_mbox(text, is_lf=entry.newline == "lf")
