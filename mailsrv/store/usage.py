"""What each alias holds, checked against quotas that pool over alias, domain and account.

The directory learns of it about once a second; until then what is not written yet, and what is
being written at this moment, is counted here, so that parallel deliveries do not pass a limit
together.
"""

import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import attrs

from mailsrv.directory.directory import Directory
from mailsrv.directory.values import QuotaLevel, QuotaLevels
from mailsrv.errors import NoSuchAlias
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.values import Quota
from mailsrv.store.waiting import WaitingFiles

_POOLS_KEPT = 10_000
_STRIPES = 64


@attrs.frozen
class _Pools:
    """The names of the levels that an alias counts for."""

    alias: str
    domain: str
    account: str


@attrs.define
class _Entry:
    pools: _Pools
    written: int
    """Octets that the directory knows of."""
    octets: int
    messages: int
    recoverable: int
    """Of the octets, those of expunged messages, which make room for others."""
    reserved: int = 0
    dirty: bool = False


class Usages:
    """Blocking; any thread."""

    def __init__(self, directory: Directory, files: WaitingFiles) -> None:
        self._directory = directory
        self._files = files
        self._lock = threading.Lock()
        self._measuring = tuple(threading.Lock() for _ in range(_STRIPES))
        self._entries: dict[str, _Entry] = {}
        self._unwritten: Counter[str] = Counter()
        self._pools: dict[str, _Pools] = {}
        self._levels: dict[str, QuotaLevels] = {}

    @property
    def dirty(self) -> bool:
        """Whether ``flush`` has something to do."""
        return bool(self._entries or self._levels)

    def reserve(self, alias: str, sizes: Sequence[int]) -> list[bool]:
        """Which of these messages fit, one after another; they count until ``release``.

        What expunged messages take is room for others, which ``make_room`` makes.
        """
        with self._lock:
            entry = self._entry(alias)
            levels = self._levels_of(alias)
            room = self._room(entry.pools, levels, entry.recoverable)
            fits: list[bool] = []
            for size in sizes:
                fits.append(room is None or size <= room)
                if fits[-1]:
                    room = None if room is None else room - size
                    self._shift(entry, reserved=size)
            return fits

    def full(self, alias: str) -> bool:
        """Whether not even an empty message would fit."""
        with self._lock:
            levels = self._levels_of(alias)
            entry = self._entries.get(alias)
            recoverable = levels.recoverable if entry is None else entry.recoverable
            room = self._room(self._pools_of(alias), levels, recoverable)
            return room is not None and room <= 0

    def release(self, alias: str, octets: int) -> None:
        """What was reserved is stored and measured by now, or was not stored."""
        with self._lock:
            self._shift(self._entry(alias), reserved=-octets)

    def make_room(self, alias: str, mailbox: Mailbox) -> None:
        """Purge as many of the expunged messages as it takes to be within all limits again, the
        oldest first; none of them where all would not be enough."""
        with self._lock:
            entry = self._entry(alias)
            room = self._room(entry.pools, self._levels_of(alias), 0)
        if room is not None and room < 0 and mailbox.make_room(-room):
            self.measure(alias, mailbox)

    def measure(self, alias: str, mailbox: Mailbox) -> None:
        """Take what the mailbox says that it holds, and what waits for it."""
        _, public_key = mailbox.keys()
        # read and noted as one, or an older number could come after a newer one
        with self._measuring[zlib.crc32(alias.encode()) % _STRIPES]:
            usage = mailbox.usage()
            octets, messages = usage.octets, usage.messages
            with self._files.locked(public_key):
                if self._files.exist(public_key):
                    with self._files.open(public_key) as waiting:
                        octets += waiting.octets()
                        messages += waiting.count()
            with self._lock:
                entry = self._entry(alias)
                entry.dirty = entry.dirty or entry.recoverable != usage.recoverable
                entry.recoverable = usage.recoverable
                self._shift(entry, octets=octets - entry.octets, messages=messages - entry.messages)

    def add(self, alias: str, octets: int, messages: int) -> None:
        """Count what was added without looking at the whole."""
        with self._lock:
            self._shift(self._entry(alias), octets=octets, messages=messages)

    def limited(self, alias: str) -> bool:
        """Whether any level has a limit."""
        with self._lock:
            levels = self._levels_of(alias)
        return any(
            level.limit is not None for level in (levels.alias, levels.domain, levels.account)
        )

    def quota(self, alias: str) -> Quota:
        """The tightest level, with what is not written yet."""
        with self._lock:
            entry = self._entry(alias)
            levels = self._levels_of(alias)
            pools = entry.pools
            tightest = QuotaLevels(
                alias=self._now(levels.alias, pools.alias),
                domain=self._now(levels.domain, pools.domain),
                account=self._now(levels.account, pools.account),
                messages=entry.messages,
            ).tightest
            return Quota(
                used_octets=tightest.used,
                limit_octets=tightest.limit,
                messages=entry.messages,
            )

    def flush(self) -> None:
        """Write what changed to the directory."""
        with self._lock:
            aliases = list(self._entries)
            self._levels.clear()  # limits may have been changed by other processes
        for alias in aliases:
            with self._lock:
                entry = self._entries.get(alias)
                if entry is not None:
                    self._write(alias, entry)

    def _write(self, alias: str, entry: _Entry) -> None:
        if entry.dirty:
            with suppress(NoSuchAlias):  # removed meanwhile: nothing is left to count
                self._directory.set_usage(alias, entry.octets, entry.messages, entry.recoverable)
            self._count(entry.pools, entry.written - entry.octets)
            entry.written, entry.dirty = entry.octets, False
            self._levels.clear()
        if not entry.reserved:
            del self._entries[alias]

    def _entry(self, alias: str) -> _Entry:
        entry = self._entries.get(alias)
        if entry is None:
            levels = self._levels_of(alias)
            used = levels.alias.used
            pools = self._pools_of(alias)
            entry = _Entry(pools, used, used, levels.messages, levels.recoverable)
            self._entries[alias] = entry
        return entry

    def _levels_of(self, alias: str) -> QuotaLevels:
        # summing over a large domain takes longer than storing a message; what we hold stays
        # true until we write to the directory ourselves
        levels = self._levels.get(alias)
        if levels is None:
            levels = self._levels[alias] = self._directory.quota(alias)
        return levels

    def _pools_of(self, alias: str) -> _Pools:
        pools = self._pools.get(alias)
        if pools is None:
            if len(self._pools) >= _POOLS_KEPT:
                self._pools.clear()
            domain = self._directory.domain(self._directory.alias_by_id(alias).domain)
            pools = _Pools(
                alias=f"alias {alias}",
                domain=f"domain {domain.id}",
                account=f"account {domain.account or domain.id}",
            )
            self._pools[alias] = pools
        return pools

    def _shift(
        self, entry: _Entry, *, octets: int = 0, messages: int = 0, reserved: int = 0
    ) -> None:
        entry.octets += octets
        entry.messages += messages
        entry.reserved += reserved
        entry.dirty = entry.dirty or bool(octets or messages)
        self._count(entry.pools, octets + reserved)

    def _count(self, pools: _Pools, octets: int) -> None:
        for pool in (pools.alias, pools.domain, pools.account):
            self._unwritten[pool] += octets
            if not self._unwritten[pool]:
                del self._unwritten[pool]

    def _now(self, level: QuotaLevel, pool: str) -> QuotaLevel:
        return QuotaLevel(used=level.used + self._unwritten[pool], limit=level.limit)

    def _room(self, pools: _Pools, levels: QuotaLevels, more: int) -> int | None:
        """What fits into the tightest level and ``more``, or None without limits."""
        left = [
            self._now(level, pool).left
            for level, pool in (
                (levels.alias, pools.alias),
                (levels.domain, pools.domain),
                (levels.account, pools.account),
            )
        ]
        return min((octets + more for octets in left if octets is not None), default=None)
