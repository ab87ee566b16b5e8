"""Which kind of source a path is, told by what is there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mailsrv.backup.exchange.exporting import PARTIAL
from mailsrv.backup.exchange.formats.eml_source import EmlSource, has_eml, is_eml
from mailsrv.backup.exchange.formats.index import read_manifest
from mailsrv.backup.exchange.formats.maildir_source import MaildirSource, is_maildir
from mailsrv.backup.exchange.formats.mbox_source import MboxSource, is_mbox
from mailsrv.backup.exchange.formats.own_source import OwnSource
from mailsrv.backup.exchange.formats.reading import NotRead, listing
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped, Source
from mailsrv.errors import InvalidInput
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.outgoing import snapshot

_ENCRYPTED = bytes.fromhex("1000020220402020")
"""Octets 16 to 23 of a mailbox file, in clear: page size and constants of SQLite."""


class MailboxSource:
    """Another mailbox file, which is open: a backup, or one that was exported as it is."""

    whole = True

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        with snapshot(mailbox) as view:
            self._folders = view.folders()
            self._subscriptions = view.subscriptions()

    def folders(self) -> Sequence[MailFolder]:
        """All of its folders."""
        return [
            MailFolder(one.name, one.special_use, one.subscribed, one.messages)
            for one in self._folders
        ]

    def subscriptions(self) -> Sequence[str]:
        """Subscribed names of folders that are not there."""
        names = {one.name for one in self._folders}
        return [name for name in self._subscriptions if name not in names]

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages, as they are in one moment. MailboxDamaged."""
        with snapshot(self._mailbox) as view:
            for folder in self._folders:
                for one in view.messages(folder.id):
                    mail = Mail(one.content, one.flags, one.internal_date)
                    yield Found(folder.name, mail)

    def close(self) -> None:
        """Close the file."""
        self._mailbox.close()


def is_mailbox(path: Path) -> bool:
    """Whether a file looks like an encrypted mailbox."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(24)[16:] == _ENCRYPTED


def open_source(path: Path, largest: int) -> Source:
    """The source at a path: an export, a Maildir, mbox files, .eml files. InvalidInput.

    Messages of more than ``largest`` octets are not read, and told.
    """
    if not path.exists():
        raise InvalidInput(f"{path}: there is no such file or directory")
    if path.is_dir():
        return _directory(path, largest)
    if is_eml(path):
        return EmlSource(path, largest)
    try:
        if is_mbox(path.resolve()):
            return MboxSource(path, largest)
    except NotRead as error:
        raise InvalidInput(f"{path}: {error}") from None
    raise InvalidInput(f"{path}: expected a mailbox, an mbox file or an .eml file")


def _directory(path: Path, largest: int) -> Source:
    manifest = read_manifest(path)
    if manifest is not None:
        return OwnSource(path, manifest, largest)
    if (path / PARTIAL).exists():
        raise InvalidInput(f"{path}: this export was cut short; give its command again first")
    if any(map(is_maildir, (path, *listing(path).folders))):
        return MaildirSource(path, largest)
    source = MboxSource(path, largest)
    if not source.is_empty:
        return source
    if has_eml(path):
        return EmlSource(path, largest)
    raise InvalidInput(f"{path}: expected an export, a Maildir, mbox files or .eml files")
