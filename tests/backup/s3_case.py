"""A bucket of moto behind the strict checks, and stores that use it."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.objects.s3 import S3Store
from mailsrv.backup.objects.s3_requests import Timing
from mailsrv.settings import BucketPlace
from tests.backup.moto_service import SMALL_PART, service
from tests.backup.strict_service import ACCESS_KEY, REGION, SECRET, Fault, StrictService

QUICK = Timing(connect=5.0, read=30.0, attempts=3, pause=0.01)
"""Repeats soon, and is patient with a busy machine."""


class BucketCase(SynchronousTestCase):
    prefix = "mail/backups"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.strict = StrictService(service())
        self.strict.start()
        self.addCleanup(self.strict.stop)
        self.bucket = service().new_bucket()
        self.direct = service().client

    def place(self, **other: Any) -> BucketPlace:
        return BucketPlace(
            **{
                "bucket": self.bucket,
                "access_key_id": ACCESS_KEY,
                "endpoint": self.strict.url,
                "region": REGION,
                "prefix": self.prefix,
                **other,
            }
        )

    def store_with(self, *, secret: str = SECRET, timing: Timing = QUICK, **place: Any) -> S3Store:
        return S3Store(self.place(**place), secret, timing, SMALL_PART)

    def fault(self, operation: str, **what: Any) -> Fault:
        fault = Fault(operation, **what)
        self.strict.faults.append(fault)
        return fault

    def keys(self) -> list[str]:
        found = self.direct.list_objects_v2(Bucket=self.bucket)
        return [one["Key"] for one in found.get("Contents", ())]

    def uploads(self) -> list[str]:
        found = self.direct.list_multipart_uploads(Bucket=self.bucket)
        return [one["Key"] for one in found.get("Uploads", ())]
