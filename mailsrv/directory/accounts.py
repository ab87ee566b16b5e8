"""Accounts and the domains that they own."""

import unicodedata
from typing import Any

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from mailsrv.directory import schema
from mailsrv.directory.addresses import normalise_domain
from mailsrv.directory.base import Part, checked_quota
from mailsrv.directory.values import Account, Domain
from mailsrv.errors import AlreadyExists, InvalidInput, NoSuchDomain

_MAX_ACCOUNT_NAME = 128


class Accounts(Part):
    """Who owns which domain."""

    def add_account(self, name: str, *, quota: int | None = None) -> Account:
        """Add an account. AlreadyExists, InvalidInput."""
        made = Account(
            id=self._new_id(),
            name=_account_name(name),
            quota=checked_quota(quota),
            created=self._time(),
        )
        table = schema.account
        with self._database.writing() as connection:
            try:
                connection.execute(
                    insert(table).values(
                        id=made.id, name=made.name, quota=made.quota, created=made.created
                    )
                )
            except IntegrityError:
                raise AlreadyExists(f"account {made.name} exists already") from None
        return made

    def accounts(self) -> list[Account]:
        """Return all accounts by name."""
        table = schema.account
        query = select(table.c.id, table.c.name, table.c.quota, table.c.created)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        found = [Account(id=i, name=n, quota=q, created=c) for i, n, q, c in rows]
        return sorted(found, key=lambda one: one.name)

    def add_domain(self, name: str, account: str | None = None, quota: int | None = None) -> Domain:
        """Add a domain; ``account`` is the name of its owner. AlreadyExists, InvalidInput."""
        made = Domain(
            id=self._new_id(),
            name=normalise_domain(name),
            account=None if account is None else _account_name(account),
            quota=checked_quota(quota),
            created=self._time(),
        )
        with self._database.writing() as connection:
            try:
                connection.execute(
                    insert(schema.domain).values(
                        id=made.id,
                        name=made.name,
                        account_id=_account_id(connection, made.account),
                        quota=made.quota,
                        created=made.created,
                    )
                )
            except IntegrityError:
                raise AlreadyExists(f"domain {made.name} exists already") from None
        return made

    def domains(self) -> list[Domain]:
        """Return all domains by name."""
        with self._database.reading() as connection:
            found = [_domain(row) for row in connection.execute(_DOMAINS)]
        return sorted(found, key=lambda one: one.name)

    def domain(self, name: str) -> Domain:
        """Return a domain. NoSuchDomain, InvalidInput."""
        normal = normalise_domain(name)
        with self._database.reading() as connection:
            row = connection.execute(_DOMAINS.where(schema.domain.c.name == normal)).first()
        if row is None:
            raise NoSuchDomain(f"no such domain: {normal}")
        return _domain(row)


_DOMAINS = select(
    schema.domain.c.id,
    schema.domain.c.name,
    schema.account.c.name,
    schema.domain.c.quota,
    schema.domain.c.created,
).select_from(schema.domain.outerjoin(schema.account))


def _domain(row: Row[*tuple[Any, ...]]) -> Domain:
    identity, name, account, quota, created = row
    return Domain(id=identity, name=name, account=account, quota=quota, created=created)


def _account_name(name: str) -> str:
    normal = unicodedata.normalize("NFC", name.strip()).casefold()
    if not 0 < len(normal) <= _MAX_ACCOUNT_NAME or not normal.isprintable():
        raise InvalidInput(f"an account's name has 1 to {_MAX_ACCOUNT_NAME} printable characters")
    return normal


def _account_id(connection: Connection, name: str | None) -> str | None:
    if name is None:
        return None
    table = schema.account
    found: str | None = connection.execute(select(table.c.id).where(table.c.name == name)).scalar()
    if found is None:
        raise InvalidInput(f"no such account: {name}")
    return found
