"""Maildirs of other programs: Maildir++ of Dovecot and Courier, or directories in directories."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailsrv import mutf7
from mailsrv.backup.exchange.formats import maildir
from mailsrv.backup.exchange.formats.eml import iso
from mailsrv.backup.exchange.formats.foreign import as_crlf
from mailsrv.backup.exchange.formats.paths import level_of
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.mailbox.keywords import acceptable
from mailsrv.mailbox.values import Flags

_UIDLIST = re.compile(r"([0-9]+) [^:]*:(.+)")
_TIME = re.compile(r"([0-9]+)\.")


class MaildirSource:
    """A directory with ``cur`` and ``new``, and the folders in it."""

    whole = False

    def __init__(self, root: Path, largest: int) -> None:
        self._largest = largest
        self._folders = dict(_folders(root))
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
        for name, folder in self._folders.items():
            yield from read_maildir(folder, name, self._largest)

    def close(self) -> None:
        """Nothing stays open."""


def is_maildir(path: Path) -> bool:
    """Whether a directory is a Maildir."""
    return (path / "cur").is_dir() and (path / "new").is_dir()


def read_maildir(
    folder: Path, name: str, largest: int, known: frozenset[str] = frozenset()
) -> Iterator[Found | Skipped]:
    """The messages of one folder, without those whose files' names are known."""
    keywords = maildir.read_keywords(folder)
    uids = _uids(folder)
    files = [path for sub in ("new", "cur") for path in (folder / sub).iterdir()]

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
            status = path.stat()
            if status.st_size > largest:
                yield Skipped(name, f"{path.name} is larger than {largest} octets")
                continue
            content = as_crlf(path.read_bytes())
        except FileNotFoundError:  # whoever uses the Maildir has changed its flags
            yield Skipped(name, f"{path.name} has gone meanwhile")
            continue
        flags = letters_to_flags(maildir.letters_of(path.name), keywords)
        yield Found(name, Mail(content, flags, iso(status.st_mtime)))


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


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    if is_maildir(root):
        yield maildir.INBOX, root
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") and path.name != "." and is_maildir(path):
            found[maildir.folder_name(path.name)] = path
        elif path.is_dir() and path.name not in ("cur", "new", "tmp"):
            found.update(_nested(path, ""))
    yield from sorted(found.items())


def _nested(directory: Path, above: str) -> Iterator[tuple[str, Path]]:
    """Folders of Dovecot's LAYOUT=fs."""
    try:
        level = mutf7.decode(directory.name.encode("ascii"))
    except ValueError:
        level = level_of(directory.name)
    name = f"{above}{level}"
    if is_maildir(directory):
        yield name, directory
    for path in sorted(directory.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in ("cur", "new", "tmp"):
            yield from _nested(path, f"{name}/")


def _uids(folder: Path) -> dict[str, int]:
    try:
        lines = (folder / "dovecot-uidlist").read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found = (_UIDLIST.fullmatch(line) for line in lines)
    return {maildir.unique_part(one[2]): int(one[1]) for one in found if one}


def _subscriptions(root: Path) -> list[str]:
    """Of Dovecot, in either version of its file, or of Courier, whose names begin with INBOX."""
    for file_name in ("subscriptions", "courierimapsubscribed"):
        try:
            lines = (root / file_name).read_text("utf-8", "replace").splitlines()
        except OSError:
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
