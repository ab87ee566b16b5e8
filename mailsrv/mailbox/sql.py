"""Rows as the types that they have: SQLite's may be anything, ours are what the schema says."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apsw

Row = tuple[Any, ...]
Executor = apsw.Connection | apsw.Cursor
"""A connection makes a cursor for each statement, and each that it makes leaks those alive at
that moment (apsw 3.54). So statements are run to their ends one after the other; where one is run
inside an SQL function of another, a cursor serves that was made before and lives on."""

Bindings = Sequence[Any] | Mapping[str, Any]


def rows(connection: Executor, statement: str, bindings: Bindings = ()) -> list[Row]:
    """All rows of a statement."""
    found: list[Row] = connection.execute(statement, bindings).fetchall()
    return found


def row(connection: Executor, statement: str, bindings: Bindings = ()) -> Row | None:
    """The first row of a statement, or None."""
    # A statement that is not run to its end holds its snapshot for as long as its cursor lives.
    found = rows(connection, statement, bindings)
    return found[0] if found else None


def value(connection: Executor, statement: str, bindings: Bindings = ()) -> Any:
    """The first cell of the first row, or None when there is no row."""
    found = row(connection, statement, bindings)
    return None if found is None else found[0]


def rows_of_each(connection: Executor, statement: str, bindings: Iterable[Bindings]) -> list[Row]:
    """All rows of a statement that runs once for each of the bindings."""
    found: list[Row] = connection.executemany(statement, bindings).fetchall()
    return found
