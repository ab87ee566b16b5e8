"""Maildirs of other programs: Maildir++ of Dovecot and Courier, or directories in directories."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailsrv import mutf7
from mailsrv.backup.exchange.formats import maildir
from mailsrv.backup.exchange.formats.eml import iso
from mailsrv.backup.exchange.formats.foreign import as_crlf
from mailsrv.backup.exchange.formats.paths import level_of
from mailsrv.backup.exchange.formats.reading import (
    NotRead,
    is_folder,
    listing,
    read_file,
    read_list,
)
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.mailbox.keywords import acceptable
from mailsrv.mailbox.values import Flags

_UIDLIST = re.compile(r"([0-9]+) [^:]*:(.+)")
_TIME = re.compile(r"([0-9]+)\.")
_SUBS = ("cur", "new", "tmp")


class MaildirSource:
    """A directory with ``cur`` and ``new``, and the folders in it."""

    whole = False

    def __init__(self, root: Path, largest: int) -> None:
        self._largest = largest
        self._left: list[Skipped] = []
        self._folders = dict(_folders(root, self._left))
        self._subscribed = _subscriptions(root)

    def folders(self) -> Sequence[MailFolder]:
        """Those that have a directory."""
        return [
            MailFolder(name, None, not self._subscribed or name in self._subscribed)
            for name in self._folders
        ]

    def subscriptions(self) -> Sequence[str]:
        """Subscribed names without a directory."""
        return [name for name in self._subscribed if name not in self._folders]

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages, in the order of Dovecot's list of UIDs, or else of the files' names."""
        yield from self._left
        for name, folder in self._folders.items():
            yield from read_maildir(folder, name, self._largest)

    def close(self) -> None:
        """Nothing stays open."""


def is_maildir(path: Path) -> bool:
    """Whether a directory is a Maildir."""
    return all(is_folder(path / name) for name in ("cur", "new"))


def read_maildir(
    folder: Path, name: str, largest: int, known: frozenset[str] = frozenset()
) -> Iterator[Found | Skipped]:
    """The messages of one folder, without those whose files' names are known."""
    keywords = maildir.read_keywords(folder)
    uids = _uids(folder)
    files: list[Path] = []
    for sub in ("new", "cur"):
        found = listing(folder / sub)
        files += found.files
        yield from (Skipped(name, what) for what in found.left)

    def place(path: Path) -> tuple[int, int, str]:
        time = _TIME.match(path.name)
        return (
            uids.get(maildir.unique_part(path.name), 2**32),
            int(time[1]) if time else 0,
            path.name,
        )

    for path in sorted(files, key=place):
        if path.name.startswith(".") or maildir.unique_part(path.name) in known:
            continue
        try:
            octets, changed = read_file(path, largest)
        except FileNotFoundError:  # whoever uses the Maildir has changed its flags
            yield Skipped(name, f"{path.name} has gone meanwhile")
            continue
        except NotRead as error:
            yield Skipped(name, str(error))
            continue
        flags = letters_to_flags(maildir.letters_of(path.name), keywords)
        yield Found(name, Mail(as_crlf(octets), flags, iso(changed)))


def letters_to_flags(letters: str, keywords: list[str]) -> Flags:
    """Flags of the letters of a file's name."""
    words = [
        keywords[ord(letter) - ord("a")]
        for letter in letters
        if "a" <= letter <= "z" and ord(letter) - ord("a") < len(keywords)
    ]
    if "P" in letters:
        words.append(maildir.FORWARDED)
    return Flags(maildir.flags_of(letters), acceptable(words))


def _folders(root: Path, left: list[Skipped]) -> Iterator[tuple[str, Path]]:
    if is_maildir(root):
        yield maildir.INBOX, root
    found: dict[str, Path] = {}
    here = listing(root)
    left += [Skipped(maildir.INBOX, what) for what in here.left]
    for path in here.folders:
        if path.name.startswith(".") and is_maildir(path):
            found[maildir.folder_name(path.name)] = path
        elif path.name not in _SUBS:
            found.update(_nested(path, "", left))
    yield from sorted(found.items())


def _nested(directory: Path, above: str, left: list[Skipped]) -> Iterator[tuple[str, Path]]:
    """Folders of Dovecot's LAYOUT=fs."""
    try:
        level = mutf7.decode(directory.name.encode("ascii"))
    except ValueError:
        level = level_of(directory.name)
    name = f"{above}{level}"
    if is_maildir(directory):
        yield name, directory
    here = listing(directory)
    left += [Skipped(name, what) for what in here.left]
    for path in here.folders:
        if path.name not in _SUBS:
            yield from _nested(path, f"{name}/", left)


def _uids(folder: Path) -> dict[str, int]:
    found = map(_UIDLIST.fullmatch, read_list(folder / "dovecot-uidlist"))
    return {maildir.unique_part(one[2]): int(one[1]) for one in found if one}


def _subscriptions(root: Path) -> list[str]:
    """Of Dovecot, in either version of its file, or of Courier, whose names begin with INBOX."""
    for file_name in ("subscriptions", "courierimapsubscribed"):
        lines = read_list(root / file_name)
        if not lines:
            continue
        separator = "."
        if lines[:1] and lines[0].startswith("V\t"):
            lines, separator = lines[1:], "\t"
        if file_name == "courierimapsubscribed":
            lines = [line.removeprefix("INBOX.") for line in lines]
        levels = (line.split(separator) for line in lines if line)
        return ["/".join(map(_level, one)) for one in levels]
    return []


def _level(text: str) -> str:
    try:
        return maildir.unescaped(mutf7.decode(text.encode("ascii")))
    except ValueError:
        return maildir.unescaped(text)
