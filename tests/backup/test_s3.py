"""A bucket behaves as every store does; who asks and what is asked is checked as Amazon does."""

import hashlib
import os
import socket
import subprocess
import sys
from typing import Any
from unittest import mock

from botocore.awsrequest import AWSResponse

from mailsrv.backup.objects import s3_requests
from mailsrv.backup.objects.s3_upload import MOST_PARTS, PART, part_octets
from mailsrv.errors import BackupStoreFailed
from tests.backup.s3_case import BucketCase
from tests.backup.store_cases import StoreCases
from tests.backup.strict_service import HOST_SUFFIX
from tests.children import environment


class S3Tests(BucketCase, StoreCases):
    read_limit_in = "mailsrv.backup.objects.s3.READ_LIMIT"

    def setUp(self) -> None:
        super().setUp()
        self.store = self.store_with()


class ProtocolTests(BucketCase):
    def test_prefix(self) -> None:
        for prefix in ("x/y", "x/y/", "/x/y"):
            store = self.store_with(prefix=prefix)
            store.write("a", b"1")
            self.assertEqual(self.keys(), ["x/y/a"])
            self.assertEqual([found.name for found in store.list("")], ["a"])
            store.remove(["a"])
        self.store_with(prefix="").write("a", b"1")
        self.assertEqual(self.keys(), ["a"])

    def test_what_others_keep_there_is_not_seen(self) -> None:
        for key in ("a", "mail/backups/../x", "mail/backups/a b", "mail/backups/a/"):
            self.direct.put_object(Bucket=self.bucket, Key=key)
        store = self.store_with()
        store.write("a", b"1")
        self.assertEqual([found.name for found in store.list("")], ["a"])

    def test_bucket_in_the_host(self) -> None:
        hosts = []

        def here(host: str, *rest: Any, **named: Any) -> Any:
            ours = host.endswith(HOST_SUFFIX)
            hosts.extend([host] if ours else [])
            return resolve("127.0.0.1" if ours else host, *rest, **named)

        resolve = socket.getaddrinfo
        endpoint = f"http://{HOST_SUFFIX[1:]}:{self.strict.port}"
        store = self.store_with(style="host", endpoint=endpoint)
        with mock.patch("socket.getaddrinfo", here):
            store.write("a/b", bytes(100_000))
            self.assertEqual(store.read("a/b"), bytes(100_000))
            self.assertEqual([found.name for found in store.list("")], ["a/b"])
            store.remove(["a/b"])
        self.assertEqual(set(hosts), {self.bucket + HOST_SUFFIX})
        self.assertEqual(self.keys(), [])

    def test_lists_and_removes_page_by_page(self) -> None:
        def small(request: Any) -> None:
            request.query = request.query.replace("max-keys=1000", "")
            request.query += "&max-keys=2"

        self.fault("ListObjects", inside=small)
        store = self.store_with()
        names = [f"a/{number}" for number in range(7)]
        for name in names:
            store.write(name, b"1")
        self.assertEqual([found.name for found in store.list("a/")], names)
        self.assertEqual(self.strict.seen.count("ListObjects"), 4)
        with mock.patch("mailsrv.backup.objects.s3._BATCH", 3):
            self.assertEqual(store.remove(names), 7)
        self.assertEqual(self.strict.seen.count("DeleteObjects"), 3)
        self.assertEqual(self.keys(), [])

    def test_the_environment_does_not_count(self) -> None:
        names = {
            "AWS_PROFILE": "none",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "other",
            "AWS_SECRET_ACCESS_KEY": "other",
            "AWS_SESSION_TOKEN": "other",
            "AWS_DEFAULT_REGION": "other",
            "AWS_CONFIG_FILE": "/dev/null/none",
        }
        s3_requests._session.cache_clear()
        with mock.patch.dict(os.environ, names):
            self.store_with().write("a", b"1")
        s3_requests._session.cache_clear()
        self.assertEqual(self.keys(), ["mail/backups/a"])

    def test_the_body_is_signed_over_tls_too(self) -> None:
        store = self.store_with(endpoint="https://s3.example.com")
        sent = []

        def answer(request: Any, **_: Any) -> AWSResponse:
            sent.append(dict(request.headers))
            return AWSResponse(request.url, 403, {}, mock.Mock(stream=lambda: iter([b""])))

        store.requests._client().meta.events.register("before-send.s3.PutObject", answer)
        with self.assertRaises(BackupStoreFailed):
            store.write("a", b"hello")
        (headers,) = sent
        said = headers["X-Amz-Content-SHA256"]
        self.assertEqual(said.decode(), hashlib.sha256(b"hello").hexdigest())

    def test_parts(self) -> None:
        self.assertEqual(part_octets(10), PART)
        for octets in (PART * MOST_PARTS, PART * MOST_PARTS + 1, 5 * 2**40):
            part = part_octets(octets)
            self.assertLessEqual(-(-octets // part), MOST_PARTS)
        self.assertEqual(part_octets(PART * MOST_PARTS), PART)

    def test_who_has_no_bucket_does_not_load_the_library(self) -> None:
        code = (
            "import sys, mailsrv.cli.commands, mailsrv.service.build, mailsrv.backup.stores;"
            "assert not {'boto3', 'botocore', 'urllib3'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, env=environment())


del BucketCase, StoreCases
