"""Putting a file into a bucket, in parts when it is large, and proving that it is there.

The proof is the ETag, where it is the MD5 of the octets that the store has: the same request has
been checked by the store against a SHA-256. Where ETags are something else (encryption with keys
of a key service, some stores' parts) the object is read back and compared.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from mailsrv.backup.objects.files import PIECE
from mailsrv.backup.objects.s3_download import digest_of_object
from mailsrv.backup.objects.s3_requests import (
    FAILURES,
    BucketRequests,
    Pace,
    Timing,
    code_of,
)
from mailsrv.errors import BackupStoreFailed, NoSuchBackup

PART = 16 * 1024 * 1024
"""Octets of a part. They are read from the file as they are sent, so they need no memory."""

MOST_PARTS = 10_000
SHA256 = "sha256"
"""Of an object's own metadata."""

_MD5 = re.compile(r"[0-9a-f]{32}")


class Slice:
    """A stretch of a file, as boto3 reads it: seekable, in small pieces, watched for its pace."""

    def __init__(self, file: BinaryIO, start: int, octets: int, timing: Timing) -> None:
        self._file = file
        self._start = start
        self._octets = octets
        self._timing = timing
        self._pace = Pace(timing)
        self._at = 0

    def read(self, octets: int | None = None) -> bytes:
        self._pace.check(self._at)
        return self._read(octets)

    def _read(self, octets: int | None) -> bytes:
        left = self._octets - self._at
        self._file.seek(self._start + self._at)
        data = self._file.read(left if octets is None or octets < 0 else min(octets, left))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._octets)[whence])
        if self._at == 0:
            self._pace = Pace(self._timing)
        return self._at

    def tell(self) -> int:
        return self._at

    def digest(self, name: str) -> bytes:
        """Of the whole stretch; then it is at its beginning again."""
        digest = hashlib.new(name, usedforsecurity=False)
        while piece := self._read(PIECE):
            digest.update(piece)
        self.seek(0)
        return digest.digest()


class Upload:
    """One file on its way to one name. ``run`` returns when it is there and proven."""

    def __init__(
        self, bucket: BucketRequests, name: str, file: BinaryIO, octets: int, part: int = PART
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._key = bucket.prefix + name
        self._file = file
        self._octets = octets
        self._part = part_octets(octets, part)
        self._sha256 = self._slice(0, octets).digest("sha256")

    def run(self) -> None:
        """BackupStoreFailed; then there is nothing of this name that differs from the file."""
        try:
            self._run()
        except NoSuchBackup as error:
            raise BackupStoreFailed(str(error)) from None

    def _run(self) -> None:
        proven = self._put_parts() if self._octets > self._part else self._put_whole()
        head = self._bucket.ask(f"look at {self._name}", "head_object", Key=self._key)
        said = head.get("Metadata", {}).get(SHA256, self._sha256.hex())
        if (
            head["ContentLength"] != self._octets
            or said != self._sha256.hex()
            or not (proven or self._reads_back())
        ):
            self._discard()

    def _reads_back(self) -> bool:
        return digest_of_object(self._bucket, self._name) == self._sha256

    def _discard(self) -> None:
        with suppress(NoSuchBackup):
            self._bucket.ask(f"remove {self._name}", "delete_object", Key=self._key)
        raise BackupStoreFailed(
            f"{self._bucket.where}: {self._name} is not there as it was sent: removed it"
        )

    def _put_whole(self) -> bool:
        body = self._slice(0, self._octets)
        md5 = body.digest("md5")
        answer = self._send(
            md5,
            lambda: self._bucket.once(
                "put_object",
                Key=self._key,
                Body=self._slice(0, self._octets),
                ContentMD5=base64.b64encode(md5).decode(),
                ContentType="application/octet-stream",
                Metadata={SHA256: self._sha256.hex()},
            ),
        )
        return _etag(answer) == md5.hex()

    def _put_parts(self) -> bool:
        upload = self._bucket.ask(
            f"put {self._name}",
            "create_multipart_upload",
            Key=self._key,
            ContentType="application/octet-stream",
            Metadata={SHA256: self._sha256.hex()},
        )["UploadId"]
        try:
            return self._fill(upload)
        except BaseException:
            # without patience: what cannot be aborted now is left to ``tidy``
            with suppress(*FAILURES):
                self._bucket.once("abort_multipart_upload", Key=self._key, UploadId=upload)
            raise

    def _fill(self, upload: str) -> bool:
        parts: list[dict[str, Any]] = []
        digests = hashlib.md5(usedforsecurity=False)
        for start in range(0, self._octets, self._part):
            number = len(parts) + 1
            octets = min(self._part, self._octets - start)
            md5 = self._slice(start, octets).digest("md5")
            digests.update(md5)
            answer = self._send_part(upload, number, start, octets, md5)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        etag = self._complete(upload, parts)
        return etag == f"{digests.hexdigest()}-{len(parts)}"

    def _send_part(
        self, upload: str, number: int, start: int, octets: int, md5: bytes
    ) -> dict[str, Any]:
        return self._send(
            md5,
            lambda: self._bucket.once(
                "upload_part",
                Key=self._key,
                UploadId=upload,
                PartNumber=number,
                Body=self._slice(start, octets),
                ContentMD5=base64.b64encode(md5).decode(),
            ),
        )

    def _complete(self, upload: str, parts: list[dict[str, Any]]) -> str:
        asked = 0

        def complete() -> dict[str, Any]:
            nonlocal asked
            asked += 1
            try:
                return self._bucket.once(
                    "complete_multipart_upload",
                    Key=self._key,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                )
            except FAILURES as error:
                # the answer to the first attempt may have been lost, not the request
                if asked > 1 and code_of(error) == "NoSuchUpload":
                    return self._bucket.once("head_object", Key=self._key)
                raise

        with self._bucket.failing(f"complete {self._name}"):
            return _etag(self._bucket.persist(complete))

    def _send(self, md5: bytes, send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Send, and once more if the store seems to have other octets than these."""
        with self._bucket.failing(f"put {self._name}"):
            answer = self._bucket.persist(send)
            return self._bucket.persist(send) if _tells_other(answer, md5) else answer

    def _slice(self, start: int, octets: int) -> Slice:
        return Slice(self._file, start, octets, self._bucket.timing)


def part_octets(octets: int, usual: int = PART) -> int:
    """How large the parts of a file are: the usual size, or more for what has too many."""
    least = -(-octets // MOST_PARTS)
    return usual if least <= usual else -(-least // PIECE) * PIECE


def _etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _tells_other(answer: dict[str, Any], md5: bytes) -> bool:
    encrypted = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    etag = _etag(answer)
    return not encrypted and _MD5.fullmatch(etag) is not None and etag != md5.hex()
