"""What a mailbox that came back from a backup needs before anybody uses it.

Under one UIDVALIDITY a UID stands for one message for ever (rfc9051:504). What came after the
backup had UIDs that the restored folder will give out again, so its folders get new UIDVALIDITYs,
higher than any that served before: the clients then forget what they know and read anew.
"""

from typing import TYPE_CHECKING

from mailsrv.mailbox import folders, sql
from mailsrv.mailbox.transaction import Writer

if TYPE_CHECKING:
    from mailsrv.mailbox.mailbox import Mailbox

_DONE = "renumbered"


def highest_uidvalidity(mailbox: "Mailbox") -> int:
    """The highest number that ever served as UIDVALIDITY in this file."""
    with mailbox.reading() as connection:
        found: int = sql.value(connection, "SELECT value FROM meta WHERE name = 'uidvalidity'")
    return found


def prepare(mailbox: "Mailbox", above: int, key_pair: tuple[bytes, bytes] | None) -> None:
    """Give all folders UIDVALIDITYs above this one, and the mailbox another key pair if given.

    The pair is private and public key, to which mail that waits is sealed. On disk then.
    """
    with mailbox.writing() as writer:
        writer.connection.execute(
            "UPDATE meta SET value = max(value, ?) WHERE name = 'uidvalidity'", (above,)
        )
        folders.renumber(writer)
        if key_pair is not None:
            for name, value in zip(("private", "public"), key_pair, strict=True):
                _set(writer, name, value)


def renumber_once(mailbox: "Mailbox") -> bool:
    """Give all folders new UIDVALIDITYs, unless that was done in a file of this name. On disk then.

    So it may be repeated after a crash, and beside others who do the same. False: it was done.
    """
    with mailbox.writing() as writer:
        done = sql.value(writer.connection, "SELECT value FROM meta WHERE name = ?", (_DONE,))
        if done == mailbox.id:
            return False
        folders.renumber(writer)
        _set(writer, _DONE, mailbox.id)
    return True


def _set(writer: Writer, name: str, value: bytes | str) -> None:
    writer.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
