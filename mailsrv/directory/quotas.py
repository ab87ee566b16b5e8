"""What aliases hold, and what they may: limits on alias, domain and account, pooled."""

from typing import Any, Literal

from sqlalchemy import ColumnElement, Table, bindparam, case, func, select, update

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

    def set_usage(self, alias_id: str, octets: int, messages: int) -> None:
        """Replace the count, after counting a mailbox anew. NoSuchAlias.

        Like ``add_usage`` not synced by itself: a count can be made again from the mailbox.
        """
        self._write_usage(alias_id, {"octets": octets, "messages": messages})

    def add_usage(self, alias_id: str, octets: int, messages: int) -> None:
        """Add to the count (negative numbers take away); it never falls below 0. NoSuchAlias."""
        table = schema.usage.c
        self._write_usage(
            alias_id,
            {
                "octets": _not_negative(table.octets + octets),
                "messages": _not_negative(table.messages + messages),
            },
        )

    def usage(self, alias_id: str) -> Usage:
        """Return what an alias holds. NoSuchAlias."""
        table = schema.usage
        query = select(table.c.octets, table.c.messages).where(table.c.alias_id == alias_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NoSuchAlias("no such alias")
        return Usage(octets=row.octets, messages=row.messages)

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


def _levels() -> Any:
    """One query: the alias's own row, and the sums over its domain and its account."""
    alias, domain, account, usage = schema.alias, schema.domain, schema.account, schema.usage
    peer, of_peer, sibling = alias.alias("peer"), usage.alias("of_peer"), domain.alias("sibling")
    in_domain = (
        select(func.sum(of_peer.c.octets))
        .select_from(peer.join(of_peer, of_peer.c.alias_id == peer.c.id))
        .where(peer.c.domain_id == domain.c.id)
        .correlate(domain)
        .scalar_subquery()
    )
    in_account = (
        select(func.sum(of_peer.c.octets))
        .select_from(
            sibling.join(peer, peer.c.domain_id == sibling.c.id).join(
                of_peer, of_peer.c.alias_id == peer.c.id
            )
        )
        .where(sibling.c.account_id == account.c.id)
        .correlate(account)
        .scalar_subquery()
    )
    return (
        select(
            usage.c.octets,
            usage.c.messages,
            alias.c.quota.label("alias_limit"),
            domain.c.quota.label("domain_limit"),
            account.c.quota.label("account_limit"),
            in_domain.label("domain_used"),
            in_account.label("account_used"),
        )
        .select_from(
            alias.join(usage, usage.c.alias_id == alias.c.id)
            .join(domain, domain.c.id == alias.c.domain_id)
            .outerjoin(account, account.c.id == domain.c.account_id)
        )
        .where(alias.c.id == bindparam("alias_id"))
    )


_LEVELS = _levels()
