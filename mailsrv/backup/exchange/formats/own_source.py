"""Our own exports read back: all of a mailbox, each message compared with what the index says."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailsrv.backup.exchange.formats import eml, maildir, mbox
from mailsrv.backup.exchange.formats.eml_source import is_eml, read_eml
from mailsrv.backup.exchange.formats.index import Entry, FolderEntry, Manifest, entries
from mailsrv.backup.exchange.formats.layouts import levels_of
from mailsrv.backup.exchange.formats.maildir_source import read_maildir
from mailsrv.backup.exchange.formats.mbox_source import read_mbox
from mailsrv.backup.exchange.formats.values import Found, MailFolder, Skipped
from mailsrv.errors import BackupDamaged


class OwnSource:
    """A directory with the manifest of an export."""

    whole = True

    def __init__(self, root: Path, manifest: Manifest, largest: int) -> None:
        self._root = root
        self._manifest = manifest
        self._largest = largest

    def folders(self) -> Sequence[MailFolder]:
        """All folders of the mailbox that it was."""
        return [
            MailFolder(one.name, one.special_use, one.subscribed, one.messages)
            for one in self._manifest.folders
        ]

    def subscriptions(self) -> Sequence[str]:
        """Subscribed names of folders that were not there."""
        return self._manifest.subscriptions

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages. What another program changed is taken as it is, and told. BackupDamaged."""
        read = {"mbox": self._mbox, "maildir": self._maildir, "eml": self._eml}
        for folder in self._manifest.folders:
            try:
                yield from read[self._manifest.format](folder)
            except FileNotFoundError as error:
                raise BackupDamaged(f"{error.filename}: a file of this export is missing") from None

    def close(self) -> None:
        """Nothing stays open."""

    def _mbox(self, folder: FolderEntry) -> Iterator[Found | Skipped]:
        levels = levels_of(folder.path)
        if not mbox.is_as_indexed(self._root, levels):
            yield Skipped(folder.name, "was changed by another program: read without its index")
            yield from read_mbox(mbox.mbox_path(self._root, levels), folder.name, self._largest)
            return
        for number, (entry, content) in enumerate(mbox.indexed_messages(self._root, levels), 1):
            yield from self._checked(folder.name, f"message {number}", entry, content)

    def _maildir(self, folder: FolderEntry) -> Iterator[Found | Skipped]:
        directory = self._root.joinpath(*levels_of(folder.path))
        for entry, letters, content in maildir.indexed_messages(self._root, folder.path):
            flags = None if letters is None else maildir.flags_of(letters)
            yield from self._checked(folder.name, entry.file or "", entry, content, flags)
        known = frozenset(
            maildir.unique_part(one.file or "") for one in entries(directory / maildir.INDEX)
        )
        yield from read_maildir(directory, folder.name, self._largest, known)

    def _eml(self, folder: FolderEntry) -> Iterator[Found | Skipped]:
        levels = levels_of(folder.path)
        known = set()
        for entry, content in eml.indexed_messages(self._root, levels):
            known.add(entry.file)
            yield from self._checked(folder.name, entry.file or "", entry, content)
        for path in sorted(self._root.joinpath(*levels).iterdir()):
            if is_eml(path) and path.name not in known:
                yield read_eml(path, folder.name, self._largest)

    def _checked(
        self, folder: str, what: str, entry: Entry, content: bytes | None, flags: int | None = None
    ) -> Iterator[Found | Skipped]:
        if content is None:
            yield Skipped(folder, f"{what} was removed by another program")
            return
        if entry.size > self._largest:
            yield Skipped(folder, f"{what} is larger than {self._largest} octets")
            return
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            yield Skipped(folder, f"{what} is not what was exported: taken as it is now")
        yield Found(folder, entry.mail(content, flags))
