"""The whole directory as lines of JSON, to be kept elsewhere or moved to another database.

A dump is of one moment, whoever writes meanwhile, and says of which schema it is; octets are in
base64. It holds addresses, verifiers of passwords and sealed keys, and no password: what it opens
is nothing, but who has it can guess at passwords, so it wants to be kept as the directory is.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Table,
    Text,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from mailsrv.directory import schema
from mailsrv.directory.base import Part
from mailsrv.errors import AlreadyExists, InvalidInput, SchemaMismatch

FORMAT = 1

_NOTE = (
    "addresses, verifiers of passwords and sealed keys of a mail server; no passwords: "
    "keep it as secret as its directory"
)
_ROWS_AT_ONCE = 500
_TYPES: dict[type[Any], Any] = {
    BigInteger: int,
    Integer: int,
    Boolean: bool,
    LargeBinary: bytes,
    Text: str,
}


class _Head(msgspec.Struct, frozen=True, tag_field="kind", tag="mailsrv directory"):
    format: int
    schema: str
    made: str
    note: str = _NOTE


class _Row(msgspec.Struct, frozen=True, tag_field="kind", tag="row"):
    table: str
    row: msgspec.Raw


class _End(msgspec.Struct, frozen=True, tag_field="kind", tag="end"):
    rows: int
    """How many there must have been: a dump that was cut short is none."""


class Dumps(Part):
    """From either kind of database into either."""

    def dump(self, write: Callable[[bytes], object]) -> int:
        """Hand out the directory line by line; how many rows there were."""
        count = 0
        write(_line(_Head(format=FORMAT, schema=schema.HEAD, made=self._time())))
        with self._database.snapshot() as connection:
            for table in schema.metadata.sorted_tables:
                for row in _rows(connection, table):
                    write(_line(_Row(table=str(table.name), row=msgspec.Raw(row))))
                    count += 1
        write(_line(_End(rows=count)))
        return count

    def load(self, lines: Iterable[bytes]) -> int:
        """Fill an empty directory with a dump, all or nothing; how many rows there were.

        AlreadyExists when it is not empty; SchemaMismatch for the dump of another version;
        InvalidInput says which line is wrong.
        """
        numbered = enumerate(lines, 1)
        _check_head(numbered)
        with self._database.writing() as connection:
            _require_empty(connection)
            try:
                return _fill(connection, numbered)
            except IntegrityError:
                raise InvalidInput("the dump contradicts itself: a row refers to none") from None


def _line(part: msgspec.Struct) -> bytes:
    return msgspec.json.encode(part) + b"\n"


def _rows(connection: Connection, table: Table) -> Iterator[bytes]:
    query = select(table).order_by(*table.primary_key.columns)
    names = [str(column.name) for column in table.columns]  # not SQLAlchemy's own kind of text
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
        yield msgspec.json.encode(dict(zip(names, row, strict=True)))


def _check_head(numbered: Iterator[tuple[int, bytes]]) -> None:
    _, line = next(numbered, (1, b""))
    try:
        head = msgspec.json.decode(line, type=_Head)
    except msgspec.MsgspecError:
        raise InvalidInput("this is no dump of a directory") from None
    if head.format != FORMAT:
        raise SchemaMismatch(f"the dump has format {head.format}, this version knows {FORMAT}")
    if head.schema != schema.HEAD:
        raise SchemaMismatch(
            f"the dump has schema {head.schema}, this version knows {schema.HEAD}: load it with "
            "the version of mailsrv that made it, then upgrade"
        )


def _require_empty(connection: Connection) -> None:
    for table in schema.metadata.sorted_tables:
        if table is schema.revision:
            continue
        if connection.execute(select(*table.primary_key.columns).limit(1)).first() is not None:
            raise AlreadyExists(
                f"the directory is not empty (table {table.name}): a dump fills a new one only"
            )


def _fill(connection: Connection, numbered: Iterator[tuple[int, bytes]]) -> int:
    count, ended = 0, False
    batch: list[dict[str, Any]] = []
    filling: Table | None = None
    for number, line in numbered:
        if ended:
            raise InvalidInput(f"line {number}: expected nothing after the end of the dump")
        part = _decoded(number, line)
        if isinstance(part, _End):
            ended = _complete(part, count)
            continue
        table = schema.metadata.tables.get(part.table)
        if table is None:
            raise InvalidInput(f"line {number}: there is no table of that name")
        if table is not filling or len(batch) >= _ROWS_AT_ONCE:
            _insert(connection, filling, batch)
            filling, batch = table, []
        batch.append(_values(number, table, part.row))
        count += 1
    if not ended:
        raise InvalidInput("the dump was cut short: its last line is missing")
    _insert(connection, filling, batch)
    return count


def _complete(end: _End, count: int) -> bool:
    if end.rows != count:
        raise InvalidInput(f"the dump was cut: expected {end.rows} rows, found {count}")
    return True


def _decoded(number: int, line: bytes) -> _Row | _End:
    try:
        return msgspec.json.decode(line, type=_Row | _End)
    except msgspec.MsgspecError:
        raise InvalidInput(f"line {number}: expected a row or the end of the dump") from None


def _values(number: int, table: Table, row: msgspec.Raw) -> dict[str, Any]:
    try:
        return msgspec.structs.asdict(msgspec.json.decode(row, type=_shape(table)))
    except msgspec.MsgspecError:
        # what the decoder says may quote what it found
        raise InvalidInput(f"line {number}: expected a row of table {table.name}") from None


@cache
def _shape(table: Table) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        f"Row_{table.name}",
        [(str(column.name), _type(column)) for column in table.columns],
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _type(column: Column[Any]) -> Any:
    kind = _TYPES[type(column.type)]
    return kind | None if column.nullable else kind


def _insert(connection: Connection, table: Table | None, rows: list[dict[str, Any]]) -> None:
    if table is None or not rows:
        return
    if table is schema.revision:
        # grown in any case: who knows the empty directory must notice
        known = connection.execute(select(table.c.value)).scalar_one()
        connection.execute(update(table).values(value=max(known, rows[0]["value"])))
        return
    connection.execute(insert(table), rows)
