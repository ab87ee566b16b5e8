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
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from mailsrv.backup import chains, layout
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import BaseManifest
from mailsrv.errors import (
    BackupStoreFailed,
    DiskFull,
    MailboxBusy,
    MailsrvError,
    Unavailable,
)
from mailsrv.mailbox.blocks import FileReader, blocks_in
from mailsrv.mailbox.capture import BaseEnd, BaseStart
from mailsrv.mailbox.frames import FRAME
from mailsrv.mailbox.keeper import LogKeeper, LogKeepers
from mailsrv.mailbox.spool import State, Waiting

MIB = 1024 * 1024


@attrs.frozen(kw_only=True)
class ShippingLimits:
    """Octets, days and seconds."""

    spool_octets: int = 256 * MIB
    """What may wait of one mailbox; with more its chain ends."""

    volume_octets: int = 2048 * MIB
    """The same of all."""

    base_octets: int = 64 * MIB
    """A new base is due after so much, or after as much as the last one has if that is more."""

    base_days: float = 7.0
    """A new base is due after so long, if anything changed."""

    keep_days: float = 7.0
    """How far back any second can be restored."""

    patience: float = 1.0
    """How long a mailbox is waited for whose writer is at work."""

    first_pause: float = 2.0
    longest_pause: float = 60.0
    """Between attempts at a store that fails."""

    longest_base_pause: float = 3600.0
    """Between attempts at a base."""


@attrs.define
class _Pause:
    seconds: float
    until: float


class Shipper:
    """Blocking, any thread; ``seconds`` is a clock that never goes back.

    ``alias_of`` tells whose file (ObjectID) is (None: nobody's now), ``store_of`` where backups of
    an alias are kept (None: nowhere, or it is gone). ``problem`` hears of an alias what stands in
    the way; it is called on the thread that found it.
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
        problem: Callable[[str, str], None],
        limits: ShippingLimits,
    ) -> None:
        self._keepers = keepers
        self._mailbox = mailbox
        self._alias_of = alias_of
        self._store_of = store_of
        self._now = now
        self._seconds = seconds
        self._problem = problem
        self._limits = limits
        self._octets: dict[Path, int] = {}
        self._making: LogKeeper | None = None
        self._pauses: dict[Hashable, _Pause] = {}

    def recover(self) -> None:
        """Take up what an earlier process left, while mailboxes may be in use already."""
        for file_id, spool in self._keepers.spools():
            state, path = spool.load(), self._mailbox(file_id)
            unfinished = state.chain and (state.closed is None or state.writing)
            if unfinished or not path.exists() or spool.waiting():
                self._keepers.of(path)

    def pending(self) -> list[LogKeeper]:
        """Mailboxes to be shipped, or forgotten when there is nothing more to be done."""
        return self._keepers.all()

    def ship(self, keeper: LogKeeper) -> None:
        """Capture what was written to one mailbox and upload it; or wait for its store."""
        if self._pausing((keeper.path, "ship")):
            return
        with keeper.uploading:
            try:
                self._ship(keeper)
            except MailboxBusy:
                return
            except MailsrvError as error:
                self._pause((keeper.path, "ship"), self._limits.longest_pause)
                self._report(keeper, str(error))
            else:
                self._pauses.pop((keeper.path, "ship"), None)

    def base_due(self) -> LogKeeper | None:
        """A mailbox that needs a copy of its file, if there is one."""
        for keeper in self._keepers.all():
            if self._is_due(keeper.state) and not self._pausing(keeper.path):
                return keeper
        return None

    def make_base(self, keeper: LogKeeper) -> bool:
        """Copy the file of one mailbox and upload it. False when that failed or was no use.

        One at a time.
        """
        copy = keeper.spool.folder / "base.new"
        self._making = keeper
        try:
            made = self._make_base(keeper, copy)
        except (MailsrvError, OSError) as error:
            sentence = (
                str(error) if isinstance(error, MailsrvError) else os.strerror(error.errno or 5)
            )
            self._report(keeper, f"no base for a point in time: {sentence}")
            made = False
        finally:
            self._making = None
            copy.unlink(missing_ok=True)
        if made:
            self._pauses.pop(keeper.path, None)
        else:
            self._pause(keeper.path, self._limits.longest_base_pause)
        return made

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
        self._note_shipped(keeper, state, waiting)
        self._octets[keeper.path] = sum(_size(one.path) for one in waiting)
        self._cap(keeper, waiting)
        if not waiting:
            self._let_go(keeper)

    def _upload(self, keeper: LogKeeper, state: State, waiting: list[Waiting]) -> list[Waiting]:
        """Those that are left."""
        store = self._store_of(state.alias)
        if store is None:
            for one in waiting:
                one.path.unlink(missing_ok=True)
            return []
        if self._pausing(id(store)):
            return waiting
        left = list(waiting)
        try:
            for one in waiting:
                file_id = keeper.path.stem
                name = layout.segment(state.alias, file_id, one.chain, one.number)
                store.put(name, one.path)
                self._take_back(store, state.alias, [name])
                one.path.unlink(missing_ok=True)
                left.remove(one)
        except BackupStoreFailed as error:
            self._pause(id(store), self._limits.longest_pause)
            self._report(keeper, str(error))
        else:
            self._pauses.pop(id(store), None)
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
        self._report(keeper, "more of the log waits than may: a point in time will be missing")

    def _let_go(self, keeper: LogKeeper) -> None:
        """Forget what is closed and shipped, and remove what belongs to a file that is gone."""
        gone = not keeper.path.exists()
        waits = self._is_due(keeper.state) and keeper.path not in self._pauses
        if not keeper.is_open and keeper is not self._making and (gone or not waits):
            self._keepers.forget(keeper, remove=gone)
            self._octets.pop(keeper.path, None)
            self._pauses.pop(keeper.path, None)

    # Bases

    def _is_due(self, state: State) -> bool:
        if not state.chain or not state.base:
            return True
        since = (state.captured - state.base_frame) * FRAME
        age = self._milliseconds() - state.base_moment
        old = age > self._limits.base_days * 86_400_000
        return since > max(state.base_octets, self._limits.base_octets) or bool(since and old)

    def _make_base(self, keeper: LogKeeper, copy: Path) -> bool:
        alias = self._alias_of(keeper.path.stem)
        store = None if alias is None else self._store_of(alias)
        if alias is None or store is None or self._pausing(id(store)):
            return False
        if not keeper.state.chain:
            name = f"{layout.stamp(self._now())}-{secrets.token_hex(4)}"
            if not keeper.begin(name, alias):
                if keeper.problem:
                    raise Unavailable(keeper.problem)
                return False
        with keeper.held() as capture:
            start = capture.begin_base()
        octets, sha256 = _copy(keeper.path, copy)
        end = self._end_base(keeper, start)
        manifest = BaseManifest(
            alias=alias,
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
        self._ship_all(keeper, start.chain, end)
        store.write(manifest.manifest_name, layout.encode_manifest(manifest))
        if self._take_back(store, alias, [manifest.manifest_name, manifest.name]):
            return False
        with keeper.held() as capture:
            if capture.state.chain == start.chain:
                capture.update(
                    base=start.number,
                    base_octets=octets,
                    base_frame=end.captured,
                    base_moment=self._milliseconds(),
                )
        since = self._now() - timedelta(days=self._limits.keep_days)
        chains.prune(store, alias, since, start.chain)
        return True

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

    def _take_back(self, store: IObjectStore, alias: str, names: list[str]) -> bool:
        """Remove what was put, if the alias was erased meanwhile: nobody would do so later."""
        erased = self._store_of(alias) is None
        if erased:
            store.remove(names)
        return erased

    def _pausing(self, what: Hashable) -> bool:
        pause = self._pauses.get(what)
        return pause is not None and self._seconds() < pause.until

    def _pause(self, what: Hashable, longest: float) -> None:
        before = self._pauses.get(what)
        seconds = min(before.seconds * 2, longest) if before else self._limits.first_pause
        self._pauses[what] = _Pause(seconds, self._seconds() + seconds)

    def _report(self, keeper: LogKeeper, sentence: str) -> None:
        self._problem(keeper.state.alias, sentence)

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
