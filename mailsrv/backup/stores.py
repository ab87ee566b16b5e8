"""Which store has the backups of an alias: the bucket of its domain, or the configured one.

A domain's secret access key lies in the directory under the secret of each server that was told
it: servers share the directory, not their secrets.
"""

import threading
from collections.abc import Sequence

import attrs
import msgspec

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.objects import open_bucket, open_store
from mailsrv.directory.directory import Alias, BackupStanding, Directory, DomainBucket
from mailsrv.errors import BackupStoreFailed, SealBroken
from mailsrv.settings import Backup, BucketPlace
from mailsrv.store.secret import ServerSecret

_PURPOSE = b"bucket"


@attrs.frozen
class _Open:
    known: DomainBucket
    store: IObjectStore


class BackupStores:
    """Blocking, any thread. What is changed in the directory counts from the next call on."""

    def __init__(self, backup: Backup, directory: Directory, secret: ServerSecret) -> None:
        """InvalidInput when the configured store cannot be opened."""
        self.default = open_store(backup)
        """Where backups are kept that have no other place; None for nowhere."""

        self._directory = directory
        self._secret = secret
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def of(self, alias: Alias) -> IObjectStore | None:
        """Where backups of this alias are put; None for nowhere.

        BackupStoreFailed when this server does not know the secret of the domain's bucket.
        """
        return self.of_domain(alias.domain)

    def of_domain(self, domain: str) -> IObjectStore | None:
        """The same for every alias of a domain."""
        known = self._directory.bucket(domain)
        with self._lock:
            if known is None:
                self._open.pop(domain, None)
                return self.default
            opened = self._open.get(domain)
            if opened is None or opened.known != known:
                secret = unsealed_secret(self._secret, known)
                opened = _Open(known, open_bucket(known.place, secret))
                self._open[domain] = opened
            return opened.store

    def kept(self, standings: Sequence[BackupStanding]) -> list[BackupStanding]:
        """Those of these whose backups are kept anywhere, if only in a bucket of their domain."""
        if self.default is not None:
            return list(standings)
        domains = {one.domain for one in self._directory.buckets()}
        return [one for one in standings if one.domain in domains]

    def everywhere(self, alias: Alias) -> list[IObjectStore]:
        """Where backups of this alias may be: some were made before its domain had a bucket."""
        stores = {id(store): store for store in (self.of(alias), self.default) if store is not None}
        return list(stores.values())


def sealed_secret(
    server: ServerSecret,
    domain_id: str,
    place: BucketPlace,
    secret: str,
    before: DomainBucket | None,
) -> bytes:
    """Seal a secret access key for this server.

    What other servers were told of the same bucket (``before``) stays.
    """
    seals = _seals(before) if before is not None and before.place == place else {}
    seals[server.volume()] = server.seal(_PURPOSE, domain_id, secret.encode())
    return msgspec.msgpack.encode(seals)


def unsealed_secret(server: ServerSecret, known: DomainBucket) -> str:
    """The secret access key. BackupStoreFailed when this server was not told it."""
    try:
        sealed = _seals(known)[server.volume()]
        return server.unseal(_PURPOSE, known.domain_id, sealed).decode()
    except (KeyError, SealBroken):
        raise BackupStoreFailed(
            f"the bucket of {known.domain}: this server does not know its secret access key: "
            f"mailsrv backup bucket set {known.domain}"
        ) from None


def _seals(known: DomainBucket) -> dict[str, bytes]:
    try:
        return msgspec.msgpack.decode(known.sealed_secret, type=dict[str, bytes])
    except msgspec.MsgspecError:
        return {}
