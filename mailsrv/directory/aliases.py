"""Aliases: the addresses that are ours, and where mail for any address goes."""

from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mailsrv.directory import schema
from mailsrv.directory.addresses import Address, normalise_domain, parse
from mailsrv.directory.base import Part, checked_quota
from mailsrv.directory.values import Alias
from mailsrv.errors import AliasDisabled, AlreadyExists, InvalidInput, NoSuchAlias, NoSuchDomain


class Aliases(Part):
    """Addresses, as owners write them and as the world writes to them."""

    def add_alias(self, address: str, *, quota: int | None = None, enabled: bool = True) -> Alias:
        """Add an alias; ``*@example.com`` takes what no other alias of the domain takes.

        AlreadyExists, NoSuchDomain, InvalidInput.
        """
        parsed = parse(address)
        made = Alias(
            id=self._new_id(),
            address=str(parsed),
            enabled=enabled,
            quota=checked_quota(quota),
            created=self._time(),
        )
        with self._database.writing() as connection:
            domain_id = _domain_id(connection, parsed.domain)
            try:
                _insert(connection, made, domain_id)
            except IntegrityError:
                raise AlreadyExists(f"{made.address} exists already") from None
        return made

    def aliases(self, domain: str | None = None) -> list[Alias]:
        """Return all aliases, or those of one domain, by domain and address. NoSuchDomain."""
        query = _ALIASES
        with self._database.reading() as connection:
            if domain is not None:
                domain_id = _domain_id(connection, normalise_domain(domain))
                query = query.where(schema.alias.c.domain_id == domain_id)
            found = [_alias(row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: (one.domain, one.address))

    def alias(self, address: str) -> Alias:
        """Return the alias of exactly this address. NoSuchAlias, NoSuchDomain, InvalidInput."""
        parsed = parse(address)
        with self._database.reading() as connection:
            found = _first(connection, _ALIASES.where(schema.alias.c.address == str(parsed)))
            if found is None:
                raise _unknown(connection, parsed)
        return found

    def alias_by_id(self, alias_id: str) -> Alias:
        """Return the alias of an ObjectID. NoSuchAlias."""
        with self._database.reading() as connection:
            found = _first(connection, _ALIASES.where(schema.alias.c.id == alias_id))
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

    def delete_alias(self, alias_id: str) -> list[str]:
        """Delete an alias with its credentials; return the ids of its files, archives included.

        The files are the caller's to remove; until ``forget_mailbox`` they stay among
        ``discarded_mailboxes``. NoSuchAlias.
        """
        files = schema.mailbox
        with self._database.writing() as connection:
            mine = files.c.alias_id == alias_id
            ids = list(connection.execute(select(files.c.id).where(mine)).scalars())
            connection.execute(update(files).where(mine).values(state=schema.DISCARDED))
            gone = connection.execute(delete(schema.alias).where(schema.alias.c.id == alias_id))
            if gone.rowcount == 0:
                raise NoSuchAlias("no such alias")
        return ids

    def resolve(self, address: str) -> tuple[Alias, str | None]:
        """Return where mail for an address goes, and its plus detail.

        An alias of exactly this address wins, then the address without "+detail", then the
        domain's catch-all. NoSuchAlias, NoSuchDomain, AliasDisabled; NoSuchAlias too for what
        is no address.
        """
        parsed = _parse_from_outside(address)
        base = parsed.without_detail()
        detail = base[1] if base else None
        wanted = {str(parsed): None, parsed.catch_all(): detail}
        if base:
            wanted.setdefault(base[0], detail)
        order = [str(parsed), *([base[0]] if base else []), parsed.catch_all()]
        with self._database.reading() as connection:
            query = _ALIASES.where(schema.alias.c.address.in_(order))
            found = [_alias(row) for row in connection.execute(query)]
            if not found:
                raise _unknown(connection, parsed)
        best = min(found, key=lambda one: order.index(one.address))
        if not best.enabled:
            raise AliasDisabled(f"{best.address} takes no mail at present")
        return best, wanted[best.address]


_ALIASES = select(
    schema.alias.c.id,
    schema.alias.c.address,
    schema.alias.c.enabled,
    schema.alias.c.quota,
    schema.alias.c.created,
)


def _alias(row: Row[*tuple[Any, ...]]) -> Alias:
    identity, address, enabled, quota, created = row
    return Alias(id=identity, address=address, enabled=enabled, quota=quota, created=created)


def _first(connection: Connection, query: Select[Any]) -> Alias | None:
    row = connection.execute(query).first()
    return None if row is None else _alias(row)


def _insert(connection: Connection, made: Alias, domain_id: str) -> None:
    connection.execute(
        insert(schema.alias).values(
            id=made.id,
            domain_id=domain_id,
            address=made.address,
            enabled=made.enabled,
            quota=made.quota,
            created=made.created,
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
