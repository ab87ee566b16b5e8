"""A mailbox as a file that SQLCipher 4 opens, or other tools built with it.

SQLite3MultipleCiphers writes that format too (``legacy=4``: AES-256, HMAC-SHA512, 256,000 rounds),
encrypted from the first octet, in one ``VACUUM INTO``. The passphrase is the owner's password: the
key is derived from it by that format's rules, with a salt of the new file's own.
"""

from pathlib import Path
from urllib.parse import quote

import apsw

from mailsrv.errors import AlreadyExists, InvalidInput, MailboxDamaged
from mailsrv.keys.passwords import prepare_password
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import sql
from mailsrv.mailbox.connection import translated
from mailsrv.mailbox.mailbox import Mailbox

_COUNTS = "SELECT (SELECT count(*) FROM folder), (SELECT count(*) FROM content)"
_PLAIN = b"SQLite format 3\0"


def export_sqlcipher(mailbox: Mailbox, target: Path, password: str) -> None:
    """Write a copy that SQLCipher opens with the password; it is on disk and was verified.

    AlreadyExists; InvalidInput without a password; nothing is left behind on failure.
    """
    passphrase = prepare_password(password).decode()
    if not passphrase:
        raise InvalidInput("a copy needs a password: without one it would not be encrypted")
    if target.exists():
        raise AlreadyExists("a file of that name is already there")
    try:
        options = f"cipher=sqlcipher&legacy=4&key={quote(passphrase, safe='')}"
        connections.vacuum_into(mailbox.connection, target, options)
        target.chmod(0o600)
        _verify(mailbox, target, passphrase)
        connections.sync_file(target)
        connections.sync_file(target.parent)
    except BaseException:
        connections.remove(target)
        raise


def _verify(mailbox: Mailbox, target: Path, passphrase: str) -> None:
    if connections.first_octets(target, len(_PLAIN)) == _PLAIN:
        raise MailboxDamaged("the copy is not encrypted")
    copy = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with translated(copy):
            copy.pragma("cipher", "sqlcipher")
            copy.pragma("legacy", 4)
            copy.pragma("key", passphrase)
            if sql.value(copy, "PRAGMA integrity_check(1)") != "ok":
                raise MailboxDamaged("the copy is damaged")
            if sql.value(copy, "PRAGMA user_version") != sql.value(
                mailbox.connection, "PRAGMA user_version"
            ):
                raise MailboxDamaged("the copy is not one of the mailbox")
            if not all(sql.row(copy, _COUNTS) or ()) and mailbox.usage().messages:
                raise MailboxDamaged("the copy lacks messages")
    finally:
        copy.close()
