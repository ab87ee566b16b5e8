"""Chains of a mailbox's log where backups are kept: what is there, the mailbox of any second, and
what is no longer needed.

No key is needed for any of it: pages are put to their places as they are, encrypted.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs

from mailsrv.backup import layout
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import BaseManifest
from mailsrv.errors import BackupDamaged, NoSuchBackup
from mailsrv.mailbox.wal import segments
from mailsrv.mailbox.wal.frames import Replay


@attrs.frozen
class RestoredLog:
    """A mailbox as it was. ``reached`` is when it was last changed, or when its base was made."""

    mailbox: str
    """Whose file it was (ObjectID): the password of that time opens it."""

    reached: datetime
    octets: int


@attrs.frozen
class Chain:
    """Any second from ``earliest`` on can be restored, up to the next chain or the last change."""

    mailbox: str
    name: str
    earliest: datetime
    bases: int
    segments: int
    octets: int


def list_chains(store: IObjectStore, alias: str) -> list[Chain]:
    """Those of an alias (ObjectID) that can be restored from, oldest first. BackupStoreFailed."""
    octets: dict[tuple[str, str], int] = defaultdict(int)
    pieces: dict[tuple[str, str], int] = defaultdict(int)
    bases: dict[tuple[str, str], list[BaseManifest]] = defaultdict(list)
    for stored in store.list(layout.logs_of(alias)):
        found = layout.chain_object(stored.name)
        if found is None:
            continue
        chain = (found.mailbox, found.chain)
        octets[chain] += stored.octets
        pieces[chain] += found.is_segment
        if found.is_manifest:
            bases[chain].append(layout.decode_base(store.read(stored.name)))
    listed = [
        Chain(
            mailbox=mailbox,
            name=name,
            earliest=_moment(min(one.milliseconds for one in made)),
            bases=len(made),
            segments=pieces[mailbox, name],
            octets=octets[mailbox, name],
        )
        for (mailbox, name), made in bases.items()
    ]
    return sorted(listed, key=lambda one: one.earliest)


def restore_at(store: IObjectStore, alias: str, moment: datetime, target: Path) -> RestoredLog:
    """Write the mailbox as it was at ``moment`` to a new file, on disk, in bounded memory.

    Changes that were committed up to then are in it, as far as they were shipped: ``reached`` tells
    of the last. NoSuchBackup, BackupDamaged, BackupStoreFailed, DiskFull leave nothing at
    ``target``.
    """
    base = _base_for(store, alias, moment)
    part = target.with_name(f"{target.name}.part")
    try:
        store.get(base.name, target)
        _verify(base, target)
        return _replay(store, base, _milliseconds(moment), target, part)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        part.unlink(missing_ok=True)


def prune(store: IObjectStore, alias: str, since: datetime, current: str) -> int:
    """Remove what no second from ``since`` on needs; how many objects.

    The chain that is ``current`` stays, and with it chains that began later than ``since``: their
    bases may be under way. BackupStoreFailed.
    """
    bases = sorted(_bases(store, alias), key=lambda one: one.milliseconds)
    old = [one for one in bases if one.milliseconds <= _milliseconds(since)]
    gone, needed = old[:-1], old[-1:] + bases[len(old) :]
    # manifests first: what has none is not restored from
    removed = store.remove([one.manifest_name for one in gone])
    removed += store.remove([one.name for one in gone])
    first: dict[str, int] = {}
    for base in needed:
        first[base.chain] = min(base.first, first.get(base.chain, base.first))
    young = layout.stamp(since)

    def is_useless(name: str) -> bool:
        found = layout.chain_object(name)
        if found is None:
            return False
        if found.chain in first:
            return found.number < first[found.chain]
        return found.chain != current and found.chain < young

    useless = [one.name for one in store.list(layout.logs_of(alias)) if is_useless(one.name)]
    return removed + store.remove(useless)


def _bases(store: IObjectStore, alias: str) -> Iterator[BaseManifest]:
    for stored in store.list(layout.logs_of(alias)):
        found = layout.chain_object(stored.name)
        if found is not None and found.is_manifest:
            yield layout.decode_base(store.read(stored.name))


def _base_for(store: IObjectStore, alias: str, moment: datetime) -> BaseManifest:
    bases = list(_bases(store, alias))
    if not bases:
        raise NoSuchBackup("no changes of this mailbox were shipped: it has no point in time")
    old = [one for one in bases if one.milliseconds <= _milliseconds(moment)]
    if not old:
        earliest = _moment(min(one.milliseconds for one in bases) + 999)
        raise NoSuchBackup(
            f"{layout.iso(moment)} is before everything that can be restored: "
            f"the earliest time is {layout.iso(earliest)}"
        )
    return max(old, key=lambda one: one.milliseconds)


def _verify(base: BaseManifest, path: Path) -> None:
    if path.stat().st_size != base.octets or segments.sha256(path).hex() != base.sha256:
        raise BackupDamaged(f"{base.name}: the SHA-256 is not that of the manifest")


def _replay(
    store: IObjectStore, base: BaseManifest, limit: int, target: Path, part: Path
) -> RestoredLog:
    number, frame, reached = base.first, 0, base.milliseconds
    with target.open("r+b") as file:
        replay = Replay(file)
        for segment in _segments(store, base, part):
            if number > base.first and segment.first != frame + 1:
                raise BackupDamaged("the chain of this mailbox's log has a gap")
            # what a base needs was committed up to the time that it counts from
            wanted = [mark for mark in segment.marks if mark.milliseconds <= limit]
            if wanted:
                replay.apply(segments.frames(part, wanted[-1].frame - segment.first + 1))
                reached = max(reached, wanted[-1].milliseconds)
            if len(wanted) < len(segment.marks):
                break
            number, frame = segment.number + 1, segment.last
        if number < base.until:
            raise BackupDamaged(
                f"{base.name}: needs segments up to {base.until - 1}, and {number} is not there"
            )
        replay.finish()
        octets = file.seek(0, 2)
    return RestoredLog(mailbox=base.mailbox, reached=_moment(reached), octets=octets)


def _segments(store: IObjectStore, base: BaseManifest, part: Path) -> Iterator[segments.Segment]:
    """Heads of the segments that follow each other, each with its file at ``part`` meanwhile."""
    number = base.first
    while True:
        part.unlink(missing_ok=True)
        name = layout.segment(base.alias, base.mailbox, base.chain, number)
        try:
            store.get(name, part)
        except NoSuchBackup:
            return
        try:
            segment = segments.read(part)
        except BackupDamaged as error:
            raise BackupDamaged(f"{name}: {error}") from None
        if (segment.chain, segment.number) != (base.chain, number):
            raise BackupDamaged(f"{name}: is another segment than its name says")
        yield segment
        number += 1


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000 + 1e-6)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
