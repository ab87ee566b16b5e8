"""Where owners of domains want their backups: each domain may have a bucket of its own.

The directory keeps the secret access key only as its caller sealed it.
"""

from typing import Any

import msgspec
from sqlalchemy import Row, delete, insert, select

from mailsrv.directory import schema
from mailsrv.directory.addresses import normalise_domain
from mailsrv.directory.base import Part
from mailsrv.directory.values import DomainBucket
from mailsrv.errors import NoSuchDomain, StorageFailed
from mailsrv.settings import BucketPlace

_buckets = schema.bucket
_BUCKETS = select(
    schema.domain.c.id, schema.domain.c.name, _buckets.c.settings, _buckets.c.sealed_secret
).select_from(_buckets.join(schema.domain, schema.domain.c.id == _buckets.c.domain_id))


class Buckets(Part):
    """The buckets of domains. Who has one open looks here again before each use."""

    def set_bucket(self, domain: str, place: BucketPlace, sealed_secret: bytes) -> None:
        """Give the domain of this name a bucket, instead of the one it may have. NoSuchDomain."""
        name = normalise_domain(domain)
        values = {
            "settings": msgspec.json.encode(place).decode(),
            "sealed_secret": sealed_secret,
        }
        with self._database.writing(announce=False) as connection:
            query = select(schema.domain.c.id).where(schema.domain.c.name == name)
            domain_id = connection.execute(query).scalar()
            if domain_id is None:
                raise NoSuchDomain(f"no such domain: {name}")
            connection.execute(delete(_buckets).where(_buckets.c.domain_id == domain_id))
            connection.execute(insert(_buckets).values(domain_id=domain_id, **values))

    def bucket(self, domain: str) -> DomainBucket | None:
        """Return the bucket of the domain of this name, if it has one. StorageFailed."""
        query = _BUCKETS.where(schema.domain.c.name == normalise_domain(domain))
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _bucket(row)

    def buckets(self) -> list[DomainBucket]:
        """Return all buckets, by domain. StorageFailed."""
        with self._database.reading() as connection:
            found = [_bucket(row) for row in connection.execute(_BUCKETS)]
        return sorted(found, key=lambda one: one.domain)

    def remove_bucket(self, domain: str) -> bool:
        """Take a domain's bucket away, with nothing that is in it. False when it had none."""
        mine = schema.domain.c.name == normalise_domain(domain)
        domain_id = select(schema.domain.c.id).where(mine).scalar_subquery()
        with self._database.writing(announce=False) as connection:
            gone = connection.execute(delete(_buckets).where(_buckets.c.domain_id == domain_id))
            return gone.rowcount > 0


def _bucket(row: Row[*tuple[Any, ...]]) -> DomainBucket:
    domain_id, domain, settings, sealed = row
    try:
        place = msgspec.json.decode(settings, type=BucketPlace)
    except msgspec.MsgspecError:
        raise StorageFailed(f"the bucket of {domain}: its entry cannot be read") from None
    return DomainBucket(domain_id=domain_id, domain=domain, place=place, sealed_secret=sealed)
