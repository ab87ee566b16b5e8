"""A bucket behaves as every store does; who asks and what is asked is checked as Amazon does."""

from typing import Any

from mailsrv.backup.objects.s3 import S3Store
from mailsrv.backup.objects.s3_requests import Timing
from mailsrv.settings import BucketPlace
from tests.backup.moto_service import SMALL_PART, service
from tests.backup.store_cases import StoreCases
from tests.backup.strict_service import ACCESS_KEY, REGION, SECRET, StrictService

QUICK = Timing(connect=2.0, read=20.0, attempts=3, pause=0.01)


class OnS3(StoreCases):
    """Tests against moto behind the strict checks."""

    prefix = "mail/backups"
    read_limit_in = "mailsrv.backup.objects.s3.READ_LIMIT"

    def make_store(self) -> S3Store:
        self.strict = StrictService(service())
        self.strict.start()
        self.addCleanup(self.strict.stop)
        self.bucket = service().new_bucket()
        self.direct = service().client
        return self.store_with()

    def store_with(self, *, secret: str = SECRET, timing: Timing = QUICK, **place: Any) -> S3Store:
        defaults = {
            "bucket": self.bucket,
            "access_key_id": ACCESS_KEY,
            "endpoint": self.strict.url,
            "region": REGION,
            "prefix": self.prefix,
        }
        return S3Store(BucketPlace(**{**defaults, **place}), secret, timing, SMALL_PART)

    def keys(self) -> list[str]:
        found = self.direct.list_objects_v2(Bucket=self.bucket)
        return [one["Key"] for one in found.get("Contents", ())]

    def uploads(self) -> list[str]:
        found = self.direct.list_multipart_uploads(Bucket=self.bucket)
        return [one["Key"] for one in found.get("Uploads", ())]


class S3Tests(OnS3):
    def test_prefix(self) -> None:
        for prefix in ("x/y", "x/y/", "/x/y"):
            store = self.store_with(prefix=prefix)
            store.write("a", b"1")
            self.assertEqual(self.keys(), ["x/y/a"])
            self.assertEqual([found.name for found in store.list("")], ["a"])
            store.remove(["a"])
        self.store_with(prefix="").write("a", b"1")
        self.assertEqual(self.keys(), ["a"])


del OnS3, StoreCases
