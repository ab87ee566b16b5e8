"""Requests to a bucket: one client of boto3, its time limits, repeats, and errors in our words.

boto3 speaks the protocol and signs. How often and how soon a request is repeated is decided here:
its own pauses are too short for a store that restarts. Every body is covered by the SHA-256 in its
signature (SigV4), which all stores check, so nothing rests on checksums that only some know.
"""

import base64
import hashlib
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.exceptions import ConnectionError as CannotConnect
from botocore.parsers import ResponseParserError
from botocore.session import Session
from urllib3.exceptions import HTTPError

from mailsrv.errors import BackupStoreFailed, NoSuchBackup
from mailsrv.settings import BucketPlace

T = TypeVar("T")

_making = threading.Lock()
"""Clients can be used by any thread, but made by one at a time."""

FAILURES = (BotoCoreError, ClientError, ResponseParserError, HTTPError)
"""All that the library raises."""

_MISSING = {"NoSuchKey", "NoSuchUpload", "NoSuchVersion", "404"}
_TRANSIENT_STATUS = {429, 500, 502, 503, 504}
_TRANSIENT_CODES = {
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_TRANSIENT = (
    CannotConnect,
    HTTPClientError,
    IncompleteReadError,
    ResponseParserError,
    ResponseStreamingError,
    HTTPError,
)
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_HINTS = {
    "AccessDenied": "these credentials may not do that",
    "InvalidAccessKeyId": "the access key id is unknown there",
    "NoSuchBucket": "there is no such bucket",
    "RequestTimeTooSkewed": "the clocks differ",
    "SignatureDoesNotMatch": "the secret access key is wrong",
}


@attrs.frozen
class Timing:
    """Seconds and numbers that bound a request: with these, four minutes for all attempts."""

    connect: float = 10.0
    read: float = 40.0
    attempts: int = 5
    pause: float = 1.0
    """Before the second attempt; doubled before each further one."""

    grace: float = 60.0
    """A transfer may be slower than ``least_rate`` for so long."""

    least_rate: float = 32 * 1024.0
    """Octets per second."""


USUAL = Timing()


class TooSlow(Exception):
    """Octets pass, but so few that the transfer would not end."""


class Pace:
    """How fast a transfer goes, from its beginning on."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._begun = time.monotonic()

    def check(self, octets: int) -> None:
        """Raise TooSlow when only so many octets have passed by now."""
        allowed = self._timing.grace + octets / self._timing.least_rate
        if time.monotonic() - self._begun > allowed:
            raise TooSlow("too slow")


class BucketRequests:
    """What is asked of one bucket. Any thread; its repr shows no credential."""

    def __init__(self, place: BucketPlace, secret: str, timing: Timing) -> None:
        self.timing = timing
        self.where = f"bucket {place.bucket} at {_host(place)}"
        """The bucket in words."""

        self.prefix = f"{place.prefix.strip('/')}/" if place.prefix.strip("/") else ""
        self._place = place
        self._secret = secret
        self._clients: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<{self.where}>"

    def ask(self, doing: str, method: str, **arguments: Any) -> dict[str, Any]:
        """Ask with as many attempts as make sense. BackupStoreFailed, NoSuchBackup.

        ``method`` is one of boto3's client, ``doing`` says in words what for.
        """
        with self.failing(doing):
            return self.persist(lambda: self.once(method, **arguments))

    def once(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Ask one time; raises what boto3 does."""
        answer: dict[str, Any] = getattr(self._client(), method)(
            Bucket=self._place.bucket, **arguments
        )
        return answer

    def anonymous(self, method: str, **arguments: Any) -> bool:
        """Whether the bucket answers who shows no credentials. BackupStoreFailed."""
        with self.failing("ask without credentials"):
            try:
                self.persist(
                    lambda: getattr(self._client(signed=False), method)(
                        Bucket=self._place.bucket, **arguments
                    )
                )
            except ClientError as error:
                if is_transient(error):
                    raise
                return False
        return True

    def persist(self, call: Callable[[], T]) -> T:
        """Call again, after a pause, what failed in a way that may pass."""
        for attempt in range(1, self.timing.attempts):
            try:
                return call()
            except FAILURES as error:
                if not is_transient(error):
                    raise
            self.rest(attempt)
        return call()

    def rest(self, attempt: int) -> None:
        """Pause after the failed attempt of this number; not all processes equally long."""
        time.sleep(self.timing.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))  # noqa: S311

    @contextmanager
    def failing(self, doing: str) -> Iterator[None]:
        """Turn what the library raises into an error that says where, what and why."""
        try:
            yield
        except (*FAILURES, TooSlow) as error:
            said = f"{self.where}: cannot {doing}: {_reason(error)}"
            if code_of(error) in _MISSING:
                raise NoSuchBackup(said) from None
            raise BackupStoreFailed(said) from None

    def _client(self, *, signed: bool = True) -> Any:
        kind = "signed" if signed else "anonymous"
        with _making:
            if kind not in self._clients:
                try:
                    made = _make_client(self._place, self._secret, self.timing, signed)
                except ValueError:
                    raise BackupStoreFailed(f"{self.where}: the endpoint is not valid") from None
                self._clients[kind] = made
            return self._clients[kind]


def _host(place: BucketPlace) -> str:
    if not place.endpoint:
        return f"Amazon in {place.region}"
    with suppress(ValueError):
        return urlsplit(place.endpoint).hostname or "no host"
    return "no host"


def is_transient(error: Exception) -> bool:
    """Whether the same request may well succeed a little later."""
    if isinstance(error, ClientError):
        return status_of(error) in _TRANSIENT_STATUS or code_of(error) in _TRANSIENT_CODES
    if isinstance(error, SSLError) or isinstance(_cause(error), TooSlow):
        return False
    return isinstance(error, _TRANSIENT)


def code_of(error: Exception) -> str:
    """The S3 error code; empty when there is none that looks like one."""
    if not isinstance(error, ClientError):
        return ""
    return checked_code(error.response.get("Error", {}).get("Code"))


def status_of(error: Exception) -> int:
    """The HTTP status; 0 when there was no answer."""
    if not isinstance(error, ClientError):
        return 0
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def checked_code(code: object) -> str:
    """What a store gave for an error code, if it looks like one; else empty."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _reason(error: Exception) -> str:
    # never the library's own sentence: it may quote what was sent
    if isinstance(error, ClientError):
        code = code_of(error) or f"status {status_of(error)}"
        return f"{code} ({_HINTS[code]})" if code in _HINTS else code
    if isinstance(error, TooSlow) or isinstance(_cause(error), TooSlow):
        return "too slow"
    for kind, words in (
        (SSLError, "TLS failed, or its certificate is not trusted"),
        (ConnectTimeoutError, "no connection in time"),
        (ReadTimeoutError, "no answer in time"),
        (CannotConnect, "it cannot be reached"),
        (HTTPClientError, "the connection broke"),
        (ResponseStreamingError, "the connection broke"),
        (IncompleteReadError, "the connection broke"),
    ):
        if isinstance(error, kind):
            return words
    return type(error).__name__


def _cause(error: Exception) -> object:
    return error.kwargs.get("error") if isinstance(error, HTTPClientError) else None


def _make_client(place: BucketPlace, secret: str, timing: Timing, signed: bool) -> Any:
    _quieten()
    config = Config(
        signature_version="s3v4" if signed else botocore.UNSIGNED,
        s3={
            "addressing_style": "path" if place.style == "path" else "virtual",
            "payload_signing_enabled": True,
        },
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=timing.connect,
        read_timeout=timing.read,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,
    )
    client = _session().client(
        "s3",
        region_name=place.region,
        endpoint_url=place.endpoint or None,
        aws_access_key_id=place.access_key_id,
        aws_secret_access_key=secret,
        config=config,
    )
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    return client


@cache
def _session() -> boto3.session.Session:
    """One for all buckets: the library's description of S3 is large.

    It knows nothing of the environment's profiles and credentials: only what is given counts.
    """
    nothing = (None, None, None, None)
    no_file = (None, None, os.devnull, None)
    core = Session(
        session_vars={"profile": nothing, "config_file": no_file, "credentials_file": no_file}
    )
    return boto3.session.Session(botocore_session=core)


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Older stores want it with a list of names, and do not know what boto3 sends instead."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _quieten() -> None:
    """At the level of debugging the libraries log headers and what is signed."""
    for name in ("boto3", "botocore", "urllib3"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
