"""Folders: their names, counters and subscriptions (rfc9051:943, rfc3501 6.3.5).

Names are UTF-8 in NFC with "/" between levels. INBOX is INBOX in any case, always there, and
gives its messages away when it is renamed. A number that served as UIDVALIDITY never serves again
in the same file, and a file begins with the time of its making, so neither a folder made anew nor
a mailbox started over is taken for its predecessor.
"""

import unicodedata

import apsw

from mailsrv.errors import (
    AlreadyExists,
    FolderHasChildren,
    InvalidInput,
    NoSuchFolder,
    TooManyResults,
)
from mailsrv.keys.objectid import object_id
from mailsrv.mailbox import messages, recoverable, sql
from mailsrv.mailbox.transaction import Writer
from mailsrv.mailbox.values import ALL_UIDS, Folder

INBOX = "INBOX"
SEPARATOR = "/"
MAX_NAME_OCTETS = 1000
MAX_DEPTH = 100
MAX_FOLDERS = 10_000
MAX_SUBSCRIPTIONS = 10_000

SPECIAL_USES = ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")
"""Special uses that a folder may have (rfc6154:486)."""

FIRST_FOLDERS = (
    (INBOX, None),
    ("Archive", "\\Archive"),
    ("Drafts", "\\Drafts"),
    ("Junk", "\\Junk"),
    ("Sent", "\\Sent"),
    ("Trash", "\\Trash"),
)
"""Those of a new mailbox, with their special uses."""

_FOLDER = (
    "SELECT f.id, f.name, f.object_id, f.special_use, s.name IS NOT NULL, f.uidvalidity, "
    "f.uidnext, f.highestmodseq, f.messages, f.unseen, f.deleted, "
    "CASE WHEN f.first_recent < f.uidnext THEN (SELECT count(*) FROM message AS m "
    "WHERE m.folder_id = f.id AND m.uid >= f.first_recent) ELSE 0 END, f.size "
    "FROM folder AS f LEFT JOIN subscription AS s ON s.name = f.name"
)


def normalise(name: str) -> str:
    """The one form of a folder's name. InvalidInput says which rule it breaks."""
    name = unicodedata.normalize("NFC", name)
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_OCTETS:
        raise InvalidInput(f"a folder's name has at most {MAX_NAME_OCTETS} octets")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        raise InvalidInput("a folder's name has no control characters or line separators")
    levels = name.split(SEPARATOR)
    if not all(levels):
        raise InvalidInput('no level of a folder\'s name is empty: expected "a/b"')
    if len(levels) > MAX_DEPTH:
        raise InvalidInput(f"folders have at most {MAX_DEPTH} levels")
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    return SEPARATOR.join(levels)


def make_first(writer: Writer) -> None:
    """The folders of a new mailbox, all subscribed."""
    for name, special_use in FIRST_FOLDERS:
        _insert(writer, name, special_use)
        subscribe(writer.connection, name, subscribed=True)


def listing(connection: apsw.Connection) -> list[Folder]:
    """All folders by name, INBOX first."""
    return sorted(
        map(_folder, sql.rows(connection, _FOLDER)), key=lambda one: (one.name != INBOX, one.name)
    )


def named(connection: apsw.Connection, name: str) -> Folder:
    """The folder of that name. NoSuchFolder."""
    found = sql.row(connection, f"{_FOLDER} WHERE f.name = ?", (normalise(name),))
    if found is None:
        raise NoSuchFolder("there is no folder of that name")
    return _folder(found)


def with_id(connection: apsw.Connection, folder_id: int) -> Folder:
    """The folder with that id. NoSuchFolder when it was deleted."""
    found = sql.row(connection, f"{_FOLDER} WHERE f.id = ?", (folder_id,))
    if found is None:
        raise NoSuchFolder("the folder has gone")
    return _folder(found)


def id_of(connection: apsw.Connection, name: str) -> int:
    """The id of the folder of that name. NoSuchFolder."""
    found: int | None = sql.value(
        connection, "SELECT id FROM folder WHERE name = ?", (normalise(name),)
    )
    if found is None:
        raise NoSuchFolder("there is no folder of that name")
    return found


def require(connection: apsw.Connection, folder_id: int) -> None:
    """NoSuchFolder when the folder was deleted."""
    if sql.row(connection, "SELECT 1 FROM folder WHERE id = ?", (folder_id,)) is None:
        raise NoSuchFolder("the folder has gone")


def create(writer: Writer, name: str, special_use: str | None) -> Folder:
    """Make a folder, and its parents as needed. AlreadyExists, InvalidInput, TooManyResults."""
    # A separator at the end says that children will follow, and is not part of the name.
    name = normalise(name.removesuffix(SEPARATOR))
    if special_use is not None and special_use not in SPECIAL_USES:
        raise InvalidInput(f"a special use is one of {', '.join(SPECIAL_USES)}")
    if exists(writer.connection, name):
        raise AlreadyExists("a folder of that name is already there")
    _make_parents(writer, name)
    return with_id(writer.connection, _insert(writer, name, special_use))


def delete(writer: Writer, name: str, *, keep: bool) -> None:
    """Delete a folder and its messages, which can be had back with ``keep``.

    NoSuchFolder, FolderHasChildren; InvalidInput: INBOX.
    """
    folder = named(writer.connection, name)
    if folder.name == INBOX:
        raise InvalidInput("INBOX cannot be deleted")
    if children(writer.connection, folder.name):
        raise FolderHasChildren("the folder has folders below it: delete those first")
    messages.forget_folder(writer, folder.id, keep=keep)
    recoverable.folder_goes(writer.connection, folder.id, folder.name)
    writer.connection.execute("DELETE FROM folder WHERE id = ?", (folder.id,))


def provide(writer: Writer, name: str) -> int:
    """The id of the folder of that name, which is made if there is none. InvalidInput."""
    try:
        return id_of(writer.connection, name)
    except NoSuchFolder:
        return create(writer, name, None).id


def rename(writer: Writer, old: str, new: str) -> None:
    """Rename a folder with all below it and their subscriptions; INBOX's messages move."""
    connection = writer.connection
    source = named(connection, old)
    target = normalise(new.removesuffix(SEPARATOR))
    if exists(connection, target):
        raise AlreadyExists("a folder of that name is already there")
    if source.name == INBOX:
        made = create(writer, target, None)
        messages.move(writer, source.id, ALL_UIDS, made.id)
        return
    if target.startswith(source.name + SEPARATOR):
        raise InvalidInput("a folder cannot be moved below itself")
    _make_parents(writer, target)
    for name in (source.name, *children(connection, source.name)):
        _rename_one(connection, name, target + name[len(source.name) :])


def renumber(writer: Writer) -> None:
    """Give every folder another UIDVALIDITY: its UIDs may stand for other messages by now.

    And so another id, which may not outlive that (rfc8474:160).
    """
    connection = writer.connection
    for (folder_id,) in sql.rows(connection, "SELECT id FROM folder ORDER BY id"):
        connection.execute(
            "UPDATE folder SET uidvalidity = ?, object_id = ? WHERE id = ?",
            (_next_uidvalidity(writer), object_id(writer.moment), folder_id),
        )


def subscribe(connection: apsw.Connection, name: str, *, subscribed: bool) -> None:
    """Add or remove a name; it need not be that of a folder (rfc9051:2172)."""
    name = normalise(name.removesuffix(SEPARATOR))
    if not subscribed:
        connection.execute("DELETE FROM subscription WHERE name = ?", (name,))
        return
    if sql.value(connection, "SELECT count(*) FROM subscription") >= MAX_SUBSCRIPTIONS:
        raise TooManyResults(f"a mailbox has at most {MAX_SUBSCRIPTIONS} subscriptions")
    connection.execute("INSERT OR IGNORE INTO subscription VALUES (?)", (name,))


def subscriptions(connection: apsw.Connection) -> list[str]:
    """Subscribed names in order, also of folders that are gone."""
    return [name for (name,) in sql.rows(connection, "SELECT name FROM subscription ORDER BY name")]


def set_special_use(connection: apsw.Connection, name: str, special_use: str | None) -> None:
    """Give a folder its special use, or take it away. InvalidInput."""
    if special_use is not None and special_use not in SPECIAL_USES:
        raise InvalidInput(f"a special use is one of {', '.join(SPECIAL_USES)}")
    connection.execute("UPDATE folder SET special_use = ? WHERE name = ?", (special_use, name))


def claim_recent(connection: apsw.Connection, folder: Folder) -> None:
    """From now on no message of the folder is new to the next session."""
    connection.execute("UPDATE folder SET first_recent = uidnext WHERE id = ?", (folder.id,))


def _folder(found: sql.Row) -> Folder:
    values = list(found)
    values[4] = bool(values[4])
    return Folder(*values)


def exists(connection: apsw.Connection, name: str) -> bool:
    """Whether there is a folder of that name, which is normal."""
    return sql.row(connection, "SELECT 1 FROM folder WHERE name = ?", (name,)) is not None


def children(connection: apsw.Connection, name: str) -> list[str]:
    """Names of all folders below ``name``."""
    # "0" follows "/", so these are all names that begin with "name/".
    found = sql.rows(
        connection,
        "SELECT name FROM folder WHERE name > ? AND name < ? ORDER BY name",
        (f"{name}{SEPARATOR}", f"{name}0"),
    )
    return [child for (child,) in found]


def _make_parents(writer: Writer, name: str) -> None:
    levels = name.split(SEPARATOR)
    for depth in range(1, len(levels)):
        parent = SEPARATOR.join(levels[:depth])
        if not exists(writer.connection, parent):
            _insert(writer, parent, None)


def _rename_one(connection: apsw.Connection, old: str, new: str) -> None:
    normalise(new)
    if exists(connection, new):
        raise AlreadyExists("a folder of the new name is already there")
    connection.execute("UPDATE folder SET name = ? WHERE name = ?", (new, old))
    connection.execute("UPDATE OR REPLACE subscription SET name = ? WHERE name = ?", (new, old))


def _insert(writer: Writer, name: str, special_use: str | None) -> int:
    connection = writer.connection
    if sql.value(connection, "SELECT count(*) FROM folder") >= MAX_FOLDERS:
        raise TooManyResults(f"a mailbox has at most {MAX_FOLDERS} folders")
    connection.execute(
        "INSERT INTO folder (name, object_id, special_use, uidvalidity) VALUES (?, ?, ?, ?)",
        (name, object_id(writer.moment), special_use, _next_uidvalidity(writer)),
    )
    return connection.last_insert_rowid()


def _next_uidvalidity(writer: Writer) -> int:
    number: int = sql.value(
        writer.connection,
        "INSERT INTO meta VALUES ('uidvalidity', ?1) "
        "ON CONFLICT DO UPDATE SET value = max(value + 1, ?1) RETURNING value",
        (max(1, int(writer.moment.timestamp())),),
    )
    return number
