"""Trying a bucket before it is trusted: it keeps, gives back and removes, and shows nobody else."""

import secrets

from mailsrv.backup.objects.s3 import S3Store
from mailsrv.backup.objects.s3_requests import Timing
from mailsrv.errors import BackupStoreFailed, MailsrvError

PATIENCE = Timing(connect=10.0, read=20.0, attempts=2)
"""For who waits at a terminal."""

_FOLDER = "probe/"


def try_bucket(store: S3Store) -> None:
    """Put an object, find, read and remove it. BackupStoreFailed tells what is not so.

    That names the step that the bucket refused, or that the bucket is open to anybody.
    """
    name = f"{_FOLDER}{secrets.token_hex(12)}"
    store.write(name, name.encode())
    try:
        _look(store, name)
    except MailsrvError:
        _remove_quietly(store, name)
        raise
    store.remove([name])
    if any(found.name == name for found in store.list(_FOLDER)):
        raise BackupStoreFailed(f"{store.requests.where}: {name} is there after it was removed")


def keeps_versions(store: S3Store) -> bool:
    """Whether what is removed stays as an old version; False where that cannot be known."""
    try:
        answer = store.requests.ask("see whether it keeps versions", "get_bucket_versioning")
    except MailsrvError:
        return False
    return bool(answer.get("Status") == "Enabled")


def _look(store: S3Store, name: str) -> None:
    if [found.name for found in store.list(name)] != [name]:
        raise BackupStoreFailed(f"{store.requests.where}: does not list what was put there")
    if store.read(name) != name.encode():
        raise BackupStoreFailed(f"{store.requests.where}: gives back other octets")
    key = store.requests.prefix + name
    if store.requests.anonymous("list_objects_v2", MaxKeys=1) or store.requests.anonymous(
        "get_object", Key=key
    ):
        raise BackupStoreFailed(
            f"{store.requests.where}: is public: anybody can list or read what is in it"
        )


def _remove_quietly(store: S3Store, name: str) -> None:
    try:
        store.remove([name])
    except MailsrvError:
        return
