"""mbox files of other programs: a file, or a tree of them.

Known ways: mutt and others (Status, X-Status), UW IMAP and Dovecot (X-Keywords), Thunderbird (files
beside directories ``.sbd``, X-Mozilla-Status), Apple Mail (``Name.mbox/mbox``), Google Takeout
(X-Gmail-Labels: one file for all folders). The fields that these programs keep in the message for
themselves are taken out of it: they are no part of what was sent.
"""

import os
import re
from collections.abc import Iterator, Sequence
from email.header import decode_header, make_header
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mailsrv.backup.exchange.formats import mboxrd
from mailsrv.backup.exchange.formats.eml import iso
from mailsrv.backup.exchange.formats.foreign import as_crlf, sent
from mailsrv.backup.exchange.formats.gmail import folder_and_flags
from mailsrv.backup.exchange.formats.paths import level_of
from mailsrv.backup.exchange.formats.reading import NotRead, listing, open_file
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.mailbox.keywords import acceptable
from mailsrv.mailbox.values import ANSWERED, FLAGGED, SEEN, Flags

_LINE = 64 * 1024
_THEIRS = re.compile(
    rb"^(Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|X-Mozilla-Status2?|X-Mozilla-Keys"
    rb"|X-Gmail-Labels|X-GM-THRID)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)\n",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK_AT_THE_END = re.compile(rb"(?:(?<=\n)|\A)\r?\n\Z")
_EXPUNGED = 0x0008
_FORWARDED = 0x1000
_NO_MAIL = (".msf", ".jsonl", ".json", ".dat", ".html", ".plist", ".index", ".partial")


class _Raw(NamedTuple):
    """A message as it stands in the file; ``text`` is None when it was too long."""

    from_line: bytes
    text: bytes | None


class MboxSource:
    """One mbox file for one folder, or a directory of them."""

    whole = False

    def __init__(self, path: Path, largest: int) -> None:
        """``largest`` are the octets of a message above which it is not read."""
        self._largest = largest
        self._left: list[Skipped] = []
        self._files = _files(path, self._left)

    def folders(self) -> Sequence[MailFolder]:
        """One for each file, unless its messages have labels for that."""
        return [MailFolder(name) for name, path in self._files if not _has_labels(path)]

    @property
    def is_empty(self) -> bool:
        """Whether there is no such file."""
        return not self._files

    def subscriptions(self) -> Sequence[str]:
        """None are known."""
        return ()

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages of all files."""
        yield from self._left
        for name, path in self._files:
            try:
                yield from read_mbox(path, name, self._largest)
            except (FileNotFoundError, NotRead) as error:
                yield Skipped(name, str(error))

    def close(self) -> None:
        """Nothing stays open."""


def is_mbox(path: Path) -> bool:
    """Whether a file begins as mbox files do; one that ends so and is empty is one, too.

    FileNotFoundError, NotRead.
    """
    if path.name.startswith(".") or path.suffix.lower() in _NO_MAIL or not path.is_file():
        return False
    with open_file(path) as file:
        start = file.read(5)
    return start == b"From " or (not start and path.suffix.lower() in ("", ".mbox"))


def read_mbox(path: Path, folder: str, largest: int) -> Iterator[Found | Skipped]:
    """All messages of one file. FileNotFoundError, NotRead."""
    with open_file(path) as file:
        changed = iso(os.fstat(file.fileno()).st_mtime)
        for number, raw in enumerate(_split(file, largest), 1):
            if raw.text is None:
                yield Skipped(folder, f"message {number} is larger than {largest} octets")
                continue
            found = _message(raw, folder, changed)
            if found is not None:
                yield found


def _split(file: BinaryIO, largest: int) -> Iterator[_Raw]:
    """The messages of a file. Memory holds one message and one line."""
    from_line, text, octets = b"", bytearray(), 0
    started, blank = False, True
    line = file.readline(_LINE)
    while line:
        following = file.readline(_LINE)
        is_bare = line.strip() == b"From" and not mboxrd.is_field(following)
        if blank and mboxrd.is_separator(line) and not is_bare:
            if started:
                yield _Raw(from_line, _text(text, octets, largest))
            started, from_line, octets = True, line, 0
            text.clear()
        else:
            octets += len(line)
            if octets <= largest:
                text += line
        blank = line in (b"\n", b"\r\n")
        line = following
    if started:
        yield _Raw(from_line, _text(text, octets, largest))


def _text(text: bytearray, octets: int, largest: int) -> bytes | None:
    """Without the blank line that stands before the next From_ line."""
    if octets > largest:
        return None
    return bytes(_BLANK_AT_THE_END.sub(b"", text))


def _message(raw: _Raw, folder: str, changed: str) -> Found | None:
    """None for what is no message: Thunderbird's deleted ones, the first of UW IMAP's files."""
    text = raw.text or b""
    header, end = _header(text)
    theirs = {found[1].decode().lower(): _unfolded(found[2]) for found in _THEIRS.finditer(header)}
    mozilla = _hexadecimal(theirs.get("x-mozilla-status", ""))
    if mozilla & _EXPUNGED or "x-imap" in theirs:
        return None
    content = _THEIRS.sub(b"", header) + text[end:] if theirs else text
    content = as_crlf(mboxrd.from_mbox(content, is_lf=False))
    flags = _flags(theirs, mozilla)
    if "x-gmail-labels" in theirs:
        folder, flags = folder_and_flags(_labels(theirs["x-gmail-labels"]))
    date = mboxrd.from_line_date(raw.from_line) or sent(content) or changed
    return Found(folder, Mail(content, flags, date))


def _header(text: bytes) -> tuple[bytes, int]:
    """The header with its last line's end, and where it ends."""
    found = re.search(rb"^\r?\n", text, re.MULTILINE)
    end = found.start() if found else len(text)
    return text[:end], end


def _flags(theirs: dict[str, str], mozilla: int) -> Flags:
    system = mboxrd.letters_to_flags(theirs.get("status", ""), theirs.get("x-status", ""))
    system |= SEEN * bool(mozilla & 1) | ANSWERED * bool(mozilla & 2) | FLAGGED * bool(mozilla & 4)
    words = [*theirs.get("x-keywords", "").split(), *theirs.get("x-mozilla-keys", "").split()]
    if mozilla & _FORWARDED:
        words.append("$Forwarded")
    return Flags(system, acceptable(words))


def _labels(value: str) -> list[str]:
    try:
        text = str(make_header(decode_header(value)))
    except (ValueError, LookupError):
        text = value
    return [label.strip().strip('"') for label in text.split(",") if label.strip()]


def _unfolded(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "replace").split())


def _has_labels(path: Path) -> bool:
    """Whether the first message has labels of Gmail."""
    try:
        with open_file(path) as file:
            header, _ = _header(file.read(_LINE))
    except (FileNotFoundError, NotRead):
        return False
    return any(found[1].lower() == b"x-gmail-labels" for found in _THEIRS.finditer(header))


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _files(path: Path, left: list[Skipped]) -> list[tuple[str, Path]]:
    if path.is_file():
        return [(_folder_name(path.name), path.resolve())]
    if path.suffix.lower() == ".mbox" and (path / "mbox").is_file():
        return [(_folder_name(path.name), path / "mbox")]
    return sorted(_tree(path, "", left))


def _tree(directory: Path, above: str, left: list[Skipped]) -> Iterator[tuple[str, Path]]:
    found = listing(directory)
    left += [Skipped(above.rstrip("/"), what) for what in found.left]
    for path in found.files:
        name = f"{above}{_folder_name(path.name)}"
        try:
            if is_mbox(path):
                yield name, path
        except (FileNotFoundError, NotRead) as error:
            left.append(Skipped(name, str(error)))
    for path in found.folders:
        name = f"{above}{_folder_name(path.name)}"
        if path.suffix.lower() == ".mbox" and (path / "mbox").is_file():
            yield name, path / "mbox"
        elif not path.name.startswith("."):
            yield from _tree(path, f"{name}/", left)


def _folder_name(file_name: str) -> str:
    for ending in (".mbox", ".sbd", ".mbx"):
        if file_name.lower().endswith(ending) and len(file_name) > len(ending):
            file_name = file_name[: -len(ending)]
            break
    return level_of(file_name)
