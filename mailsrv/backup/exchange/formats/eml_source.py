"""Directories of .eml files without an index: each is a folder, the top one is INBOX."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mailsrv.backup.exchange.formats.eml import iso
from mailsrv.backup.exchange.formats.foreign import as_crlf, sent
from mailsrv.backup.exchange.formats.paths import level_of
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.mailbox.values import Flags


class EmlSource:
    """A directory, or one file."""

    whole = False

    def __init__(self, path: Path, largest: int) -> None:
        self._largest = largest
        self._folders = dict(_folders(path))

    def folders(self) -> Sequence[MailFolder]:
        """One for each directory that has such files."""
        return [
            MailFolder(name, None, messages=len(files)) for name, files in self._folders.items()
        ]

    def subscriptions(self) -> Sequence[str]:
        """None are known."""
        return ()

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages, by the names of the files."""
        for name, files in self._folders.items():
            for path in files:
                yield read_eml(path, name, self._largest)

    def close(self) -> None:
        """Nothing stays open."""


def is_eml(path: Path) -> bool:
    """Whether a file's name says that it is a message."""
    return path.suffix.lower() == ".eml" and not path.name.startswith(".") and path.is_file()


def has_eml(directory: Path) -> bool:
    """Whether such files are in a directory or below it."""
    return any(is_eml(path) for path in directory.rglob("*"))


def read_eml(path: Path, folder: str, largest: int) -> Found | Skipped:
    """One message, without flags."""
    status = path.stat()
    if status.st_size > largest:
        return Skipped(folder, f"{path.name} is larger than {largest} octets")
    content = as_crlf(path.read_bytes())
    return Found(folder, Mail(content, Flags(), sent(content) or iso(status.st_mtime)))


def _folders(path: Path) -> Iterator[tuple[str, list[Path]]]:
    if path.is_file():
        yield "INBOX", [path]
        return
    directories = [path, *(one for one in sorted(path.rglob("*")) if one.is_dir())]
    for directory in directories:
        files = sorted(one for one in directory.iterdir() if is_eml(one))
        if files:
            levels = directory.relative_to(path).parts
            yield "/".join(map(level_of, levels)) or "INBOX", files
