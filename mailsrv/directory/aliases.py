"""Aliases: the addresses that are ours, and where mail for any address goes."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from mailsrv.directory import schema
from mailsrv.directory.addresses import Address, normalise_domain, parse
from mailsrv.directory.base import Part, checked_primary, checked_quota
from mailsrv.directory.values import DEFAULT_PRIMARY, Alias
from mailsrv.errors import AliasDisabled, AlreadyExists, InvalidInput, NoSuchAlias, NoSuchDomain


class Aliases(Part):
    """Addresses, as owners write them and as the world writes to them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Every recipient of every message asks this, most of them for an address as it is.
        self._find_address = self._database.lookup(
            ALIASES.where(schema.alias.c.address == bindparam("address"))
        )

    def add_alias(
        self,
        address: str,
        *,
        quota: int | None = None,
        enabled: bool = True,
        primary: str = DEFAULT_PRIMARY,
    ) -> Alias:
        """Add an alias; ``*@example.com`` takes what no other alias of the domain takes.

        ``primary`` names the one that shall serve it. AlreadyExists, as long too as a deleted
        one of that address is not erased; NoSuchDomain, InvalidInput.
        """
        parsed = parse(address)
        made = Alias(
            id=self._new_id(),
            address=str(parsed),
            enabled=enabled,
            quota=checked_quota(quota),
            created=self._time(),
            primary=checked_primary(primary),
        )
        with self._database.writing() as connection:
            domain_id = _domain_id(connection, parsed.domain)
            _check_not_deleted(connection, made.address)
            try:
                _insert(connection, made, domain_id)
            except IntegrityError:
                raise AlreadyExists(f"{made.address} exists already") from None
        return made

    def aliases(self, domain: str | None = None) -> list[Alias]:
        """Return all aliases, or those of one domain, by domain and address. NoSuchDomain."""
        query = ALIASES
        with self._database.reading() as connection:
            if domain is not None:
                domain_id = _domain_id(connection, normalise_domain(domain))
                query = query.where(schema.alias.c.domain_id == domain_id)
            found = [as_alias(row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: (one.domain, one.address))

    def alias(self, address: str) -> Alias:
        """Return the alias of exactly this address. NoSuchAlias, NoSuchDomain, InvalidInput."""
        parsed = parse(address)
        with self._database.reading() as connection:
            found = _first(connection, ALIASES.where(schema.alias.c.address == str(parsed)))
            if found is None:
                raise _unknown(connection, parsed)
        return found

    def alias_by_id(self, alias_id: str) -> Alias:
        """Return the alias of an ObjectID. NoSuchAlias."""
        with self._database.reading() as connection:
            found = _first(connection, ALIASES.where(schema.alias.c.id == alias_id))
        if found is None:
            raise NoSuchAlias("no such alias")
        return found

    def set_alias_enabled(self, alias_id: str, enabled: bool) -> None:
        """Let an alias take mail and logins, or not. NoSuchAlias."""
        table = schema.alias
        with self._database.writing() as connection:
            changed = connection.execute(
                update(table).where(table.c.id == alias_id).values(enabled=enabled)
            )
            if changed.rowcount == 0:
                raise NoSuchAlias("no such alias")

    def resolve(self, address: str) -> tuple[Alias, str | None]:
        """Return where mail for an address goes, and its plus detail.

        An alias of exactly this address wins, then the address without "+detail", then the
        domain's catch-all. NoSuchAlias, NoSuchDomain, AliasDisabled; NoSuchAlias too for what
        is no address, and for an alias that was deleted: senders shall forget it (rfc3463:
        5.1.1), as they will have to. Until it is erased its mail does not fall to the catch-all,
        since its owner may come back.
        """
        parsed = _parse_from_outside(address)
        base, detail = parsed.without_detail() or (str(parsed), None)
        for candidate, rest in ((str(parsed), None), (base, detail), (parsed.catch_all(), detail)):
            row = self._find_address(address=candidate)
            if row is not None:
                found = as_alias(row)
                if found.deleted is not None:
                    raise NoSuchAlias(f"no such address: {parsed}")
                if not found.enabled:
                    raise AliasDisabled(f"{found.address} takes no mail at present")
                return found, rest
        with self._database.reading() as connection:
            raise _unknown(connection, parsed)


ALIASES = select(
    schema.alias.c.id,
    schema.alias.c.address,
    schema.alias.c.enabled,
    schema.alias.c.quota,
    schema.alias.c.created,
    schema.alias.c.primary,
    schema.alias.c.deleted,
)


def as_alias(row: Iterable[Any]) -> Alias:
    """A row of ``ALIASES``."""
    identity, address, enabled, quota, created, primary, deleted = row
    return Alias(
        id=identity,
        address=address,
        enabled=bool(enabled),  # the driver of SQLite knows no booleans
        quota=quota,
        created=created,
        primary=primary,
        deleted=deleted,
    )


def _first(connection: Connection, query: Select[Any]) -> Alias | None:
    row = connection.execute(query).first()
    return None if row is None else as_alias(row)


def _check_not_deleted(connection: Connection, address: str) -> None:
    found = _first(connection, ALIASES.where(schema.alias.c.address == address))
    if found is not None and found.deleted is not None:
        raise AlreadyExists(
            f"{address} was deleted at {found.deleted} and is not erased yet: "
            "undelete it, or have it erased now"
        )


def _insert(connection: Connection, made: Alias, domain_id: str) -> None:
    connection.execute(
        insert(schema.alias).values(
            id=made.id,
            domain_id=domain_id,
            address=made.address,
            enabled=made.enabled,
            quota=made.quota,
            created=made.created,
            primary=made.primary,
        )
    )
    connection.execute(insert(schema.usage).values(alias_id=made.id, octets=0, messages=0))


def _domain_id(connection: Connection, name: str) -> str:
    table = schema.domain
    found: str | None = connection.execute(select(table.c.id).where(table.c.name == name)).scalar()
    if found is None:
        raise NoSuchDomain(f"no such domain: {name}")
    return found


def _unknown(connection: Connection, address: Address) -> NoSuchAlias | NoSuchDomain:
    try:
        _domain_id(connection, address.domain)
    except NoSuchDomain as error:
        return error
    return NoSuchAlias(f"no such address: {address}")


def _parse_from_outside(address: str) -> Address:
    try:
        return parse(address)
    except InvalidInput as error:
        raise NoSuchAlias(f"no such address: {error}") from None
