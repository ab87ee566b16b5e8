"""Backups in a bucket of an S3-compatible store.

An object is there whole or not at all, as the protocol has it. Loading this module loads boto3,
which takes a third of a second: import it where a bucket is needed.
"""

import builtins
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from zope.interface import implementer

from mailsrv.backup.interfaces import IObjectStore, StoredObject
from mailsrv.backup.objects.files import new_file
from mailsrv.backup.objects.names import READ_LIMIT, checked_name, checked_prefix, is_name
from mailsrv.backup.objects.s3_download import download
from mailsrv.backup.objects.s3_requests import (
    FAILURES,
    USUAL,
    BucketRequests,
    Timing,
    checked_code,
    status_of,
)
from mailsrv.backup.objects.s3_upload import PART, Upload
from mailsrv.errors import BackupStoreFailed, NoSuchBackup
from mailsrv.settings import BucketPlace
from mailsrv.store.volume import naming

_BATCH = 1000
"""Names in one request to remove them: the protocol's limit."""

_MISSING = {"NoSuchKey", "NoSuchVersion"}
_NOT_KNOWN = {405, 501}


@implementer(IObjectStore)
class S3Store:
    """``secret`` is the secret access key. No input or output before the first call."""

    def __init__(
        self, place: BucketPlace, secret: str, timing: Timing = USUAL, part: int = PART
    ) -> None:
        self.requests = BucketRequests(place, secret, timing)
        self._part = part

    def __repr__(self) -> str:
        return f"<S3Store {self.requests.where}>"

    def __str__(self) -> str:
        return self.requests.where

    def put(self, name: str, path: Path) -> None:
        with naming(path), path.open("rb") as file:
            self._put(name, file, path.stat().st_size)

    def write(self, name: str, data: bytes) -> None:
        self._put(name, BytesIO(data), len(data))

    def get(self, name: str, path: Path) -> None:
        checked_name(name)
        with new_file(path) as target:
            download(self.requests, name, target)

    def read(self, name: str) -> bytes:
        target = BytesIO()
        download(self.requests, checked_name(name), target, READ_LIMIT)
        return target.getvalue()

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self._list(checked_prefix(prefix))

    def remove(self, names: Iterable[str]) -> int:
        left, removed = iter(names), 0
        while batch := [checked_name(name) for name in islice(left, _BATCH)]:
            self._remove(batch)
            removed += len(batch)
        return removed

    def tidy(self, before: datetime, prefix: str = "") -> int:
        aborted = 0
        for upload in self._uploads(checked_prefix(prefix)):
            if upload["Initiated"] < before and is_name(self._name(upload["Key"])):
                upload_id = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                with suppress(NoSuchBackup):
                    self.requests.ask("abort an upload", "abort_multipart_upload", **upload_id)
                    aborted += 1
        return aborted

    def _put(self, name: str, file: BinaryIO, octets: int) -> None:
        Upload(self.requests, checked_name(name), file, octets, self._part).run()

    def _remove(self, names: builtins.list[str]) -> None:
        keys = [{"Key": self.requests.prefix + name} for name in names]
        with self.requests.failing("remove objects"):
            try:
                wanted = {"Objects": keys, "Quiet": True}
                answer = self.requests.persist(
                    lambda: self.requests.once("delete_objects", Delete=wanted)
                )
            except FAILURES as error:
                if status_of(error) not in _NOT_KNOWN:
                    raise
                answer = {}
                self._remove_singly(keys)
        for refused in answer.get("Errors", ()):
            if refused.get("Code") not in _MISSING:
                code = checked_code(refused.get("Code"))
                raise BackupStoreFailed(f"{self.requests.where}: cannot remove objects: {code}")

    def _remove_singly(self, keys: builtins.list[dict[str, str]]) -> None:
        """Some stores do not take many names at once."""
        for key in keys:
            with suppress(NoSuchBackup):
                self.requests.ask("remove an object", "delete_object", **key)

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        arguments: dict[str, Any] = {"Prefix": self.requests.prefix + prefix}
        while True:
            page = self.requests.ask("list", "list_objects_v2", **arguments)
            for found in page.get("Contents", ()):
                name = self._name(found["Key"])
                if is_name(name):
                    modified = found["LastModified"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                    yield StoredObject(name, found["Size"], modified)
            if not page.get("NextContinuationToken"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _uploads(self, prefix: str) -> Iterator[dict[str, Any]]:
        arguments: dict[str, Any] = {"Prefix": self.requests.prefix + prefix}
        while True:
            page = self.requests.ask("list uploads", "list_multipart_uploads", **arguments)
            yield from page.get("Uploads", ())
            if not page.get("IsTruncated"):
                return
            arguments["KeyMarker"] = page["NextKeyMarker"]
            arguments["UploadIdMarker"] = page["NextUploadIdMarker"]

    def _name(self, key: str) -> str:
        return key[len(self.requests.prefix) :]
