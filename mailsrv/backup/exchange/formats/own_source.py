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
from mailsrv.backup.exchange.formats.reading import NotRead, listing, read_file
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
                yield from read[self._manifest.format](folder, levels_of(folder.path))
            except FileNotFoundError as error:
                raise BackupDamaged(f"{error.filename}: a file of this export is missing") from None
            except NotRead as error:
                raise BackupDamaged(f"{folder.path}: {error}") from None

    def close(self) -> None:
        """Nothing stays open."""

    def _mbox(self, folder: FolderEntry, levels: tuple[str, ...]) -> Iterator[Found | Skipped]:
        self._below(levels[:-1])
        if not mbox.is_as_indexed(self._root, levels):
            yield Skipped(folder.name, "was changed by another program: read without its index")
            yield from read_mbox(mbox.mbox_path(self._root, levels), folder.name, self._largest)
            return
        indexed = mbox.indexed_messages(self._root, levels, self._largest)
        for number, (entry, content) in enumerate(indexed, 1):
            what = f"message {number}"
            if content is None:
                yield Skipped(folder.name, f"{what} is larger than {self._largest} octets")
            else:
                yield from _checked(folder.name, what, entry, content)

    def _maildir(self, folder: FolderEntry, levels: tuple[str, ...]) -> Iterator[Found | Skipped]:
        directory = self._below(levels)
        for sub in ("cur", "new"):
            self._below((*levels, sub))
        for entry, path in maildir.indexed_files(directory):
            flags = None if path is None else maildir.flags_of(maildir.letters_of(path.name))
            yield from self._file(folder.name, entry, path, flags)
        known = frozenset(
            maildir.unique_part(one.file or "") for one in entries(directory / maildir.INDEX)
        )
        yield from read_maildir(directory, folder.name, self._largest, known)

    def _eml(self, folder: FolderEntry, levels: tuple[str, ...]) -> Iterator[Found | Skipped]:
        directory = self._below(levels)
        known = set()
        for entry, path in eml.indexed_files(directory):
            known.add(entry.file)
            yield from self._file(folder.name, entry, path)
        for path in listing(directory).files:
            if is_eml(path) and path.name not in known:
                yield read_eml(path, folder.name, self._largest)

    def _below(self, levels: tuple[str, ...]) -> Path:
        """The directory of these levels. BackupDamaged where a link leads elsewhere."""
        path = self._root
        for level in levels:
            path = path / level
            if path.is_symlink():
                raise BackupDamaged(f"{path}: expected a directory of the export, and no link")
        return path

    def _file(
        self, folder: str, entry: Entry, path: Path | None, flags: int | None = None
    ) -> Iterator[Found | Skipped]:
        what = entry.file or ""
        octets: bytes | None = None
        try:
            if path is not None:
                octets, _ = read_file(path, self._largest)
        except FileNotFoundError:
            pass
        except NotRead as error:
            yield Skipped(folder, str(error))
            return
        if octets is None:
            yield Skipped(folder, f"{what} was removed by another program")
        else:
            yield from _checked(folder, what, entry, octets, flags)


def _checked(
    folder: str, what: str, entry: Entry, content: bytes, flags: int | None = None
) -> Iterator[Found | Skipped]:
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        yield Skipped(folder, f"{what} is not what was exported: taken as it is now")
    yield Found(folder, entry.mail(content, flags))
