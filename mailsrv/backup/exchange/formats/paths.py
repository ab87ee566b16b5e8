"""Names of folders as names of files: safe on every file system, and to be read back.

A level of a folder's name becomes one directory name. Octets of UTF-8 that some file system
refuses, or reads otherwise, stand as ``%XX``: separators and wildcards, control characters, a dot
at the beginning, a dot or blank at the end, the names of devices on Windows and of the export's own
files, and "%" itself. Where two siblings differ only in case, or in how their letters are composed,
all letters of the later one do. What is too long is cut and ends in ``%~`` and a digest; the
manifest has its whole name.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

LEVEL_OCTETS = 200
"""Octets of one level; file systems allow 255, and endings are put to it."""

PATH_OCTETS = 900
"""Octets of all levels together."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f%/\\:*?"<>|\ud800-\udfff]')
_TAKEN = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9]|mailsrv-export)(?:\.|\Z)", re.IGNORECASE)
_ENDING = re.compile(r"\.(?=(?:sbd|mbox|jsonl|eml|msf)\Z)", re.IGNORECASE)
_CUT = "%~"


def paths(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each folder's name the names of directories, one a level; no two are alike."""
    known: dict[str, tuple[str, ...]] = {"": ()}
    taken: dict[tuple[tuple[str, ...], str], str] = {}
    for name in sorted(names, key=lambda one: (one.count("/"), one)):
        levels = name.split("/")
        for depth in range(1, len(levels) + 1):
            above, here = "/".join(levels[: depth - 1]), "/".join(levels[:depth])
            if here not in known:
                level = _level(known[above], levels[depth - 1], taken)
                known[here] = (*known[above], level)
    return {name: _short(name, known[name]) for name in names}


def level_of(encoded: str) -> str:
    """The level that a directory's name stands for; one that was cut stays as it is."""
    if _CUT in encoded:
        return encoded
    return unquote_to_bytes(encoded).decode("utf-8", "replace")


def _level(
    above: tuple[str, ...], level: str, taken: dict[tuple[tuple[str, ...], str], str]
) -> str:
    for encoded in (_cut(level, _encoded(level)), _cut(level, _all_encoded(level))):
        key = (above, unicodedata.normalize("NFD", encoded).casefold())
        if taken.setdefault(key, level) == level:
            return encoded
    return f"{_CUT}{_digest(level)}"


def _encoded(level: str) -> str:
    text = _UNSAFE.sub(_escape, level)
    text = _ENDING.sub(_escape, text)
    if text.startswith(".") or _TAKEN.match(text):
        text = _octets(text[0]) + text[1:]
    if text.endswith((".", " ")):
        text = text[:-1] + _octets(text[-1])
    return text


def _all_encoded(level: str) -> str:
    return _octets(level)


def _escape(match: re.Match[str]) -> str:
    return _octets(match.group())


def _octets(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode("utf-8", "surrogatepass"))


def _cut(level: str, encoded: str) -> str:
    raw = encoded.encode("utf-8", "surrogatepass")
    if len(raw) <= LEVEL_OCTETS:
        return encoded
    kept = raw[: LEVEL_OCTETS - 2 - 24].decode("utf-8", "ignore")
    kept = re.sub(r"%[0-9A-F]?\Z", "", kept)
    return f"{kept}{_CUT}{_digest(level)}"


def _short(name: str, levels: tuple[str, ...]) -> tuple[str, ...]:
    if sum(len(level.encode()) + 5 for level in levels) <= PATH_OCTETS:
        return levels
    return (f"{_CUT}{_digest(name)}",)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
