"""Modseqs that a client has seen never come back, also not after a power cut (rfc7162:480).

Changes of flags are committed without waiting for the disk (``synchronous=NORMAL``): killing the
process loses none of them, a power cut may lose the last ones, and with them the modseqs that
clients were told. So each folder has a ceiling, ``reserved``, which is on disk before a modseq
close to it is given out. The first open after a start of the operating system finds another boot
id than the one in the file; then every folder whose ceiling is above its modseq starts again from
the ceiling, and all its messages get that modseq: which of them lost a change is not known, and
a client that asks what changed has to hear of the flags as they are. Everything else that is
announced (UIDs, expunges, copies) is committed with ``synchronous=FULL`` before it is.
"""

import secrets
from functools import cache
from pathlib import Path

import apsw

from mailsrv.mailbox import sql

RESERVE = 1000
"""Modseqs reserved at a time; one wait for the disk for so many changes of flags."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str:
    """What changes whenever the operating system starts; where unknown, with each process."""
    try:
        return _BOOT_ID.read_text("utf-8").strip()
    except OSError:
        return secrets.token_hex(16)


def needs_recovery(connection: apsw.Connection, boot: str) -> bool:
    """Whether commits may have been lost since this file was last used."""
    known: str | None = sql.value(connection, "SELECT value FROM meta WHERE name = 'boot'")
    return known != boot


def recover(connection: apsw.Connection, boot: str) -> None:
    """Pass the ceilings by, inside a durable write transaction of the caller."""
    passed = sql.rows(
        connection,
        "UPDATE folder SET highestmodseq = reserved + 1, reserved = 0 "
        "WHERE reserved > highestmodseq RETURNING id, highestmodseq",
    )
    for folder_id, modseq in passed:
        connection.execute("UPDATE message SET modseq = ? WHERE folder_id = ?", (modseq, folder_id))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot,))


def reserve(connection: apsw.Connection, folder_id: int, modseq: int, reserved: int) -> bool:
    """Raise the ceiling when ``modseq`` comes close; then the commit must reach the disk.

    Half of the reserve is left at that moment, since other connections see the commit before
    it is on disk and go on from there.
    """
    if modseq <= reserved - RESERVE // 2:
        return False
    connection.execute("UPDATE folder SET reserved = ? WHERE id = ?", (modseq + RESERVE, folder_id))
    return True


def sync(connection: apsw.Connection) -> None:
    """Wait until everything committed so far is on disk, with ``synchronous=FULL`` set.

    A commit syncs the log up to itself; it must change something to be written at all.
    """
    connection.execute(
        "INSERT INTO meta VALUES ('syncs', 1) ON CONFLICT DO UPDATE SET value = value + 1"
    )
