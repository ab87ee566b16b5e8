"""What can be told of a mailbox file without its key: that it looks like one, and is encrypted.

SQLite3MultipleCiphers leaves octets 16 to 23 of a file in clear: size of its pages, and how much of
each is the cipher's own. https://www.sqlite.org/fileformat.html#the_database_header
"""

from pathlib import Path

from mailsrv.errors import MailboxDamaged, MailboxMissing

_PLAIN = b"SQLite format 3\0"
_RESERVED = 32
"""Octets of each page for nonce and authentication of ChaCha20-Poly1305."""

_FRACTIONS = bytes((64, 32, 32))
"""What must stand there by the format (octets 21 to 23)."""


def check_shape(path: Path) -> None:
    """MailboxDamaged for what is no encrypted mailbox file, or one cut short. MailboxMissing."""
    try:
        octets = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(24)
    except FileNotFoundError:
        raise MailboxMissing("the file is not there") from None
    if head.startswith(_PLAIN):
        raise MailboxDamaged("the file is not encrypted")
    page = int.from_bytes(head[16:18], "big")
    if len(head) < 24 or page < 512 or page & (page - 1) or head[20] != _RESERVED:
        raise MailboxDamaged("the file does not begin as an encrypted mailbox does")
    if head[21:24] != _FRACTIONS:
        raise MailboxDamaged("the file does not begin as an encrypted mailbox does")
    if octets % page:
        raise MailboxDamaged(f"the file was cut short: {octets} octets are no number of pages")
