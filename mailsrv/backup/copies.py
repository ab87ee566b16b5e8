"""Copies of mailboxes in a store of objects: put there, listed, fetched, removed.

A copy is there when its manifest is: that is put last and removed first, so that whatever is cut
short leaves the older copies as they were. Blocking, any thread.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import (
    CopyManifest,
    copies_of,
    decode_copy,
    encode_manifest,
    is_copy_manifest,
    iso,
    stamp,
)
from mailsrv.errors import BackupDamaged, NoSuchBackup

LEFTOVER_AGE = timedelta(days=1)
"""What has no manifest for so long is not on its way, but was left by a crash."""

_CHUNK = 1024 * 1024


@attrs.frozen
class Kept:
    """A copy, and where it is."""

    store: IObjectStore
    manifest: CopyManifest


def put_copy(store: IObjectStore, path: Path, manifest: CopyManifest) -> None:
    """Keep the file at ``path``. BackupStoreFailed."""
    store.put(manifest.name, path)
    store.write(manifest.manifest_name, encode_manifest(manifest))


def list_copies(store: IObjectStore, alias_id: str) -> list[CopyManifest]:
    """The copies of an alias, newest last. BackupStoreFailed.

    What has a manifest that cannot be read is no copy: ``damaged_manifests`` names those.
    """
    found = [manifest for _, manifest in _manifests(store, alias_id) if manifest is not None]
    return sorted(found, key=lambda one: (one.taken, one.mailbox))


def damaged_manifests(store: IObjectStore, alias_id: str) -> list[str]:
    """Names of the manifests that cannot be read, or are those of other copies."""
    return [name for name, manifest in _manifests(store, alias_id) if manifest is None]


def find_copy(store: IObjectStore, alias_id: str, mailbox: str, taken: str) -> CopyManifest | None:
    """The copy of this file and time, if it is there with all its octets. BackupStoreFailed."""
    wanted = f"{copies_of(alias_id)}{stamp(datetime.fromisoformat(taken))}-{mailbox}."
    sizes = {one.name: one.octets for one in store.list(wanted)}
    for name in filter(is_copy_manifest, sizes):
        manifest = _read(store, name)
        if manifest is not None and sizes.get(manifest.name) == manifest.octets:
            return manifest
    return None


def has_manifest(store: IObjectStore, manifest: CopyManifest) -> bool:
    """Whether this manifest is there. BackupStoreFailed."""
    name = manifest.manifest_name
    return any(one.name == name for one in store.list(name))


def copy_at(copies: list[CopyManifest], moment: datetime | None) -> CopyManifest:
    """The newest of these that is not younger than ``moment`` (None: of all). NoSuchBackup."""
    limit = None if moment is None else iso(moment)
    found = [one for one in copies if limit is None or one.taken <= limit]
    if not found:
        when = "" if limit is None else f" of {limit} or before"
        raise NoSuchBackup(f"no backup{when} is kept of this mailbox")
    return found[-1]


def fetch_copy(store: IObjectStore, manifest: CopyManifest, path: Path) -> None:
    """Write a copy to a new file. BackupDamaged leaves none; NoSuchBackup, BackupStoreFailed."""
    store.get(manifest.name, path)
    try:
        check_copy(manifest, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def check_copy(manifest: CopyManifest, path: Path) -> None:
    """BackupDamaged unless the file has the octets that its manifest tells of."""
    octets = path.stat().st_size
    if octets != manifest.octets:
        raise BackupDamaged(
            f"{manifest.name}: expected {manifest.octets} octets, the store gave {octets}"
        )
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != manifest.sha256:
        raise BackupDamaged(f"{manifest.name}: its octets are not those that were put there")


def remove_copy(store: IObjectStore, manifest: CopyManifest) -> None:
    """Remove a copy; missing parts of it do not matter. BackupStoreFailed."""
    store.remove([manifest.manifest_name])
    store.remove([manifest.name])


def remove_leftovers(store: IObjectStore, alias_id: str, now: datetime) -> int:
    """Remove what lacks its manifest for a day; how many objects. BackupStoreFailed."""
    present = {one.name: one.modified for one in store.list(copies_of(alias_id))}
    limit = iso(now - LEFTOVER_AGE)
    left = [
        name
        for name, modified in present.items()
        if name.endswith(".sqlite")
        and f"{name.removesuffix('.sqlite')}.json" not in present
        and modified < limit
    ]
    return store.remove(left) if left else 0


def _manifests(store: IObjectStore, alias_id: str) -> Iterator[tuple[str, CopyManifest | None]]:
    """Names and manifests; None for one that is damaged."""
    for name in [one.name for one in store.list(copies_of(alias_id))]:
        if is_copy_manifest(name):
            try:
                manifest = _read(store, name)
            except NoSuchBackup:
                continue  # removed meanwhile
            yield name, manifest


def _read(store: IObjectStore, name: str) -> CopyManifest | None:
    """NoSuchBackup."""
    try:
        manifest = decode_copy(store.read(name))
    except BackupDamaged:
        return None
    return manifest if manifest.manifest_name == name else None
