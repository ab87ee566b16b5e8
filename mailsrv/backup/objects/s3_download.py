"""Getting an object out of a bucket: in pieces, taken up again where it broke, compared."""

import hashlib
from typing import Any, BinaryIO, Protocol

from mailsrv.backup.objects.s3_requests import FAILURES, BucketRequests, Pace, is_transient
from mailsrv.errors import BackupStoreFailed

_PIECE = 64 * 1024
_WHOLE_ATTEMPTS = 2


class Target(Protocol):
    """Where the octets go."""

    def write(self, data: bytes, /) -> object: ...


class Download:
    """One object on its way to one target."""

    def __init__(
        self, bucket: BucketRequests, name: str, target: Target, most: int | None = None
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._target = target
        self._most = most
        self._pace = Pace(bucket.timing)
        self._hash = hashlib.sha256()
        self._got = 0
        self._octets = 0
        self._etag = ""
        self._expected: str | None = None

    def run(self) -> bool:
        """Bring it all; whether it is what was put there, as far as its metadata tell.

        NoSuchBackup, BackupStoreFailed; what the target raises.
        """
        failures = 0
        with self._bucket.failing(f"get {self._name}"):
            while True:
                before = self._got
                try:
                    self._read_on(self._open())
                except FAILURES as error:
                    failures = 1 if self._got > before else failures + 1
                    if failures >= self._bucket.timing.attempts or not is_transient(error):
                        raise
                    self._bucket.rest(failures)
                else:
                    return self._expected in (None, self._hash.hexdigest())

    @property
    def digest(self) -> bytes:
        """SHA-256 of what came."""
        return self._hash.digest()

    def _open(self) -> Any:
        arguments: dict[str, Any] = {"Key": self._bucket.prefix + self._name}
        if self._got:
            arguments |= {"Range": f"bytes={self._got}-", "IfMatch": self._etag}
        answer = self._bucket.once("get_object", **arguments)
        if not self._got:
            self._octets = answer["ContentLength"]
            self._etag = answer["ETag"]
            self._expected = answer.get("Metadata", {}).get("sha256")
            if self._most is not None and self._octets > self._most:
                answer["Body"].close()
                raise BackupStoreFailed(
                    f"{self._bucket.where}: {self._name} has {self._octets} octets, too many"
                )
        return answer["Body"]

    def _read_on(self, body: Any) -> None:
        try:
            while piece := body.read(_PIECE):
                self._pace.check(self._got)
                self._target.write(piece)
                self._hash.update(piece)
                self._got += len(piece)
        finally:
            body.close()
        if self._got != self._octets:
            raise BackupStoreFailed(
                f"{self._bucket.where}: {self._name} has {self._octets} octets, {self._got} came"
            )


def download(bucket: BucketRequests, name: str, target: BinaryIO, most: int | None = None) -> None:
    """Write an object to ``target``, which is empty; ``most`` limits its octets.

    What came damaged is fetched once more. NoSuchBackup, BackupStoreFailed.
    """
    for _ in range(_WHOLE_ATTEMPTS):
        if Download(bucket, name, target, most).run():
            return
        target.seek(0)
        target.truncate()
    raise BackupStoreFailed(
        f"{bucket.where}: {name} came back with other octets than were put there"
    )


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass


def digest_of_object(bucket: BucketRequests, name: str) -> bytes:
    """SHA-256 of what the bucket gives back. NoSuchBackup, BackupStoreFailed."""
    coming = Download(bucket, name, _Nowhere())
    coming.run()
    return coming.digest
