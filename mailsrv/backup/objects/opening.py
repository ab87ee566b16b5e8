"""The store that the configuration names, opened."""

import os
import stat
from pathlib import Path

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.errors import InvalidInput
from mailsrv.settings import Backup, BucketPlace

_KEY = "backup.s3.secret_file"


def open_store(backup: Backup) -> IObjectStore | None:
    """Where backups are kept; None for nowhere. InvalidInput names the key and the file."""
    if backup.to == "folder":
        folder: IObjectStore = FolderStore(backup.folder)
        return folder
    if backup.to == "s3" and backup.s3 is not None:
        return open_bucket(backup.s3, read_secret(backup.s3.secret_file))
    return None


def open_bucket(place: BucketPlace, secret: str) -> IObjectStore:
    """A bucket; ``secret`` is the secret access key. Nothing is asked of it yet."""
    # loads boto3, which who has no bucket need not wait for
    from mailsrv.backup.objects.s3 import S3Store

    bucket: IObjectStore = S3Store(place, secret)
    return bucket


def read_secret(path: Path) -> str:
    """The secret access key in a file that nobody else may read. InvalidInput never shows it."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(4096)
    except OSError as error:
        raise InvalidInput(f"{_KEY}: {path}: cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise InvalidInput(f"{_KEY}: {path}: expected mode 0600, found {mode:04o}")
    try:
        return checked_secret(text.decode("ascii").strip())
    except (UnicodeDecodeError, InvalidInput):
        raise InvalidInput(f"{_KEY}: {path}: expected one line, the secret access key") from None


def checked_secret(secret: str) -> str:
    """Return the secret access key. InvalidInput, without it, unless it is one word."""
    if not secret.isascii() or not secret.isprintable() or not secret or " " in secret:
        raise InvalidInput("expected a secret access key: one word of ASCII characters")
    return secret
