"""Whose a name is: two data directories that are one primary would each miss the other's files."""

from contextlib import suppress

from sqlalchemy import delete, insert, select

from mailsrv.directory import schema
from mailsrv.directory.base import Part, checked_primary
from mailsrv.directory.values import KnownPrimary
from mailsrv.errors import AlreadyExists, InvalidInput

_volumes = schema.volume


class Primaries(Part):
    """The primaries that have started with this directory, each with its volume."""

    def claim_primary(self, name: str, volume: str) -> None:
        """Take the name for this volume, once and for ever; of several at once one gets it.

        ``volume`` is what tells a volume from all others. InvalidInput when the name is another's.
        """
        owner = self._owner(checked_primary(name))
        if owner is None:
            claim = insert(_volumes).values(primary=name, volume=volume, created=self._time())
            with suppress(AlreadyExists), self._database.writing(announce=False) as connection:
                connection.execute(claim)
            owner = self._owner(name)
        if owner != volume:
            raise InvalidInput(
                f"link.name: primary '{name}' of this directory is another data directory: "
                "give this one a name of its own, or, if it takes the other's place, that one's "
                f"server.key (where that is lost: mailsrv primary forget {name})"
            )

    def primaries(self) -> list[KnownPrimary]:
        """Return all that have started, by name."""
        query = select(_volumes.c.primary, _volumes.c.created)
        with self._database.reading() as connection:
            return sorted(KnownPrimary(*row) for row in connection.execute(query))

    def forget_primary(self, name: str) -> bool:
        """Let the next volume have the name that starts with it. False when nobody has it."""
        gone = delete(_volumes).where(_volumes.c.primary == name)
        with self._database.writing(announce=False) as connection:
            return connection.execute(gone).rowcount > 0

    def _owner(self, name: str) -> str | None:
        query = select(_volumes.c.volume).where(_volumes.c.primary == name)
        with self._database.reading() as connection:
            found: str | None = connection.execute(query).scalar()
        return found
