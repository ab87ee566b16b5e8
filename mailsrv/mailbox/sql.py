"""Rows as the types that they have: SQLite's may be anything, ours are what the schema says."""

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

Row = tuple[Any, ...]
Bindings = Sequence[Any]


def rows(connection: apsw.Connection, statement: str, bindings: Bindings = ()) -> list[Row]:
    """All rows of a statement."""
    found: list[Row] = connection.execute(statement, bindings).fetchall()
    return found


def row(connection: apsw.Connection, statement: str, bindings: Bindings = ()) -> Row | None:
    """The first row of a statement, or None."""
    found: Row | None = connection.execute(statement, bindings).fetchone()
    return found


def value(connection: apsw.Connection, statement: str, bindings: Bindings = ()) -> Any:
    """The first cell of the first row, or None when there is no row."""
    found = row(connection, statement, bindings)
    return None if found is None else found[0]


def rows_of_each(
    connection: apsw.Connection, statement: str, bindings: Iterable[Bindings]
) -> list[Row]:
    """All rows of a statement that runs once for each of the bindings."""
    found: list[Row] = connection.executemany(statement, bindings).fetchall()
    return found
