"""Carries the captured logs of mailboxes, and copies of the files they belong to, to where backups
are kept.

A mailbox with nobody there does not change: mail waits for it elsewhere. So only those that are
open have anything to ship, and what a crash left. Segments go in their order; a copy of the file
(base) is taken while its owner works, since the frames that are written meanwhile mend it, and
counts from the moment on when all of these are there (``capture``).
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

from mailsrv.backup import chains, layout
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import BaseManifest
from mailsrv.backup.shipping_limits import MIB, ShippingLimits
from mailsrv.backup.troubles import Trouble, Troubles
from mailsrv.errors import (
    BackupStoreFailed,
    DiskFull,
    MailboxBusy,
    MailsrvError,
    Unavailable,
)
from mailsrv.mailbox.blocks import FileReader, blocks_in
from mailsrv.mailbox.wal.capture import BaseEnd, BaseStart
from mailsrv.mailbox.wal.frames import FRAME
from mailsrv.mailbox.wal.keeper import LogKeeper, LogKeepers
from mailsrv.mailbox.wal.spool import State, Waiting
from mailsrv.store.volume import Volume

_DAY = 86_400_000
"""In milliseconds."""

FOLDER = "shipping"
"""In the data directory: captured frames that wait, and locks of who uploads them."""

TRANSIENT_SECONDS = 60.0
"""What others cause by their work is no trouble before the pauses have grown so long."""


def uploads(volume: Volume) -> Volume:
    """Whose locks are held while something is on its way to a store: ALIAS-log, ALIAS-base."""
    return Volume(volume.base, volume.base / FOLDER)


class Shipper:
    """Blocking, any thread; ``seconds`` is a clock that never goes back.

    ``alias_of`` tells whose file (ObjectID) is (None: nobody's now), ``store_of`` where backups of
    an alias are kept (None: nowhere, or it is gone). ``exclusive`` takes a lock (``uploads``):
    whoever erases an alias waits until nothing of it is on its way.
    """

    def __init__(
        self,
        *,
        keepers: LogKeepers,
        mailbox: Callable[[str], Path],
        alias_of: Callable[[str], str | None],
        store_of: Callable[[str], IObjectStore | None],
        now: Callable[[], datetime],
        seconds: Callable[[], float],
        exclusive: Callable[[str], AbstractContextManager[None]],
        limits: ShippingLimits,
    ) -> None:
        self._keepers = keepers
        self._mailbox = mailbox
        self._alias_of = alias_of
        self._store_of = store_of
        self._now = now
        self._exclusive = exclusive
        self._limits = limits
        self._octets: dict[Path, int] = {}
        self._making: LogKeeper | None = None
        self._troubles = Troubles(seconds, limits.first_pause)

    def recover(self) -> None:
        """Take up what an earlier process left, while mailboxes may be in use already."""
        for file_id, spool in self._keepers.spools():
            state, path = spool.load(), self._mailbox(file_id)
            unfinished = state.chain and (state.closed is None or state.writing)
            if unfinished or not path.exists() or spool.waiting():
                self._keepers.of(path)

    def pending(self) -> list[LogKeeper]:
        """Mailboxes to be shipped, or forgotten when there is nothing more to be done."""
        return [keeper for keeper in self._keepers.all() if not self._is_quiet(keeper)]

    def troubles(self) -> list[Trouble]:
        """What the operator has to hear of now."""
        return self._troubles.told()

    def ship(self, keeper: LogKeeper) -> None:
        """Capture what was written to one mailbox and upload it; or wait for its store."""
        what = (keeper.path, "ship")
        if not self._troubles.may_try(what):
            return
        with keeper.uploading:
            try:
                self._ship(keeper)
            except MailboxBusy:
                self._troubles.forget(what)
            except MailsrvError as error:
                self._troubles.failed(what, self._limits.longest_pause)
                self._tell(keeper, "ship", f"changes are not shipped: {error}")
            else:
                self._troubles.forget(what)

    def base_due(self) -> LogKeeper | None:
        """A mailbox that needs a copy of its file, if there is one."""
        for keeper in self._keepers.all():
            due = self._is_due(keeper.state)
            if due and self._troubles.may_try((keeper.path, "base")):
                return keeper
        return None

    def make_base(self, keeper: LogKeeper) -> bool:
        """Copy the file of one mailbox and upload it. False when that failed or was no use.

        One at a time.
        """
        copy = keeper.spool.folder / "base.new"
        what = (keeper.path, "base")
        self._making = keeper
        try:
            made = self._make_base(keeper, copy)
        except (MailsrvError, OSError) as error:
            self._base_failed(keeper, error)
            return False
        finally:
            self._making = None
            copy.unlink(missing_ok=True)
        if made:
            self._troubles.over(what)
        else:
            self._troubles.failed(what, self._limits.longest_base_pause)
        return made

    def tend(self) -> None:
        """Have bases made that are due, and remove what is too old, also of who is not there."""
        now = self._milliseconds()
        for file_id, spool in self._keepers.spools():
            state, path = spool.load(), self._mailbox(file_id)
            if state.prune and now >= state.prune:
                self._prune(self._keepers.of(path))
            elif state.alias and self._is_due(state):
                self._keepers.of(path)

    # Segments

    def _ship(self, keeper: LogKeeper) -> None:
        with keeper.held(self._limits.patience) as capture:
            capture.capture()
            state = capture.state
        waiting = [
            one
            for one in keeper.spool.waiting()
            if one.chain != state.chain or one.number < state.number
        ]
        if waiting:
            waiting = self._upload(keeper, state, waiting)
        if not waiting:
            self._troubles.over((keeper.path, "ship"))
        self._note_shipped(keeper, state, waiting)
        self._octets[keeper.path] = sum(_size(one.path) for one in waiting)
        self._cap(keeper, waiting)
        if not waiting:
            self._let_go(keeper)

    def _is_quiet(self, keeper: LogKeeper) -> bool:
        """Whether it is open, and all that was written is shipped."""
        state = keeper.state
        if not keeper.is_open or keeper.behind or not state.chain:
            return False
        return state.shipped == state.number and self._octets.get(keeper.path) == 0

    def _upload(self, keeper: LogKeeper, state: State, waiting: list[Waiting]) -> list[Waiting]:
        """Those that are left."""
        with self._exclusive(f"{state.alias}-log"):
            store = self._store_of(state.alias)
            if store is None:
                for one in waiting:
                    one.path.unlink(missing_ok=True)
                return []
            if not self._troubles.may_try(id(store)):
                return waiting
            left = list(waiting)
            try:
                for one in waiting:
                    file_id = keeper.path.stem
                    store.put(layout.segment(state.alias, file_id, one.chain, one.number), one.path)
                    one.path.unlink(missing_ok=True)
                    left.remove(one)
            except BackupStoreFailed as error:
                self._troubles.failed(id(store), self._limits.longest_pause)
                self._tell(keeper, "ship", f"changes are not shipped: {error}")
            else:
                self._troubles.over(id(store))
        return left

    def _note_shipped(self, keeper: LogKeeper, state: State, waiting: list[Waiting]) -> None:
        left = [one.number for one in waiting if one.chain == state.chain]
        shipped = min(left, default=state.number)
        if state.chain and state.shipped != shipped:
            with keeper.held() as capture:
                if capture.state.chain == state.chain:
                    capture.update(shipped=shipped)

    def _cap(self, keeper: LogKeeper, waiting: list[Waiting]) -> None:
        """Let no store that is away fill the volume."""
        limits = self._limits
        mine = self._octets[keeper.path]
        if mine <= limits.spool_octets and sum(list(self._octets.values())) <= limits.volume_octets:
            return
        if not mine:
            return
        with keeper.held() as capture:
            capture.break_off("too much of the log waits to be shipped")
        for one in waiting:
            one.path.unlink(missing_ok=True)
        self._octets[keeper.path] = 0
        self._tell(
            keeper, "base", "more of the log waits than may: a point in time will be missing"
        )

    def _let_go(self, keeper: LogKeeper) -> None:
        """Forget what is closed and shipped, and remove what belongs to a file that is gone."""
        gone = not keeper.path.exists()
        base = (keeper.path, "base")
        waits = self._is_due(keeper.state) and not self._troubles.has(base)
        if not keeper.is_open and keeper is not self._making and (gone or not waits):
            self._keepers.forget(keeper, remove=gone)
            self._octets.pop(keeper.path, None)
            (self._troubles.over if gone else self._troubles.forget)(base)

    # Bases

    def _is_due(self, state: State) -> bool:
        if not state.chain or not state.base:
            return True
        since = (state.captured - state.base_frame) * FRAME
        age = self._milliseconds() - state.base_moment
        old = age > self._limits.base_days * _DAY
        return since > max(state.base_octets, self._limits.base_octets) or bool(since and old)

    def _make_base(self, keeper: LogKeeper, copy: Path) -> bool:
        alias = self._alias_of(keeper.path.stem)
        if alias is None:
            return False
        with self._exclusive(f"{alias}-base"):
            store = self._store_of(alias)
            if store is None or not self._troubles.may_try(id(store)):
                return False
            if not keeper.state.chain and not self._begin_chain(keeper, alias):
                return False
            self._put_base(keeper, store, copy)
        self._prune(keeper)
        return True

    def _begin_chain(self, keeper: LogKeeper, alias: str) -> bool:
        name = f"{layout.stamp(self._now())}-{secrets.token_hex(4)}"
        if keeper.begin(name, alias):
            return True
        if keeper.problem:
            raise Unavailable(keeper.problem)
        return False

    def _put_base(self, keeper: LogKeeper, store: IObjectStore, copy: Path) -> None:
        with keeper.held() as capture:
            start = capture.begin_base()
        octets, sha256 = _copy(keeper.path, copy)
        end = self._end_base(keeper, start)
        manifest = BaseManifest(
            alias=start.alias,
            mailbox=keeper.path.stem,
            chain=start.chain,
            token=secrets.token_hex(4),
            first=start.number,
            until=end.number,
            milliseconds=end.milliseconds,
            octets=octets,
            sha256=sha256,
        )
        store.put(manifest.name, copy)
        self._troubles.over(id(store))
        self._ship_all(keeper, start.chain, end)
        store.write(manifest.manifest_name, layout.encode_manifest(manifest))
        now = self._milliseconds()
        with keeper.held() as capture:
            if capture.state.chain == start.chain:
                capture.update(
                    base=start.number,
                    base_octets=octets,
                    base_frame=end.captured,
                    base_moment=now,
                    prune=now + int(self._limits.keep_days * _DAY) + 1000,
                )

    def _prune(self, keeper: LogKeeper) -> None:
        """Remove what is too old. Once the newest base is, too, nothing is left to be removed."""
        state, now = keeper.state, self._milliseconds()
        try:
            store = self._store_of(state.alias)
            if store is not None:
                since = self._now() - timedelta(days=self._limits.keep_days)
                chains.prune(store, state.alias, since, state.chain)
            if state.prune and now >= state.prune:
                with keeper.held() as capture:
                    capture.update(prune=0)
        except MailboxBusy:
            return
        except MailsrvError as error:
            self._tell(keeper, "prune", f"changes that are too old are not removed: {error}")
        else:
            self._troubles.over((keeper.path, "prune"))

    def _base_failed(self, keeper: LogKeeper, error: MailsrvError | OSError) -> None:
        number = error.errno if isinstance(error, OSError) else None
        sentence = os.strerror(number) if number else str(error)
        pause = self._troubles.failed((keeper.path, "base"), self._limits.longest_base_pause)
        passing = isinstance(error, MailboxBusy | Unavailable)
        if not passing or pause >= TRANSIENT_SECONDS:
            self._tell(keeper, "base", f"no base for a point in time: {sentence}")

    def _end_base(self, keeper: LogKeeper, start: BaseStart) -> BaseEnd:
        with keeper.held() as capture:
            end = capture.end_base(start)
        if end is None:
            raise Unavailable("others wrote to the mailbox while it was copied")
        return end

    def _ship_all(self, keeper: LogKeeper, chain: str, end: BaseEnd) -> None:
        """What the base needs; without that its manifest would promise too much."""
        with keeper.uploading:
            self._ship(keeper)
        state = keeper.state
        if state.chain != chain or state.shipped < end.number:
            raise BackupStoreFailed("the frames that belong to the base could not be uploaded")

    # Behind both

    def _tell(self, keeper: LogKeeper, what: str, sentence: str) -> None:
        alias = keeper.state.alias or self._alias_of(keeper.path.stem)
        if alias:
            self._troubles.tell((keeper.path, what), alias, sentence)

    def _milliseconds(self) -> int:
        return int(self._now().timestamp() * 1000)


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file that others write to: octets and SHA-256. MailboxMissing, DiskFull, OSError."""
    reader = FileReader(source)
    try:
        if shutil.disk_usage(target.parent).free < reader.size() + 64 * MIB:
            raise DiskFull("the volume has no room for a copy of the mailbox")
        digest, octets = hashlib.sha256(), 0
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for number in range(blocks_in(reader.size())):
                block = reader.read(number)
                digest.update(block)
                file.write(block)
                octets += len(block)
    finally:
        reader.close()
    return octets, digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
