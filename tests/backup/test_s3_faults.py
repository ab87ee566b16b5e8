"""A bucket that refuses, hangs, breaks off, damages what passes, or vanishes.

What fails for good fails in bounded time with a sentence, and leaves nothing half done; what fails
once is done again.
"""

import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from botocore.exceptions import ConnectionError as CannotConnect
from botocore.exceptions import ConnectTimeoutError

from mailsrv.backup.objects import s3
from mailsrv.backup.objects.s3 import S3Store
from mailsrv.backup.objects.s3_requests import BucketRequests
from mailsrv.errors import BackupStoreFailed, DiskFull
from tests.backup.moto_service import SMALL_PART
from tests.backup.s3_case import QUICK, BucketCase
from tests.backup.strict_service import (
    ACCESS_KEY,
    SECRET,
    Answer,
    Request,
    cut,
    cut_body,
    error,
    flip_answer,
    flip_request,
)

SHORT = attrs.evolve(QUICK, connect=0.3, read=0.3, attempts=2)
BOUND = 15.0
"""Seconds; much more than the timings allow to any call here."""


def answering(status: int, code: str) -> Callable[[Request], Answer]:
    return lambda _: error(status, code)


class FaultCase(BucketCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = self.store_with()
        self.data = bytes(range(256)) * (SMALL_PART * 3 // 256) + b"end"
        self.source = self.folder / "source"
        self.source.write_bytes(self.data)
        self.target = self.folder / "got"

    def fails(self, call: Callable[..., object], *arguments: object) -> str:
        begun = time.monotonic()
        with self.assertRaises(BackupStoreFailed) as caught:
            call(*arguments)
        self.assertLess(time.monotonic() - begun, BOUND)
        self.assertFalse(self.target.exists())
        said = str(caught.exception)
        self.assertIn(f"bucket {self.bucket} at 127.0.0.1: ", said)
        return said

    def put(self, store: S3Store | None = None) -> None:
        (store or self.store).put("a/b", self.source)
        stored = self.direct.get_object(Bucket=self.bucket, Key="mail/backups/a/b")
        self.assertEqual(stored["Body"].read(), self.data)

    def nothing_is_there(self) -> None:
        self.assertEqual(self.keys(), [])
        self.assertEqual(self.uploads(), [])


class RefusalTests(FaultCase):
    def calls(self) -> dict[str, Callable[[], object]]:
        return {
            "CreateMultipartUpload": lambda: self.store.put("a/b", self.source),
            "PutObject": lambda: self.store.write("a/b", b"1"),
            "GetObject": lambda: self.store.get("a/b", self.target),
            "ListObjects": lambda: list(self.store.list("")),
            "DeleteObjects": lambda: self.store.remove(["a/b"]),
            "ListMultipartUploads": lambda: self.store.tidy(datetime.now(UTC)),
        }

    def test_refused(self) -> None:
        for operation, call in self.calls().items():
            fault = self.fault(operation, before=answering(403, "AccessDenied"))
            said = self.fails(call)
            self.assertIn("AccessDenied (these credentials may not do that)", said)
            self.assertEqual(fault.happened, 1, operation)

    def test_overloaded_for_a_while(self) -> None:
        for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
            fault = self.fault(operation, times=2, before=answering(503, "SlowDown"))
            self.put()
            self.assertEqual(fault.happened, 2)
        for operation in ("PutObject", "HeadObject", "ListObjects", "DeleteObjects", "GetObject"):
            fault = self.fault(operation, times=2, before=answering(503, "SlowDown"))
            self.store.write("c", b"1")
            self.assertEqual(self.store.read("c"), b"1")
            self.assertEqual(len(list(self.store.list(""))), 2)
            self.store.remove(["c"])
            self.assertEqual(fault.happened, 2, operation)

    def test_overloaded_for_good(self) -> None:
        for operation, call in self.calls().items():
            fault = self.fault(operation, before=answering(503, "SlowDown"))
            self.assertIn("SlowDown", self.fails(call))
            self.assertEqual(fault.happened, QUICK.attempts, operation)
        self.nothing_is_there()

    def test_wrong_credentials(self) -> None:
        for store, code in (
            (self.store_with(secret="wrong"), "SignatureDoesNotMatch (the secret access key is"),
            (self.store_with(access_key_id="AKIAOTHER"), "InvalidAccessKeyId (the access key id"),
        ):
            self.assertIn(code, self.fails(store.put, "a/b", self.source))
            self.assertIn(code, self.fails(store.read, "a/b"))
        self.nothing_is_there()

    def test_no_such_bucket(self) -> None:
        self.bucket = "no-such-bucket"
        store = self.store_with()
        for call in (
            lambda: store.write("a", b""),
            lambda: store.read("a"),
            lambda: store.remove(["a"]),
            lambda: list(store.list("")),
        ):
            self.assertIn("NoSuchBucket (there is no such bucket)", self.fails(call))

    def test_nobody_is_there(self) -> None:
        self.strict.stop()
        store = self.store_with(timing=SHORT)
        self.assertIn("it cannot be reached", self.fails(store.put, "a/b", self.source))
        self.assertIn("it cannot be reached", self.fails(store.get, "a/b", self.target))
        self.strict = mock.Mock()

    def test_nobody_is_there_for_a_while(self) -> None:
        """A store that restarts refuses connections: they are tried again."""
        pauses: list[int] = []
        with mock.patch.object(BucketRequests, "rest", lambda _, attempt: pauses.append(attempt)):
            for failure in (CannotConnect(error="no"), ConnectTimeoutError(endpoint_url="x")):
                sent = mock.Mock(side_effect=[failure, failure, {"Contents": []}])
                with mock.patch.object(BucketRequests, "once", sent):
                    self.assertEqual(list(self.store_with().list("")), [])
        self.assertEqual(pauses, [1, 2, 1, 2])

    def test_endpoints_that_are_none(self) -> None:
        for endpoint in ("http://", "http://[", "x"):
            store = self.store_with(endpoint=endpoint)
            with self.assertRaises(BackupStoreFailed):
                store.read("a")

    def test_answers_that_are_no_s3(self) -> None:
        page = Answer(200, {"content-length": "6"}, b"<html>")
        for operation in ("CreateMultipartUpload", "ListObjects"):
            self.fault(operation, before=lambda _: page)
            self.fails(self.calls()[operation])

    def test_removing_one_by_one(self) -> None:
        self.fault("DeleteObjects", before=answering(501, "NotImplemented"))
        for name in ("a", "b"):
            self.store.write(name, b"1")
        self.assertEqual(self.store.remove(["a", "b", "c"]), 3)
        self.nothing_is_there()

    def test_some_cannot_be_removed(self) -> None:
        body = b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>"
        answer = Answer(200, {"content-length": str(len(body))}, body)
        self.fault("DeleteObjects", before=lambda _: answer)
        self.assertIn("cannot remove objects: AccessDenied", self.fails(self.store.remove, ["a"]))


class SilenceTests(FaultCase):
    def test_hangs(self) -> None:
        store = self.store_with(timing=SHORT)
        self.put()
        for operation, call in (
            ("PutObject", lambda: store.write("c", b"1")),
            ("CreateMultipartUpload", lambda: store.put("d", self.source)),
            ("GetObject", lambda: store.get("a/b", self.target)),
            ("ListObjects", lambda: list(store.list(""))),
        ):
            fault = self.fault(operation, before=self.strict.hang)
            self.assertIn("no answer in time", self.fails(call))
            self.assertEqual(fault.happened, SHORT.attempts, operation)
        self.assertEqual(self.keys(), ["mail/backups/a/b"])

    def test_hangs_in_the_middle_of_an_upload(self) -> None:
        store = self.store_with(timing=attrs.evolve(SHORT, read=1.5))
        fault = self.fault("UploadPart", passing=1, before=self.strict.hang)
        self.assertIn("no answer in time", self.fails(store.put, "a/b", self.source))
        self.assertEqual(fault.happened, SHORT.attempts)
        self.nothing_is_there()

    def test_hangs_once(self) -> None:
        store = self.store_with(timing=attrs.evolve(QUICK, read=1.0))
        for operation in ("UploadPart", "CompleteMultipartUpload"):
            fault = self.fault(operation, times=1, before=self.strict.hang)
            self.put(store)
            self.assertEqual(fault.happened, 1)

    def test_octets_come_too_slowly(self) -> None:
        self.put()
        store = self.store_with(timing=attrs.evolve(QUICK, grace=0.0, least_rate=1e12))
        fault = self.fault("UploadPart")
        self.assertIn("too slow", self.fails(store.put, "c", self.source))
        self.assertEqual(fault.happened, 0)
        self.assertIn("too slow", self.fails(store.get, "a/b", self.target))
        self.assertEqual(self.strict.seen.count("GetObject"), 1)
        self.assertEqual(self.uploads(), [])


class BreakTests(FaultCase):
    def test_upload_breaks_once(self) -> None:
        for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
            fault = self.fault(operation, times=1, before=cut)
            self.put()
            self.assertEqual(fault.happened, 1)

    def test_upload_breaks_always(self) -> None:
        for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
            self.strict.faults.clear()
            fault = self.fault(operation, before=cut)
            self.assertIn("the connection broke", self.fails(self.store.put, "a/b", self.source))
            self.assertEqual(fault.happened, QUICK.attempts)
            self.nothing_is_there()
        self.fault("PutObject", before=cut)
        self.fails(self.store.write, "a", b"1")
        self.nothing_is_there()

    def test_part_that_is_refused(self) -> None:
        self.fault("UploadPart", passing=1, before=answering(403, "AccessDenied"))
        self.fails(self.store.put, "a/b", self.source)
        self.nothing_is_there()

    def test_only_the_answer_is_lost(self) -> None:
        for operation in ("CompleteMultipartUpload", "UploadPart"):
            fault = self.fault(operation, times=1, after=cut)
            self.put()
            self.assertEqual(fault.happened, 1)
        self.assertEqual(self.uploads(), [])

    def test_error_after_the_headers_of_success(self) -> None:
        body = b"<Error><Code>InternalError</Code><Message>try again</Message></Error>"
        answer = Answer(200, {"content-length": str(len(body))}, body)
        fault = self.fault("CompleteMultipartUpload", times=2, before=lambda _: answer)
        self.put()
        self.assertEqual(fault.happened, 2)

    def test_download_breaks_once_and_goes_on_there(self) -> None:
        self.put()
        ranges: list[str | None] = []
        self.fault("GetObject", before=lambda request: ranges.append(request.headers.get("range")))
        self.fault("GetObject", times=2, after=cut_body)
        self.store.get("a/b", self.target)
        self.assertEqual(self.target.read_bytes(), self.data)
        self.assertEqual(len(ranges), 3)
        self.assertIsNone(ranges[0])
        half = len(self.data) // 2
        self.assertEqual(ranges[1], f"bytes={half}-")

    def test_download_breaks_always(self) -> None:
        self.put()
        fault = self.fault("GetObject", after=lambda answer: setattr(answer, "body", b""))
        self.assertIn("the connection broke", self.fails(self.store.get, "a/b", self.target))
        self.assertEqual(fault.happened, QUICK.attempts)
        self.fails(self.store.read, "a/b")

    def test_replaced_while_it_is_fetched(self) -> None:
        self.put()

        def replace(answer: Answer) -> None:
            cut_body(answer)
            self.direct.put_object(Bucket=self.bucket, Key="mail/backups/a/b", Body=b"other")

        self.fault("GetObject", times=1, after=replace)
        self.assertIn("PreconditionFailed", self.fails(self.store.get, "a/b", self.target))

    def test_volume_is_full(self) -> None:
        self.put()
        full = mock.Mock(side_effect=OSError(28, "No space left on device"))
        self.patch(s3, "download", full)
        with self.assertRaises(DiskFull):
            self.store.get("a/b", self.target)
        self.assertFalse(self.target.exists())


class DamageTests(FaultCase):
    def test_on_the_way_there_once(self) -> None:
        for operation in ("UploadPart", "PutObject"):
            fault = self.fault(operation, times=1, before=flip_request)
            self.put()
            self.store.write("c", b"123")
            self.assertEqual(self.store.read("c"), b"123")
            self.assertEqual(fault.happened, 1)

    def test_on_the_way_there_always(self) -> None:
        for operation in ("UploadPart", "PutObject"):
            self.fault(operation, before=flip_request)
        for call in (
            lambda: self.store.put("a/b", self.source),
            lambda: self.store.write("a/b", b"123"),
        ):
            self.assertIn("XAmzContentSHA256Mismatch", self.fails(call))
        self.nothing_is_there()

    def test_in_the_store_once(self) -> None:
        for operation in ("UploadPart", "PutObject"):
            fault = self.fault(operation, times=1, inside=flip_request)
            self.put()
            self.store.write("c", b"123")
            self.assertEqual(self.store.read("c"), b"123")
            self.assertEqual(fault.happened, 1)

    def test_in_the_store_always(self) -> None:
        for operation in ("UploadPart", "PutObject"):
            self.fault(operation, inside=flip_request)
        for call in (
            lambda: self.store.put("a/b", self.source),
            lambda: self.store.write("a/b", b"123"),
        ):
            self.assertIn("is not there as it was sent", self.fails(call))
        self.nothing_is_there()

    def test_cut_short_in_the_store(self) -> None:
        def shorten(request: Request) -> None:
            request.body = request.body[:-1]

        self.fault("PutObject", inside=shorten)
        self.fails(self.store.write, "a", b"123")
        self.nothing_is_there()

    def opaque(self, *, encrypted: bool) -> None:
        """Answer like a store whose ETags are no digests."""

        def hide(answer: Answer) -> None:
            answer.headers["etag"] = f'"{"0" * 32 if encrypted else "opaque"}"'
            if encrypted:
                answer.headers["x-amz-server-side-encryption"] = "aws:kms"

        def stand_in(request: Request) -> None:
            # to moto the parts have the digests that it knows
            uploaded = self.direct.list_parts(
                Bucket=self.bucket,
                Key="mail/backups/a/b",
                UploadId=request.parameters["uploadId"],
            )["Parts"]
            parts = "".join(
                f"<Part><PartNumber>{one['PartNumber']}</PartNumber><ETag>{one['ETag']}</ETag></Part>"
                for one in uploaded
            )
            request.body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()

        def hide_in_body(answer: Answer) -> None:
            before, _, rest = answer.body.partition(b"<ETag>")
            answer.body = before + b"<ETag>opaque</ETag>" + rest.partition(b"</ETag>")[2]
            answer.headers["content-length"] = str(len(answer.body))

        for operation in ("UploadPart", "PutObject"):
            self.fault(operation, after=hide)
        self.fault("CompleteMultipartUpload", inside=stand_in, after=hide_in_body)

    def test_etags_that_prove_nothing(self) -> None:
        for encrypted in (False, True):
            self.strict.faults.clear()
            self.opaque(encrypted=encrypted)
            self.strict.seen.clear()
            self.put()
            self.store.write("c", b"123")
            self.assertEqual(self.store.read("c"), b"123")
            self.assertEqual(self.strict.seen.count("UploadPart"), 4)
            self.assertEqual(self.strict.seen.count("GetObject"), 3)

    def test_damage_that_etags_do_not_show(self) -> None:
        self.opaque(encrypted=False)
        for operation in ("UploadPart", "PutObject"):
            self.fault(operation, inside=flip_request)
        self.fails(self.store.put, "a/b", self.source)
        self.fails(self.store.write, "a/b", b"123")
        self.nothing_is_there()

    def test_on_the_way_back(self) -> None:
        self.put()
        fault = self.fault("GetObject", times=1, after=flip_answer)
        self.store.get("a/b", self.target)
        self.assertEqual(self.target.read_bytes(), self.data)
        self.target.unlink()
        self.assertEqual(fault.happened, 1)
        self.fault("GetObject", after=flip_answer)
        said = self.fails(self.store.get, "a/b", self.target)
        self.assertIn("came back with other octets than were put there", said)
        self.fails(self.store.read, "a/b")


class VanishTests(FaultCase):
    def test_in_the_middle_of_an_upload(self) -> None:
        self.fault("UploadPart", passing=2, before=self.strict.vanish)
        self.fails(self.store.put, "a/b", self.source)
        self.assertEqual(self.keys(), [])
        self.assertEqual(self.uploads(), ["mail/backups/a/b"])
        self.strict.gone = False
        self.strict.faults.clear()
        # moto says of every upload that it began in 2010
        self.assertEqual(self.store.tidy(datetime(2010, 11, 1, tzinfo=UTC)), 0)
        self.assertEqual(self.store.tidy(datetime(2010, 12, 1, tzinfo=UTC), "b/"), 0)
        self.assertEqual(self.store.tidy(datetime(2010, 12, 1, tzinfo=UTC), "a/"), 1)
        self.nothing_is_there()
        self.put()

    def test_tidy_leaves_what_is_not_ours(self) -> None:
        for key in ("mail/other", "mail/backups/not ours"):
            self.direct.create_multipart_upload(Bucket=self.bucket, Key=key)
        self.assertEqual(self.store.tidy(datetime.now(UTC) + timedelta(days=1)), 0)
        self.assertEqual(len(self.uploads()), 2)

    def test_tidy_of_what_ends_meanwhile(self) -> None:
        self.direct.create_multipart_upload(Bucket=self.bucket, Key="mail/backups/a")
        self.fault("AbortMultipartUpload", before=answering(404, "NoSuchUpload"))
        self.assertEqual(self.store.tidy(datetime.now(UTC) + timedelta(days=1)), 0)


class CanaryTests(FaultCase):
    """No credential, signature or signed header in an error, a log or a repr."""

    def setUp(self) -> None:
        super().setUp()
        self.records: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.records.append(  # type: ignore[method-assign]
            logging.Formatter().format(record)
        )
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        self.addCleanup(root.setLevel, level)
        self.addCleanup(root.removeHandler, handler)

    def test_whatever_happens(self) -> None:
        faults: list[dict[str, Any]] = [
            {"before": answering(403, "SignatureDoesNotMatch")},
            {"before": answering(400, f"Bad {SECRET}")},
            {"before": answering(500, "InternalError")},
            {"before": self.strict.hang},
            {"before": cut},
            {"inside": flip_request, "after": flip_answer},
        ]
        said = [repr(self.store), repr(self.store.requests)]
        for secret in (SECRET, f"{SECRET}-wrong"):
            store = self.store_with(secret=secret, timing=attrs.evolve(SHORT, attempts=1))
            for fault in faults:
                self.strict.faults.clear()
                for operation in ("PutObject", "UploadPart", "GetObject", "ListObjects"):
                    self.fault(operation, **fault)
                said += self.say(store)
        self.assertGreater(len(said), 20)
        for text in (*said, *self.records):
            for canary in (SECRET, "Signature=", "X-Amz-Signature", ACCESS_KEY):
                self.assertNotIn(canary, text)

    def say(self, store: S3Store) -> list[str]:
        said = []
        for call in (
            lambda: store.write("a", b"1"),
            lambda: store.put("a", self.source),
            lambda: store.get("a", Path(f"{self.target}-{time.monotonic_ns()}")),
            lambda: list(store.list("")),
        ):
            try:
                call()
            except BackupStoreFailed as problem:
                said += [str(problem), repr(problem), "".join(traceback.format_exception(problem))]
        return said


del BucketCase, FaultCase
