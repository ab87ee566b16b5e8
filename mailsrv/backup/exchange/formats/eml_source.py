"""Directories of .eml files without an index: each is a folder, the top one is INBOX."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mailsrv.backup.exchange.formats.eml import iso
from mailsrv.backup.exchange.formats.foreign import as_crlf, sent
from mailsrv.backup.exchange.formats.paths import level_of
from mailsrv.backup.exchange.formats.reading import NotRead, listing, read_file
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.mailbox.values import Flags

_INBOX = "INBOX"


class EmlSource:
    """A directory, or one file."""

    whole = False

    def __init__(self, path: Path, largest: int) -> None:
        self._largest = largest
        self._left: list[Skipped] = []
        self._folders = dict(_folders(path, self._left))

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
        yield from self._left
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
    found = listing(directory)
    return any(map(is_eml, found.files)) or any(map(has_eml, found.folders))


def read_eml(path: Path, folder: str, largest: int) -> Found | Skipped:
    """One message, without flags."""
    try:
        octets, changed = read_file(path, largest)
    except FileNotFoundError:
        return Skipped(folder, f"{path.name} has gone meanwhile")
    except NotRead as error:
        return Skipped(folder, str(error))
    content = as_crlf(octets)
    return Found(folder, Mail(content, Flags(), sent(content) or iso(changed)))


def _folders(path: Path, left: list[Skipped]) -> Iterator[tuple[str, list[Path]]]:
    if path.is_file():
        yield _INBOX, [path.resolve()]
    else:
        yield from _below(path, (), left)


def _below(
    directory: Path, levels: tuple[str, ...], left: list[Skipped]
) -> Iterator[tuple[str, list[Path]]]:
    name = "/".join(levels) or _INBOX
    found = listing(directory)
    left += [Skipped(name, what) for what in found.left]
    files = [one for one in found.files if is_eml(one)]
    if files:
        yield name, files
    for folder in found.folders:
        yield from _below(folder, (*levels, level_of(folder.name)), left)
