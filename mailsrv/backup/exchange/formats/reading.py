"""Reading directories that somebody else laid out: regular files only, and never past a link.

Who imports may be allowed to read more than who made the files, so a link in there could bring
another one's secrets into a mailbox, and a pipe or a device would never end. The directory or file
that was named in the command may itself be reached by a link.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

LONGEST_LIST = 64 * 1024 * 1024
"""Octets of a file that mail programs keep beside the mail: lists of UIDs, subscriptions."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINK = "is a link, and was not followed"
_OTHER = "is neither a file nor a directory"


class NotRead(Exception):
    """Why a file is not read; the text begins with its name."""


class Listing(NamedTuple):
    """What is in a directory, by name; ``left`` says what of it is not looked into, and why."""

    folders: list[Path]
    files: list[Path]
    left: list[str]


def listing(directory: Path) -> Listing:
    """Look into a directory; one that cannot be read is empty, and said to be so."""
    found = Listing([], [], [])
    try:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                path = directory / entry.name
                if entry.is_symlink():
                    found.left.append(f"{entry.name} {_LINK}")
                elif entry.is_dir():
                    found.folders.append(path)
                elif entry.is_file():
                    found.files.append(path)
                else:
                    found.left.append(f"{entry.name} {_OTHER}")
    except OSError as error:
        found.left.append(f"{directory.name}: {error.strerror}")
    return found


def is_folder(path: Path) -> bool:
    """Whether it is a directory, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def open_file(path: Path) -> BinaryIO:
    """Open a regular file. FileNotFoundError, NotRead."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotRead(
            f"{path.name} {_LINK}" if path.is_symlink() else _failed(path, error)
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRead(f"{path.name} {_OTHER}")
    return os.fdopen(descriptor, "rb")


class Contents(NamedTuple):
    """Octets of a file, and when they were changed: seconds since 1970."""

    octets: bytes
    changed: float


def read_file(path: Path, largest: int) -> Contents:
    """A file of up to ``largest`` octets. FileNotFoundError, NotRead."""
    with open_file(path) as file:
        try:
            status = os.fstat(file.fileno())
            # no more than there is, since so much memory is taken beforehand
            octets = file.read(min(status.st_size, largest) + 1)
        except OSError as error:
            raise NotRead(_failed(path, error)) from None
    if len(octets) > largest:
        raise NotRead(f"{path.name} is larger than {largest} octets")
    return Contents(octets, status.st_mtime)


def read_list(path: Path) -> list[str]:
    """Lines of a text file; none where it is not there or not to be read."""
    try:
        return read_file(path, LONGEST_LIST).octets.decode("utf-8", "replace").splitlines()
    except (FileNotFoundError, NotRead):
        return []


def _failed(path: Path, error: OSError) -> str:
    return f"{path.name}: {error.strerror}"
