"""Beginning a mailbox's log anew although others read without a gap.

SQLite copies the log to the main file as it grows, and begins it anew at the first write that finds
nobody reading from it. Readers that come one before the other has gone leave no such moment, and
the log would grow for as long as they do. With the write lock held new readers find all they need
in the main file, and only those that have begun are waited for.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from mailsrv.mailbox import failed_syncs
from mailsrv.mailbox.connection import BUSY_MILLISECONDS, translated

_PAUSE_SECONDS = 0.002


def octets(path: Path) -> int:
    """The length of the log of the file at ``path``."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def shorten(
    connection: apsw.Connection,
    milliseconds: int,
    empty: Callable[[apsw.Connection], bool] = failed_syncs.checkpoint,
) -> bool:
    """Empty the log. No transaction is open. False when somebody did not let go in time.

    ``empty`` tries once, as patient as the connection is. Writers wait meanwhile: for
    ``milliseconds`` at most, and for the disk. StorageFailed, DiskFull.
    """
    deadline = time.monotonic() + milliseconds / 1000
    try:
        with translated(connection):
            while (left := deadline - time.monotonic()) > 0:
                connection.set_busy_timeout(max(1, int(left * 1000)))
                if empty(connection):
                    return True
                # for another one who copies SQLite does not wait
                time.sleep(_PAUSE_SECONDS)
    finally:
        connection.set_busy_timeout(BUSY_MILLISECONDS)
    return False
