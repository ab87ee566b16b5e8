"""Modseqs that a client has seen never come back, also not after a power cut (rfc7162:290).

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


class CeilingPassed(Exception):
    """The write has to be done again as a durable one: others used up the reserve meanwhile."""


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


def is_due(modseq: int, reserved: int) -> bool:
    """Whether ``modseq`` comes so close to the ceiling that it should be raised.

    Half of the reserve is left at that moment, for writers that looked before.
    """
    return modseq > reserved - RESERVE // 2


def must_reserve(connection: apsw.Connection, folder_id: int) -> bool:
    """Whether the next change of flags in this folder has to wait for the disk."""
    found = sql.row(
        connection, "SELECT highestmodseq, reserved FROM folder WHERE id = ?", (folder_id,)
    )
    return found is not None and is_due(found[0] + 1, found[1])


def reserve(connection: apsw.Connection, folder_id: int, modseq: int) -> None:
    """Raise the ceiling, inside a durable write transaction of the caller."""
    connection.execute("UPDATE folder SET reserved = ? WHERE id = ?", (modseq + RESERVE, folder_id))
