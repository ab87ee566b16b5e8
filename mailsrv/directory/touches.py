"""Who writes to a mailbox beside the server says so here; the server looks, and tells sessions."""

from collections.abc import Sequence

from sqlalchemy import select, update

from mailsrv.directory import schema
from mailsrv.directory.base import Part
from mailsrv.errors import NoSuchAlias

_AT_ONCE = 500
"""Aliases that one question names; databases limit the number of parameters."""


class Touches(Part):
    """A number for each alias that only grows."""

    def touch(self, alias_id: str) -> None:
        """Say that messages or folders of the alias were changed. NoSuchAlias."""
        table = schema.alias
        with self._database.writing() as connection:
            changed = connection.execute(
                update(table).where(table.c.id == alias_id).values(touched=table.c.touched + 1)
            )
            if changed.rowcount == 0:
                raise NoSuchAlias("no such alias")

    def touched(self, alias_ids: Sequence[str]) -> dict[str, int]:
        """For each of these aliases how often it was touched, if ever."""
        table = schema.alias
        found: dict[str, int] = {}
        with self._database.reading() as connection:
            for start in range(0, len(alias_ids), _AT_ONCE):
                query = select(table.c.id, table.c.touched).where(
                    table.c.id.in_(alias_ids[start : start + _AT_ONCE]), table.c.touched > 0
                )
                found |= {row.id: row.touched for row in connection.execute(query)}
        return found
