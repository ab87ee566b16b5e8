"""Maildir++ as Dovecot and Courier read it: ``cur``, ``new`` and ``tmp`` of INBOX at the top, other
folders in directories such as ``.Work.Projects``.

Names are modified UTF-7, what Dovecot reads unless its ``mail_location`` says UTF-8; "." and "\\"
within a level stand as ``\\2e`` and ``\\5c``, as Dovecot's plugin *listescape* has them. Flags are
letters of the file's name, keywords letters a to z that the file ``dovecot-keywords`` explains;
what goes beyond 26 keywords of a folder is in the index only. Files hold exactly the octets that
arrived, mostly with lines ended by CRLF; their time of change is the internal date.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from mailsrv import mutf7
from mailsrv.backup.exchange.formats.eml import epoch, write_message
from mailsrv.backup.exchange.formats.index import (
    Entry,
    IndexWriter,
    entries,
    open_at,
    replace_file,
)
from mailsrv.backup.exchange.formats.reading import listing, read_list
from mailsrv.backup.exchange.formats.values import Mail, Position
from mailsrv.errors import BackupDamaged
from mailsrv.mailbox.values import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

INDEX = "mailsrv-index.jsonl"
KEYWORDS = "dovecot-keywords"
UIDS = "dovecot-uidlist"
INBOX = "INBOX"
MOST_KEYWORDS = 26

FORWARDED = "$Forwarded"
"""Has a letter of its own, P for passed; and one as a keyword, since Dovecot does not know P."""

LETTERS = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}

_LONGEST = 230
_UIDS_HEADER = 40
_ESCAPE = re.compile(r"[.\\]")


def directory_names(names: list[str]) -> dict[str, str]:
    """For each folder's name that of its directory; "" is INBOX. No two are alike anywhere."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names):
        encoded = "" if name == INBOX else _encoded(name)
        if len(encoded) > _LONGEST or encoded.casefold() in taken:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:24]
            kept = re.sub(r"&[^-]*\Z|\\.?\Z", "", encoded[: _LONGEST - 30])
            encoded = f"{kept}~{digest}"
        taken.add(encoded.casefold())
        found[name] = encoded
    return found


def folder_name(directory: str) -> str:
    """The name of the folder that a directory such as ``.Work.Projects`` holds."""
    try:
        levels = mutf7.decode(directory.encode("ascii")).split(".")
    except ValueError:
        levels = directory.split(".")
    return "/".join(unescaped(level) for level in levels if level)


def _encoded(name: str) -> str:
    return mutf7.encode("." + ".".join(map(_escaped, name.split("/")))).decode("ascii")


def _escaped(level: str) -> str:
    return _ESCAPE.sub(lambda found: f"\\{ord(found.group()):02x}", level)


def unescaped(level: str) -> str:
    """A level without what *listescape* put in."""
    return level.replace("\\2e", ".").replace("\\5c", "\\")


class MaildirWriter:
    """Writes one folder, from ``position`` on."""

    def __init__(self, root: Path, directory: str, position: Position) -> None:
        self._folder = root / directory if directory else root
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("cur", "new", "tmp"):
            (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        if directory:
            open_at(self._folder / "maildirfolder", 0).close()
        self._index = IndexWriter(self._folder / INDEX, position.index_octets)
        self._messages = position.messages
        self._octets = position.octets
        self._keywords = read_keywords(self._folder) if position.messages else []
        self._written: list[Path] = []

    def add(self, mail: Mail, sha256: bytes) -> None:
        """Write one message."""
        self._messages += 1
        name = (
            f"{max(0, epoch(mail.date))}.M{self._messages:08d}P1.mailsrv,S={len(mail.content)}"
            f":2,{self._letters(mail)}"
        )
        write_message(self._folder / "cur" / name, mail)
        self._written.append(self._folder / "cur" / name)
        self._index.add(Entry.of(mail, sha256, file=name))
        self._octets += len(mail.content)

    def _letters(self, mail: Mail) -> str:
        letters = [letter for letter, bit in LETTERS.items() if mail.flags.system & bit]
        for keyword in mail.flags.keywords.split():
            if keyword.lower() == FORWARDED.lower():
                letters.append("P")
            if keyword not in self._keywords and len(self._keywords) < MOST_KEYWORDS:
                self._keywords.append(keyword)
            if keyword in self._keywords:
                letters.append(chr(ord("a") + self._keywords.index(keyword)))
        return "".join(sorted(letters))

    def flush(self) -> Position:
        """Let others see what was written; how far it is."""
        if self._keywords:
            lines = "".join(f"{number} {name}\n" for number, name in enumerate(self._keywords))
            replace_file(self._folder / KEYWORDS, lines.encode())
        return Position(self._messages, self._octets, self._index.flush())

    def written(self) -> list[Path]:
        """The files that were written to since this was asked last, and may not be on disk."""
        files, self._written = self._written, []
        return [*files, self._folder / INDEX]

    def finish(self) -> None:
        """Number the messages, or Dovecot would put them in the order of their dates."""
        path = self._folder / UIDS
        with open_at(path.with_suffix(".new"), 0) as file:
            checksum = 0
            file.write(b" " * _UIDS_HEADER + b"\n")
            for uid, entry in enumerate(entries(self._folder / INDEX), 1):
                line = f"{uid} :{unique_part(entry.file or '')}\n".encode()
                checksum = zlib.crc32(line, checksum)
                file.write(line)
            # another UIDVALIDITY for other messages, the same one for the same (rfc9051:1069)
            header = f"3 V{checksum >> 1 or 1} N{self._messages + 1}"
            file.seek(0)
            file.write(header.ljust(_UIDS_HEADER).encode())
        path.with_suffix(".new").replace(path)
        self._written.append(path)

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def write_subscriptions(root: Path, names: list[str]) -> None:
    """The file in which Dovecot has the names that are subscribed to (its version 2)."""
    lines = [
        "\t".join(mutf7.encode(_escaped(level)).decode("ascii") for level in name.split("/"))
        for name in names
    ]
    replace_file(root / "subscriptions", "\n".join(["V\t2", "", *lines, ""]).encode())


def remove_maildir(root: Path, directory: str) -> None:
    """Remove what a writer made of a folder."""
    folder = root / directory if directory else root
    for name in ("cur", "new", "tmp"):
        if (folder / name).is_dir():
            for path in (folder / name).iterdir():
                path.unlink()
            (folder / name).rmdir()
    for name in (INDEX, KEYWORDS, UIDS, "maildirfolder"):
        (folder / name).unlink(missing_ok=True)
    if directory and folder.is_dir():
        folder.rmdir()


def read_keywords(folder: Path) -> list[str]:
    """Keywords by their letters; "" where a letter has none."""
    found: dict[int, str] = {}
    for line in read_list(folder / KEYWORDS):
        number, _, name = line.partition(" ")
        if number.isdecimal() and int(number) < MOST_KEYWORDS and name:
            found[int(number)] = name
    return [found.get(number, "") for number in range(max(found, default=-1) + 1)]


def unique_part(name: str) -> str:
    """What stays of a file's name when its flags change."""
    return name.partition(":2,")[0]


def letters_of(name: str) -> str:
    """The letters of its flags."""
    return name.partition(":2,")[2]


def flags_of(letters: str) -> int:
    """System flags of the letters of a file's name."""
    return sum(bit for letter, bit in LETTERS.items() if letter in letters)


def indexed_files(folder: Path) -> Iterator[tuple[Entry, Path | None]]:
    """What the index lists, with the files as they are named now; None: gone."""
    names = {
        unique_part(path.name): path
        for sub in ("new", "cur")
        for path in listing(folder / sub).files
    }
    for entry in entries(folder / INDEX):
        if entry.file is None:
            raise BackupDamaged("a line of the index does not say which file it is of")
        yield entry, names.get(unique_part(entry.file))
