"""What all formats read and write: folders and messages as plain values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from mailsrv.mailbox.values import Flags


class Mail(msgspec.Struct, frozen=True):
    """One message. ``date`` is its internal date, ISO 8601 UTC text."""

    content: bytes
    flags: Flags
    date: str


class MailFolder(msgspec.Struct, frozen=True):
    """A folder of a source or a target: name with "/" between levels, special use, subscription.

    ``messages`` is how many it has, None where that is not known before reading.
    """

    name: str
    special_use: str | None = None
    subscribed: bool = True
    messages: int | None = None


class Found(msgspec.Struct, frozen=True):
    """A message of a source, in one of its folders.

    ``mark`` is (name, number) where the source numbers its messages in ascending order.
    ``unless_known``: only if no folder has it, since it stands in another one of the source too.
    """

    folder: str
    mail: Mail
    mark: tuple[str, int] | None = None
    unless_known: bool = False


class Skipped(msgspec.Struct, frozen=True):
    """Something of a source that was not taken, or not as it stands, and why."""

    folder: str
    what: str


class Source(Protocol):
    """Where mail comes from. Messages come in a steady order, a few at a time in memory."""

    whole: bool
    """It tells all of a mailbox, as our own exports do: what it does not have is not there."""

    def folders(self) -> Sequence[MailFolder]:
        """Those that are known before reading."""

    def subscriptions(self) -> Sequence[str]:
        """Subscribed names of folders that are not there."""

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages, folder by folder."""

    def close(self) -> None:
        """Close what is open."""


class Position(NamedTuple):
    """How far a folder was written: messages, octets of its files."""

    messages: int = 0
    octets: int = 0
    index_octets: int = 0


class FolderWriter(Protocol):
    """Writes one folder of an export, message by message."""

    def add(self, mail: Mail, sha256: bytes) -> None:
        """Write one message."""

    def flush(self) -> Position:
        """Let others see what was written; how far it is."""

    def written(self) -> list[Path]:
        """The files that were written to since this was asked last, and may not be on disk."""

    def finish(self) -> None:
        """Write what needs all messages to be there, after the last ``flush``."""

    def close(self) -> None:
        """Close the files."""
