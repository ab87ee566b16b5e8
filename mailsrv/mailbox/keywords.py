"""Keywords: flags that clients invent (rfc9051:565).

They compare without case, and the spelling first used in the mailbox is kept for all. Caps: 64
keywords of 64 octets on one message, 1000 in a mailbox, of which those no longer used are
forgotten when room is needed.
"""

import re
from collections.abc import Iterable

import apsw

from mailsrv.errors import InvalidInput, TooManyResults
from mailsrv.mailbox import sql

MAX_OCTETS = 64
MAX_ON_MESSAGE = 64
MAX_IN_MAILBOX = 1000

# An atom (rfc9051:6334) that is not a system flag.
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_OTHER = re.compile(r"[^!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")


def split(text: str) -> list[str]:
    """Keywords in a text with blanks between. InvalidInput."""
    names = text.split(" ") if text else []
    for name in names:
        if len(name) > MAX_OCTETS or not _KEYWORD.fullmatch(name):
            raise InvalidInput(f"a keyword is an atom of at most {MAX_OCTETS} octets")
    return names


def acceptable(names: Iterable[str]) -> str:
    """What can be kept of keywords from elsewhere, as the one text for them."""
    found: dict[str, str] = {}
    for name in names:
        word = _OTHER.sub("_", name.strip())[:MAX_OCTETS]
        if word.strip("_"):
            found.setdefault(word.lower(), word)
    return join(set(list(found.values())[:MAX_ON_MESSAGE]))


def join(names: set[str]) -> str:
    """The one text for a set of keywords."""
    if len(names) > MAX_ON_MESSAGE:
        raise InvalidInput(f"a message has at most {MAX_ON_MESSAGE} keywords")
    return " ".join(sorted(names))


def in_use(connection: apsw.Connection) -> tuple[str, ...]:
    """Keywords known in the mailbox, sorted."""
    return tuple(sorted(name for (name,) in sql.rows(connection, "SELECT name FROM keyword")))


def known(connection: apsw.Connection, text: str) -> set[str]:
    """Those of the given keywords that the mailbox has, in its spelling."""
    found = (_spelling(connection, name) for name in split(text))
    return {name for name in found if name is not None}


def register(connection: apsw.Connection, text: str) -> set[str]:
    """The given keywords in the mailbox's spelling, which is now theirs if they are new."""
    names = set()
    for name in split(text):
        spelling = _spelling(connection, name)
        if spelling is None:
            _make_room(connection)
            connection.execute("INSERT INTO keyword VALUES (?)", (name,))
        names.add(spelling or name)
    return names


def _spelling(connection: apsw.Connection, name: str) -> str | None:
    spelling: str | None = sql.value(connection, "SELECT name FROM keyword WHERE name = ?", (name,))
    return spelling


def _make_room(connection: apsw.Connection) -> None:
    if sql.value(connection, "SELECT count(*) FROM keyword") < MAX_IN_MAILBOX:
        return
    texts = sql.rows(
        connection,
        "SELECT keywords FROM message WHERE keywords <> '' "
        "UNION SELECT keywords FROM recoverable WHERE keywords <> ''",
    )
    used = {name for (text,) in texts for name in text.split(" ")}
    if len(used) >= MAX_IN_MAILBOX:
        raise TooManyResults(f"a mailbox has at most {MAX_IN_MAILBOX} keywords")
    connection.executemany(
        "DELETE FROM keyword WHERE name = ?",
        [(name,) for name in in_use(connection) if name not in used],
    )
