"""Erase an alias: files, waiting mail and backups go, then the note that they had to.

Every step may be repeated: who is killed anywhere leaves the directory's note (``erasures``), and
whoever finds it begins anew. What nobody lets us remove now keeps the note, too.
"""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

import attrs

from mailsrv.backup.daily import turns
from mailsrv.backup.interfaces import IObjectStore, StoredObject
from mailsrv.backup.layout import of_alias
from mailsrv.backup.shipping import uploads
from mailsrv.backup.stores import BackupStores
from mailsrv.directory.directory import Alias, Directory, Erasure
from mailsrv.errors import BackupStoreFailed, MailboxBusy, MailsrvError, Unavailable
from mailsrv.store.volume import Volume, naming
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import log_unexpected

LOCK = "erasing"
"""One erasure at a time on a volume: who counts what goes shall not share it with another."""

LEFTOVER_AGE = timedelta(days=1)
"""A transfer that began so long ago is not under way any more."""

TURN_PATIENCE = 5.0
"""Seconds to wait for a backup of the alias, or changes of it, that are on their way."""

_AT_ONCE = 1000
"""Objects that are listed, then removed: no store of objects lists more in one answer."""


@attrs.frozen
class Removed:
    """So many files or objects, of so many octets in all."""

    count: int = 0
    octets: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.count + other.count, self.octets + other.octets)


@attrs.frozen
class RemovedBackups:
    """``store`` says where they were."""

    store: str
    removed: Removed


@attrs.frozen
class Erased:
    """What one primary has removed of an alias, and why something may be left."""

    address: str
    mailboxes: Removed = Removed()
    """Files of all states; their octets with those of the logs beside them."""

    waiting: Removed = Removed()
    messages: int = 0
    """Messages that waited for the owner in the ``waiting`` files."""

    shipping: Removed = Removed()
    """Changes that were on their way to the backups."""

    backups: tuple[RemovedBackups, ...] = ()
    problems: tuple[str, ...] = ()
    """What stands in the way of the rest; it is tried again later."""

    elsewhere: tuple[str, ...] = ()
    """Primaries that have not done their part yet."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left here."""
        return not self.problems


Stores = Callable[[Erasure], Iterable[IObjectStore]]
"""Where backups of an alias may be."""


def stores_of(backups: Callable[[], BackupStores]) -> Stores:
    """The configured store, and the own bucket of the domain: some backups were made before it
    had one. ``backups`` is asked each time."""

    def stores(erasure: Erasure) -> Iterator[IObjectStore]:
        known = backups()
        if known.default is not None:
            yield known.default
        # last, since this server may not know its secret
        own = known.of_domain(erasure.domain)
        if own is not None and own is not known.default:
            yield own

    return stores


class Erasing:
    """Blocking, for worker threads and the command line, beside a server or without one.

    ``primary`` is the name of the one that the volume belongs to.
    """

    def __init__(
        self,
        directory: Directory,
        volume: Volume,
        files: WaitingFiles,
        stores: Stores,
        now: Callable[[], datetime],
        primary: str,
    ) -> None:
        self._directory = directory
        self._volume = volume
        self._files = files
        self._stores = stores
        self._now = now
        self._primary = primary
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let what is under way end soon; the rest stays for later. Any thread."""
        self._stopping.set()

    def erase(self, alias: Alias, patience: float) -> Erased:
        """Take a deleted alias out of the directory and remove what is here of it.

        MailboxMoved when it was undeleted meanwhile, NoSuchAlias; MailboxBusy when another erasure
        takes longer than ``patience`` seconds.
        """
        with self._alone(patience):
            return self._erase(alias)

    def erase_now(self, alias_id: str, patience: float) -> Erased:
        """The same with an alias that need not be deleted yet. NoSuchAlias, MailboxBusy."""
        with self._alone(patience):
            return self._erase(self._directory.mark_deleted(alias_id))

    def resume(self, erasure: Erasure, patience: float) -> Erased | None:
        """Go on with what was begun. None when somebody else has finished it meanwhile.

        MailboxBusy as above.
        """
        with self._alone(patience):
            if erasure not in self._directory.erasures(self._primary):
                return None
            return self._carry_out(erasure)

    def _erase(self, alias: Alias) -> Erased:
        self._directory.delete_alias(alias.id, alias.deleted)
        mine = [
            one for one in self._directory.erasures_of(alias.id) if one.primary == self._primary
        ]
        if mine:
            return self._carry_out(mine[0])
        return Erased(alias.address, elsewhere=self._elsewhere(alias.id))

    @contextmanager
    def _alone(self, patience: float) -> Iterator[None]:
        self._volume.prepare()
        with ExitStack() as stack:
            try:
                stack.enter_context(self._volume.exclusive(LOCK, patience))
            except MailboxBusy:
                raise MailboxBusy("another address is being erased: try again later") from None
            yield

    def _carry_out(self, erasure: Erasure) -> Erased:
        run = _Run(self._directory, self._volume, self._files, erasure, self._now, self._stopping)
        run.local()
        run.remote(self._stores)
        if not run.problems:
            self._directory.finish_erasure(erasure)
        return attrs.evolve(run.erased(), elsewhere=self._elsewhere(erasure.alias))

    def _elsewhere(self, alias: str) -> tuple[str, ...]:
        left = self._directory.erasures_of(alias)
        return tuple(one.primary for one in left if one.primary != self._primary)


class _Run:
    """One attempt, which goes on with the next step where one fails."""

    def __init__(
        self,
        directory: Directory,
        volume: Volume,
        files: WaitingFiles,
        erasure: Erasure,
        now: Callable[[], datetime],
        stopping: threading.Event,
    ) -> None:
        self._directory = directory
        self._volume = volume
        self._files = files
        self._erasure = erasure
        self._now = now
        self._stopping = stopping
        self._mailboxes = self._waiting = self._shipping = Removed()
        self._messages = 0
        self._backups: list[RemovedBackups] = []
        self.problems: list[str] = []

    def erased(self) -> Erased:
        return Erased(
            address=self._erasure.address,
            mailboxes=self._mailboxes,
            waiting=self._waiting,
            messages=self._messages,
            shipping=self._shipping,
            backups=tuple(self._backups),
            problems=tuple(self.problems),
        )

    def local(self) -> None:
        """What is on the volume."""
        self._try(self._remove_files)
        for public_key in self._erasure.public_keys:
            self._try(partial(self._remove_waiting, public_key))

    def remote(self, stores: Stores) -> None:
        """What is in stores of backups."""
        self._try(partial(self._remove_backups, stores))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except MailsrvError as error:
            self.problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - the rest is not to wait for it
            log_unexpected(error)
            self.problems.append(f"unexpected {type(error).__name__}, see the log")

    def _remove_files(self) -> None:
        for file_id in self._erasure.files:
            self._shipping += _remove_folder(uploads(self._volume).mailboxes / file_id)
            self._mailboxes += _measure([self._volume.mailbox(file_id)])
            self._volume.remove_mailbox(file_id)
        if not self._directory.forget_erased_files(self._erasure):
            raise Unavailable("a move of the mailbox is yet to be undone by the server")

    def _remove_waiting(self, public_key: bytes) -> None:
        paths = [self._volume.waiting(public_key), self._volume.set_aside(public_key)]
        with self._files.locked(public_key):
            if self._directory.needs_waiting_mail(public_key, self._erasure.primary):
                return
            messages = self._count(public_key)
            removed = _measure(paths)
            self._files.remove(public_key)
        self._messages += messages
        self._waiting += removed

    def _count(self, public_key: bytes) -> int:
        found = 0
        for path, open_ in (
            (self._volume.waiting(public_key), self._files.open),
            (self._volume.set_aside(public_key), self._files.open_aside),
        ):
            try:
                if path.exists():
                    with open_(public_key) as waiting:
                        found += waiting.count()
            except MailsrvError:  # it goes, whether it can be read or not
                continue
        return found

    def _remove_backups(self, stores: Stores) -> None:
        with ExitStack() as stack:
            self._try(partial(self._take_turn, stack))
            self._try(partial(self._stop_shipping, stack))
            for store in stores(self._erasure):
                self._try(partial(self._remove_objects, store))

    def _take_turn(self, stack: ExitStack) -> None:
        """Nothing must be on its way to a store when that was emptied for the last time."""
        held = turns(self._volume)
        held.prepare()
        try:
            stack.enter_context(held.exclusive(self._erasure.alias, TURN_PATIENCE))
        except MailboxBusy:
            raise MailboxBusy("a backup of it is being made: it is removed later") from None

    def _stop_shipping(self, stack: ExitStack) -> None:
        """The same for changes that are shipped."""
        held = uploads(self._volume)
        if not held.mailboxes.is_dir():
            return
        for what in ("log", "base"):
            try:
                stack.enter_context(held.exclusive(f"{self._erasure.alias}-{what}", TURN_PATIENCE))
            except MailboxBusy:
                raise MailboxBusy("changes are on their way: they are removed later") from None

    def _remove_objects(self, store: IObjectStore) -> None:
        total = Removed()
        try:
            for part in remove_objects(store, self._erasure.alias):
                total += part
                if self._stopping.is_set():
                    raise Unavailable("the server is shutting down")
            # what a crash left of transfers, and the folders that it stood in; of this alias all,
            # whatever the clock of the store says
            store.tidy(self._now() + LEFTOVER_AGE, of_alias(self._erasure.alias))
            store.tidy(self._now() - LEFTOVER_AGE)
        finally:
            self._backups.append(RemovedBackups(str(store), total))


def remove_objects(store: IObjectStore, alias: str) -> Iterator[Removed]:
    """Remove all backups of an alias (ObjectID) from a store, in parts. BackupStoreFailed.

    Manifests first: what has none is no backup any more.
    """
    prefix = of_alias(alias)
    yield _remove(store, [one for one in store.list(prefix) if one.name.endswith(".json")])
    last: list[StoredObject] = []
    while found := list(islice(store.list(prefix), _AT_ONCE)):
        if found == last:
            raise BackupStoreFailed(f"{store}: objects are still there after they were removed")
        yield _remove(store, found)
        last = found


def _remove(store: IObjectStore, found: Sequence[StoredObject]) -> Removed:
    if found:
        store.remove(one.name for one in found)
    return Removed(len(found), sum(one.octets for one in found))


def _measure(paths: Iterable[Path]) -> Removed:
    """How many of these files there are; their octets with what SQLite put beside them."""
    count = octets = 0
    for path in paths:
        count += path.exists()
        for suffix in ("", "-wal", "-shm", "-journal"):
            octets += _size(Path(f"{path}{suffix}"))
    return Removed(count, octets)


def _remove_folder(folder: Path) -> Removed:
    with naming(folder):
        if not folder.is_dir():
            return Removed()
        sizes = [_size(path) for path in folder.rglob("*") if path.is_file()]
        shutil.rmtree(folder)
    return Removed(len(sizes), sum(sizes))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
