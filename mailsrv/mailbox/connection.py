"""Opening a mailbox file, and names for what SQLite says when something fails.

The order of the pragmas matters and is that of the design: the cipher before the key, the key
before anything that reads. ``PRAGMA key`` answers "ok" for any key; only the first read tells,
and it says the same of a wrong key and of a damaged first page, which ``_why_unreadable`` tells
apart. A key of the wrong shape would make a plaintext file without a word, so a new file's first
octets are looked at before anything is written.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import apsw

from mailsrv.errors import (
    AlreadyExists,
    DiskFull,
    MailboxBusy,
    MailboxDamaged,
    MailboxMissing,
    MailsrvError,
    MessageTooLarge,
    NeedsWriter,
    ReadOnlyVolume,
    StorageFailed,
    WrongKey,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.wiping import wipe

BUSY_MILLISECONDS = 5000
"""How long a writer waits for another one before MailboxBusy."""

_READONLY_BUSY_MILLISECONDS = 250
"""Readers wait for others only while these begin or end their use of a file."""

_PAGE = 4096
_CLEAR_HEADER = bytes.fromhex("1000020220402020")
"""Octets 16 to 23 of every mailbox file, which the cipher leaves readable: page size 4096, WAL,
32 octets reserved in each page, and three constants of SQLite."""

_SAME_LENGTH = f"PRAGMA nil='raw:{'0' * 96}'"
"""Means nothing to SQLite; as long as the statement that gives a key."""

_ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BY_TYPE: tuple[tuple[type[apsw.Error], type[MailsrvError], str], ...] = (
    (apsw.BusyError, MailboxBusy, "another writer holds the mailbox"),
    (apsw.LockedError, MailboxBusy, "another writer holds the mailbox"),
    (apsw.CorruptError, MailboxDamaged, "a page of the mailbox file is damaged or missing"),
    (apsw.NotADBError, WrongKey, "the mailbox does not open with this key"),
    (apsw.FullError, DiskFull, "the volume is full"),
    (apsw.ReadOnlyError, ReadOnlyVolume, "the mailbox may not be written"),
    (apsw.TooBigError, MessageTooLarge, "the message is larger than a mailbox can store"),
    (apsw.CantOpenError, StorageFailed, "the mailbox file cannot be opened"),
    (apsw.IOError, StorageFailed, "the operating system refused to read or write the mailbox"),
    (apsw.PermissionsError, ReadOnlyVolume, "the mailbox may not be written"),
)


def _translate(error: apsw.Error, connection: apsw.Connection | None) -> Exception:
    """The error of ours that says what SQLite's means; its own when it is a bug of ours."""
    if isinstance(error, apsw.IOError):
        extended: int = getattr(error, "extendedresult", 0)
        if extended == apsw.SQLITE_IOERR_SHORT_READ:
            return MailboxDamaged("the mailbox file is cut short")
    if connection is not None and _found_no_room(error, connection):
        return DiskFull("the volume is full")
    for theirs, ours, text in _BY_TYPE:
        if isinstance(error, theirs):
            return ours(text)
    return error


@contextmanager
def translated(connection: apsw.Connection | None = None) -> Iterator[None]:
    """Raise errors of ``mailsrv.errors`` in place of SQLite's."""
    try:
        yield
    except apsw.Error as error:
        ours = _translate(error, connection)
        if ours is error:
            raise
        raise ours from error


def vacuum_into(connection: apsw.Connection, target: Path, options: str) -> None:
    """Write a copy to a new file. ``options`` may hold its key, which no error tells.

    DiskFull, StorageFailed and others.
    """
    failure: Exception | None = None
    try:
        with translated(connection):
            # bound, since errors and traces quote the text of a statement
            connection.execute("VACUUM INTO ?", (f"file:{quote(str(target))}?{options}",))
    except apsw.Error:
        failure = StorageFailed("the copy cannot be written")
    except MailsrvError as error:
        failure = error
    if failure is not None:
        # SQLite's own error, which is where it came from, quotes all of the name
        failure.__cause__ = failure.__context__ = None
        raise failure


def create(path: Path, key: FileKey) -> apsw.Connection:
    """Make a new encrypted file, readable by its owner alone. AlreadyExists."""
    try:
        _make_empty(path)
    except FileExistsError:
        raise AlreadyExists("a file of that name is already there") from None
    try:
        return _fill(path, key)
    except BaseException:
        remove(path)
        raise


def open_or_create(path: Path, key: FileKey) -> apsw.Connection:
    """Open a file, which is made when it is missing or empty: several may do so at once."""
    with suppress(FileExistsError):
        _make_empty(path)
    if not path.stat().st_size:
        connection = _fill(path, key)
        sync_file(path.parent)
        return connection
    return connect(path, key)


def _make_empty(path: Path) -> None:
    """FileExistsError, without having touched what is there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    except FileExistsError:
        raise
    except OSError as error:
        raise _from_os(error) from error


def _fill(path: Path, key: FileKey) -> apsw.Connection:
    """Make the empty file a database, which has to be an encrypted one."""
    with translated():
        connection = _connect(str(path), key, apsw.SQLITE_OPEN_READWRITE, BUSY_MILLISECONDS)
        _require_encrypted(connection, path, key)
    return connection


def _require_encrypted(connection: apsw.Connection, path: Path, key: FileKey) -> None:
    if first_octets(path, len(key.salt)) != key.salt:
        connection.close()
        raise StorageFailed("the new mailbox file does not begin as an encrypted one")


def first_octets(path: Path, count: int) -> bytes:
    """The beginning of the file as it lies on the disk, read through SQLite.

    Closing a descriptor of our own would give back the locks that other connections of this
    process have on the file: POSIX locks belong to the process, and SQLite knows how to wait.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB
    file = apsw.VFSFile("unix", str(path), [flags, 0])
    try:
        return file.xRead(count, 0)
    finally:
        file.xClose()


def connect(path: Path, key: FileKey, *, readonly: bool = False) -> apsw.Connection:
    """Open an existing file. One that is ``readonly`` changes neither the file nor its log.

    WrongKey, MailboxDamaged, MailboxMissing, ReadOnlyVolume, MailboxBusy, StorageFailed, and
    NeedsWriter when a writer has to open the file before it can be only read.
    """
    if readonly:
        return _opened(path, key, lambda: _connect_readonly(path, key))
    flags = apsw.SQLITE_OPEN_READWRITE
    return _opened(path, key, lambda: _connect(str(path), key, flags, BUSY_MILLISECONDS))


def connect_immutable(path: Path, key: FileKey) -> apsw.Connection:
    """Read a file that nobody writes to and that has no log; nothing is put beside it."""
    name = f"file:{quote(str(path))}?immutable=1"
    flags = apsw.SQLITE_OPEN_READONLY
    return _opened(path, key, lambda: _connect(name, key, flags, _READONLY_BUSY_MILLISECONDS))


def _opened(path: Path, key: FileKey, connect: Callable[[], apsw.Connection]) -> apsw.Connection:
    _require_a_page(path)
    try:
        return connect()
    except apsw.NotADBError as error:
        raise _why_unreadable(path, key) from error
    except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise _why_unopenable(path) from error
    except apsw.Error as error:
        raise _translate(error, None) from error


def is_unchanging(path: Path) -> bool:
    """Whether nobody can write this file now, and all of it is in its main file."""
    return _nobody_writes(path) and not _length(f"{path}-wal")


def remove(path: Path) -> None:
    """Remove a file and what SQLite put beside it; missing ones do not matter."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def sync_file(path: Path) -> None:
    """Wait until the file, or the entries of the directory, are on disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _from_os(error) from error


def _require_a_page(path: Path) -> None:
    """SQLite would take an empty file for a new database."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _from_os(error) from error
    if size < _PAGE:
        raise MailboxDamaged("the mailbox file is cut short")


def _connect_readonly(path: Path, key: FileKey) -> apsw.Connection:
    """Read beside a writer, or what nobody can write.

    SQLite makes the files that go with WAL also for who only reads, so they must be there. The
    last one to close a file empties its log into it, which this connection leaves to a writer.
    The shared index in memory is written to as by any reader: a writer has to see how far the
    log is in use, or could never begin it anew while somebody reads.
    """
    flags = apsw.SQLITE_OPEN_READONLY
    name = f"file:{quote(str(path))}"
    if not (os.path.exists(f"{path}-wal") and os.path.exists(f"{path}-shm")):
        if not is_unchanging(path):
            raise NeedsWriter("nobody has opened the mailbox for writing")
        name += "?immutable=1"
    connection = _connect(name, key, flags, _READONLY_BUSY_MILLISECONDS)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def _connect(name: str, key: FileKey, flags: int, busy_milliseconds: int) -> apsw.Connection:
    connection = apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI)
    try:
        # The pragma of this comes later by design, but already the first read may have to wait
        # for a connection that is just closing.
        connection.set_busy_timeout(busy_milliseconds)
        connection.pragma("cipher", "chacha20")
        _unlock(connection, key)
        connection.pragma("journal_mode", "WAL")
        connection.pragma("busy_timeout", busy_milliseconds)
        connection.pragma("synchronous", "NORMAL")
        connection.pragma("foreign_keys", "ON")
        connection.pragma("encoding", "UTF-8")
        connection.pragma("temp_store", "MEMORY")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except BaseException as error:
        full = _found_no_room(error, connection)
        connection.close()
        if full:
            raise DiskFull("the volume is full") from error
        raise
    return connection


def _unlock(connection: apsw.Connection, key: FileKey) -> None:
    """Give the key, and leave no text of it behind in memory."""
    text = key.pragma()
    statement = f"PRAGMA key='{text}'"
    try:
        connection.execute(statement, can_cache=False).fetchall()
    finally:
        wipe(statement)
        wipe(text)
    # SQLite wipes nothing that it frees, and puts a statement of the same length in its place
    connection.execute(_SAME_LENGTH, can_cache=False).fetchall()


def _found_no_room(error: BaseException, connection: apsw.Connection) -> bool:
    """Whether the operating system said so; SQLite says FULL only of writes to its main files."""
    kinds = (apsw.IOError, apsw.CantOpenError)
    return isinstance(error, kinds) and connection.system_errno in _FULL_ERRNOS


def _why_unreadable(path: Path, key: FileKey) -> MailsrvError:
    """Tell a wrong key from a damaged first page, as far as that can be told."""
    try:
        start = first_octets(path, 24)
    except apsw.Error as error:
        return StorageFailed(f"the mailbox file cannot be read ({type(error).__name__})")
    if start[16:] != _CLEAR_HEADER:
        return MailboxDamaged("the mailbox file is cut short or is not a mailbox file")
    if _reads_without_authentication(path, key):
        return MailboxDamaged("the first page of the mailbox file is damaged")
    return WrongKey("the mailbox does not open with this key")


def _reads_without_authentication(path: Path, key: FileKey) -> bool:
    """Whether the first page, deciphered without looking at its tag, is that of a mailbox."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.pragma("cipher", "chacha20")
        connection.pragma("hmac_check", 0)
        _unlock(connection, key)
        # Octets that a wrong key deciphered do not give this number by chance.
        return 0 < int(connection.pragma("user_version")) < 2**16
    except apsw.Error:
        return False
    finally:
        connection.close()


def _why_unopenable(path: Path) -> MailsrvError:
    if not path.exists():
        return MailboxMissing("the mailbox file is not on the volume")
    if not os.access(path.parent, os.W_OK) or not os.access(path, os.W_OK):
        return ReadOnlyVolume("the mailbox may not be written")
    return StorageFailed("the mailbox file cannot be opened")


def _nobody_writes(path: Path) -> bool:
    """Whether the file system or the modes forbid it to everyone, not only to this process."""
    try:
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return True
        return not (path.stat().st_mode | path.parent.stat().st_mode) & _ANY_WRITE
    except OSError:
        return False


def _length(name: str) -> int:
    try:
        return os.stat(name).st_size
    except OSError:
        return 0


def _from_os(error: OSError) -> MailsrvError:
    if error.errno in _FULL_ERRNOS:
        return DiskFull("the volume is full")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyVolume("the mailbox may not be written")
    if error.errno == errno.ENOENT:
        return MailboxMissing("the mailbox file is not on the volume")
    return StorageFailed("the operating system refused to read or write the mailbox")
