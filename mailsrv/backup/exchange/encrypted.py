"""A mailbox taken away as one file: encrypted as it is, or as SQLCipher reads it.

The file has its name once it is whole and verified; what a run that was cut short left under
another name is begun anew.
"""

from collections.abc import Callable
from pathlib import Path

from mailsrv.errors import AlreadyExists
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.sqlcipher import export_sqlcipher
from mailsrv.store.volume import naming, sync_folder


def copy_encrypted(mailbox: Mailbox, key: FileKey, target: Path) -> int:
    """A copy that opens with the owner's password, as the mailbox does; its octets."""

    return _whole(target, lambda draft: snapshot.take(mailbox, key, draft))


def copy_sqlcipher(mailbox: Mailbox, password: str, target: Path) -> int:
    """A copy that SQLCipher 4 opens with the owner's password; its octets."""
    return _whole(target, lambda draft: export_sqlcipher(mailbox, draft, password))


def _whole(target: Path, write: Callable[[Path], object]) -> int:
    target = target.absolute()
    if target.exists():
        raise AlreadyExists(f"{target}: expected a name that is free")
    draft = target.with_name(f"{target.name}.partial")
    with naming(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connections.remove(draft)
        write(draft)
        draft.chmod(0o600)
        draft.rename(target)
        sync_folder(target.parent)
        return target.stat().st_size
