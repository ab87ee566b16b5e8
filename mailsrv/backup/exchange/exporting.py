"""Taking a mailbox away as mbox, Maildir++ or .eml files, in bounded memory, and resumed.

Until the export is whole a file in it says how far it is: what is done was put on disk before.
Given again, a folder that has not changed since goes on after its last message that is on disk; one
that did change is written anew. So the result is the mailbox of one moment, that of the last run.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from mailsrv.backup.exchange.formats import maildir
from mailsrv.backup.exchange.formats.index import (
    MANIFEST,
    FolderEntry,
    Format,
    Manifest,
    replace_file,
    sync_files,
    write_manifest,
)
from mailsrv.backup.exchange.formats.layouts import LAYOUTS
from mailsrv.backup.exchange.formats.values import FolderWriter, Mail, Position
from mailsrv.errors import InvalidInput, MailboxBusy
from mailsrv.mailbox.outgoing import View
from mailsrv.mailbox.values import Folder
from mailsrv.store.volume import naming, sync_folder

PARTIAL = "mailsrv-export.partial"
"""The file that says how far an export is."""

MESSAGES_AT_ONCE = 10_000
OCTETS_AT_ONCE = 64 * 1024 * 1024
SECONDS_AT_ONCE = 5.0
"""After so much what was written is put on disk and noted: so much is written again at most."""


class Done(msgspec.Struct, frozen=True):
    """How far one folder is; the first four tell whether it is still the same."""

    path: str
    object_id: str
    uidvalidity: int
    modseq: int
    uid: int = 0
    position: Position = Position()
    whole: bool = False

    def is_of(self, folder: Folder, path: str) -> bool:
        """Whether nothing in the folder has changed since."""
        return (self.path, self.object_id, self.uidvalidity, self.modseq) == (
            path,
            folder.object_id,
            folder.uidvalidity,
            folder.highestmodseq,
        )


class _State(msgspec.Struct):
    format: Format
    folders: dict[str, Done] = {}
    mailsrv_export: Literal[1] = 1


class Exported(msgspec.Struct, frozen=True):
    """What an export holds. ``octets`` are those of the messages that this run wrote."""

    folders: int
    messages: int
    octets: int


Progress = Callable[[str, int, int], None]
"""Hears of each message: its folder, how many of the mailbox are done, octets written."""


class Export:
    """One run. Blocking."""

    def __init__(self, root: Path, form: Format, progress: Progress) -> None:
        self._root = root
        self._layout = LAYOUTS[form]
        self._progress = progress
        self._state = _State(form)
        self._messages = 0
        self._octets = 0
        self._unsynced: dict[Path, None] = {}
        self._noted = (0, 0, 0.0)

    def run(self, view: View) -> Exported:
        """Write everything. InvalidInput for a directory that is not ours, MailboxBusy.

        What the operating system refuses is DiskFull, ReadOnlyVolume or StorageFailed.
        """
        with naming(self._root), self._held():
            folders = view.folders()
            paths = self._layout.paths([one.name for one in folders])
            self._forget_others(paths)
            self._begin_folders(folders, paths)
            for folder in folders:
                self._folder(view, folder)
            self._note()
            self._finish(view, folders, paths)
        return Exported(len(folders), self._messages, self._octets)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Make the directory ours alone, and read how far it is."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MailboxBusy(f"{self._root}: another export writes there") from None
            self._begin()
            yield
        finally:
            os.close(descriptor)

    def _begin(self) -> None:
        names = {path.name for path in self._root.iterdir()} - {f"{PARTIAL}.new"}
        if MANIFEST in names:
            (self._root / PARTIAL).unlink(missing_ok=True)  # a run that was killed at its very end
            raise InvalidInput(
                f"{self._root}: this export is complete; expected an empty directory"
            )
        if not names:
            self._root.chmod(0o700)
            self._note()
            return
        with suppress(FileNotFoundError, msgspec.MsgspecError):
            state = msgspec.json.decode((self._root / PARTIAL).read_bytes(), type=_State)
            if state.format != self._state.format:
                raise InvalidInput(f"{self._root}: expected --format {state.format}, begun so")
            self._state = state
            return
        raise InvalidInput(f"{self._root}: expected an empty directory, or one of a cut export")

    def _forget_others(self, paths: dict[str, str]) -> None:
        for name, done in list(self._state.folders.items()):
            if paths.get(name) != done.path:
                self._layout.remove(self._root, done.path)
                del self._state.folders[name]

    def _begin_folders(self, folders: list[Folder], paths: dict[str, str]) -> None:
        """Keep what is still true; noted before anything is there, so that it can be removed."""
        known = self._state.folders
        for folder in folders:
            path = paths[folder.name]
            done = known.get(folder.name)
            if done is None or not done.is_of(folder, path):
                if done is not None:
                    self._layout.remove(self._root, path)
                known[folder.name] = Done(
                    path, folder.object_id, folder.uidvalidity, folder.highestmodseq
                )
        self._note()

    def _folder(self, view: View, folder: Folder) -> None:
        done = self._state.folders[folder.name]
        self._messages += done.position.messages
        if done.whole:
            return
        writer = self._layout.writer(self._root, done.path, done.position)
        try:
            self._write(view, folder, writer)
        finally:
            writer.close()

    def _write(self, view: View, folder: Folder, writer: FolderWriter) -> None:
        for one in view.messages(folder.id, self._state.folders[folder.name].uid):
            writer.add(Mail(one.content, one.flags, one.internal_date), one.sha256)
            self._messages += 1
            self._octets += len(one.content)
            self._progress(folder.name, self._messages, self._octets)
            if self._is_due():
                self._done(folder.name, writer, uid=one.uid)
                self._note()
        position = writer.flush()
        writer.finish()
        self._done(folder.name, writer, whole=True, position=position)
        if self._is_due():
            self._note()

    def _done(self, name: str, writer: FolderWriter, **changes: Any) -> None:
        """True of what is on disk at the next note, and no earlier."""
        changes.setdefault("position", writer.flush())
        done = self._state.folders[name]
        self._state.folders[name] = msgspec.structs.replace(done, **changes)
        self._unsynced.update(dict.fromkeys(writer.written()))

    def _is_due(self) -> bool:
        messages, octets, moment = self._noted
        return (
            self._messages - messages >= MESSAGES_AT_ONCE
            or self._octets - octets >= OCTETS_AT_ONCE
            or time.monotonic() - moment >= SECONDS_AT_ONCE
        )

    def _note(self) -> None:
        sync_files(list(self._unsynced))
        self._unsynced.clear()
        self._noted = (self._messages, self._octets, time.monotonic())
        replace_file(self._root / PARTIAL, msgspec.json.encode(self._state))

    def _finish(self, view: View, folders: list[Folder], paths: dict[str, str]) -> None:
        names = {one.name for one in folders}
        subscriptions = view.subscriptions()
        if self._state.format == "maildir":
            maildir.write_subscriptions(self._root, subscriptions)
        entries = [
            FolderEntry(
                name=one.name,
                path=paths[one.name],
                special_use=one.special_use,
                subscribed=one.subscribed,
                messages=one.messages,
            )
            for one in folders
        ]
        write_manifest(
            self._root,
            Manifest(
                format=self._state.format,
                folders=entries,
                subscriptions=[name for name in subscriptions if name not in names],
            ),
        )
        (self._root / PARTIAL).unlink()
        sync_folder(self._root)
