"""What aliases hold, and what they may: limits on alias, domain and account, pooled."""

from typing import Any, Literal

from sqlalchemy import ColumnElement, ScalarSelect, Table, bindparam, case, func, select, update

from mailsrv.directory import schema
from mailsrv.directory.base import Part, checked_quota
from mailsrv.directory.values import QuotaLevel, QuotaLevels, Usage
from mailsrv.errors import InvalidInput, NoSuchAlias

Level = Literal["alias", "domain", "account"]

_TABLES: dict[str, Table] = {
    "alias": schema.alias,
    "domain": schema.domain,
    "account": schema.account,
}


class Quotas(Part):
    """Usage is counted per alias and summed when asked."""

    def set_quota(self, level: Level, identity: str, octets: int | None) -> None:
        """Set the limit of an alias, domain or account by ObjectID. InvalidInput if unknown."""
        table = _TABLES[level]
        with self._database.writing(announce=False) as connection:
            changed = connection.execute(
                update(table).where(table.c.id == identity).values(quota=checked_quota(octets))
            )
            if changed.rowcount == 0:
                raise InvalidInput(f"no such {level}")

    def set_usage(self, alias_id: str, octets: int, messages: int, recoverable: int = 0) -> None:
        """Replace the count, after counting a mailbox anew. NoSuchAlias.

        ``recoverable`` are those of the octets that expunged messages have. Like ``add_usage`` not
        synced by itself: a count can be made again from the mailbox.
        """
        self._write_usage(
            alias_id, {"octets": octets, "messages": messages, "recoverable": recoverable}
        )

    def add_usage(self, alias_id: str, octets: int, messages: int, recoverable: int = 0) -> None:
        """Add to the count (negative numbers take away); it never falls below 0. NoSuchAlias."""
        table = schema.usage.c
        self._write_usage(
            alias_id,
            {
                "octets": _not_negative(table.octets + octets),
                "messages": _not_negative(table.messages + messages),
                "recoverable": _not_negative(table.recoverable + recoverable),
            },
        )

    def usage(self, alias_id: str) -> Usage:
        """Return what an alias holds. NoSuchAlias."""
        table = schema.usage
        columns = (table.c.octets, table.c.messages, table.c.recoverable)
        query = select(*columns).where(table.c.alias_id == alias_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NoSuchAlias("no such alias")
        return Usage(octets=row.octets, messages=row.messages, recoverable=row.recoverable)

    def quota(self, alias_id: str) -> QuotaLevels:
        """Return use and limit of the alias, its domain and its account. NoSuchAlias."""
        with self._database.reading() as connection:
            row = connection.execute(_LEVELS, {"alias_id": alias_id}).first()
        if row is None:
            raise NoSuchAlias("no such alias")
        return QuotaLevels(
            alias=QuotaLevel(used=row.octets, limit=row.alias_limit),
            domain=QuotaLevel(used=int(row.domain_used or 0), limit=row.domain_limit),
            account=QuotaLevel(used=int(row.account_used or 0), limit=row.account_limit),
            messages=row.messages,
            recoverable=row.recoverable,
        )

    def _write_usage(self, alias_id: str, values: dict[str, Any]) -> None:
        table = schema.usage
        with self._database.writing(durable=False, announce=False) as connection:
            changed = connection.execute(
                update(table).where(table.c.alias_id == alias_id).values(values)
            )
            if changed.rowcount == 0:
                raise NoSuchAlias("no such alias")


def _not_negative(value: ColumnElement[int]) -> ColumnElement[int]:
    return case((value < 0, 0), else_=value)


def _used_by_domain() -> ScalarSelect[Any]:
    """Octets of all aliases of the domain in the enclosing query."""
    peer, usage = schema.alias.alias("peer"), schema.usage.alias("of_peer")
    return (
        select(func.sum(usage.c.octets))
        .select_from(peer.join(usage, usage.c.alias_id == peer.c.id))
        .where(peer.c.domain_id == schema.domain.c.id)
        .correlate(schema.domain)
        .scalar_subquery()
    )


def _used_by_account() -> ScalarSelect[Any]:
    """Octets of all aliases of all domains of the account in the enclosing query."""
    sibling, cousin = schema.domain.alias("sibling"), schema.alias.alias("cousin")
    usage = schema.usage.alias("of_cousin")
    return (
        select(func.sum(usage.c.octets))
        .select_from(
            sibling.join(cousin, cousin.c.domain_id == sibling.c.id).join(
                usage, usage.c.alias_id == cousin.c.id
            )
        )
        .where(sibling.c.account_id == schema.account.c.id)
        .correlate(schema.account)
        .scalar_subquery()
    )


_LEVELS = (
    select(
        schema.usage.c.octets,
        schema.usage.c.messages,
        schema.usage.c.recoverable,
        schema.alias.c.quota.label("alias_limit"),
        schema.domain.c.quota.label("domain_limit"),
        schema.account.c.quota.label("account_limit"),
        _used_by_domain().label("domain_used"),
        _used_by_account().label("account_used"),
    )
    .select_from(
        schema.alias.join(schema.usage, schema.usage.c.alias_id == schema.alias.c.id)
        .join(schema.domain, schema.domain.c.id == schema.alias.c.domain_id)
        .outerjoin(schema.account, schema.account.c.id == schema.domain.c.account_id)
    )
    .where(schema.alias.c.id == bindparam("alias_id"))
)
