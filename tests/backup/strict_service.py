"""What stands between the tests and moto: a strict store's checks, and whatever can go wrong.

Each request is checked like Amazon checks it: the signature (SigV4, computed here and not by the
library that is tested), SHA-256 and MD5 of the body. Then a ``Fault`` may happen to it, or to its
answer. Listens on loopback, in threads of the test's process.
"""

import base64
import hashlib
import hmac
import http.client
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlsplit

import attrs

from tests.backup.moto_service import Service

ACCESS_KEY = "AKIATESTSOFMAILSRV"
SECRET = "Wunderbarer-Schluessel/0123456789abcdefgh"
REGION = "eu-central-1"
HOST_SUFFIX = ".s3.test"

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


@attrs.define
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def operation(self) -> str:
        """Its name in the protocol, as far as tests ask for it."""
        parameters, is_object = self.parameters, self.path.count("/") > 1
        if "uploads" in parameters:
            return "CreateMultipartUpload" if self.method == "POST" else "ListMultipartUploads"
        if "uploadId" in parameters:
            return {
                "PUT": "UploadPart",
                "POST": "CompleteMultipartUpload",
                "DELETE": "AbortMultipartUpload",
            }[self.method]
        if "delete" in parameters:
            return "DeleteObjects"
        kind = {"PUT": "Put", "GET": "Get", "HEAD": "Head", "DELETE": "Delete"}[self.method]
        return f"{kind}Object" if is_object else "ListObjects"


@attrs.define
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Cut(Exception):
    """The connection ends here."""


@attrs.define
class Fault:
    """``before`` the request is checked, ``inside`` the store, or ``after``, to the answer.

    Happens to the requests of one operation, ``times`` times, after ``passing`` that pass.
    """

    operation: str
    times: int = 1_000_000
    passing: int = 0
    before: Callable[[Request], Answer | None] | None = None
    inside: Callable[[Request], None] | None = None
    after: Callable[[Answer], None] | None = None
    happened: int = 0

    def due(self, request: Request) -> bool:
        if request.operation != self.operation:
            return False
        if self.passing:
            self.passing -= 1
            return False
        if self.times <= 0:
            return False
        self.times -= 1
        self.happened += 1
        return True


class StrictService:
    """Start with ``with`` or ``start``; ``faults`` may be changed at any time."""

    def __init__(self, moto: Service) -> None:
        self.moto = moto
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.public = False
        self.gone = False
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hang(self, _: object = None) -> None:
        """Say nothing until the test ends."""
        self.released.wait()
        raise Cut

    def vanish(self, _: object = None) -> None:
        """Answer nobody any more."""
        self.gone = True
        raise Cut

    def take(self, request: Request) -> Answer:
        if self.gone:
            raise Cut
        with self._lock:
            self.seen.append(request.operation)
            due = [fault for fault in self.faults if fault.due(request)]
        for fault in due:
            if fault.before and (answer := fault.before(request)) is not None:
                return answer
        problem = self._problem(request)
        if problem:
            return error(*problem)
        for fault in due:
            if fault.inside:
                fault.inside(request)
        answer = self._forward(request)
        for fault in due:
            if fault.after:
                fault.after(answer)
        return answer

    def _problem(self, request: Request) -> tuple[int, str] | None:
        if "authorization" not in request.headers:
            return None if self.public else (403, "AccessDenied")
        match = _AUTHORIZATION.fullmatch(request.headers["authorization"])
        if match is None or match[3] != REGION:
            return 400, "AuthorizationHeaderMalformed"
        if match[1] != ACCESS_KEY:
            return 403, "InvalidAccessKeyId"
        if not hmac.compare_digest(match[5], _signature(request, match[2], match[4])):
            return 403, "SignatureDoesNotMatch"
        sha256 = hashlib.sha256(request.body).hexdigest()
        if request.headers["x-amz-content-sha256"] != sha256:
            return 400, "XAmzContentSHA256Mismatch"
        md5 = base64.b64encode(hashlib.md5(request.body).digest()).decode()
        if request.headers.get("content-md5", md5) != md5:
            return 400, "BadDigest"
        if request.operation == "DeleteObjects" and "content-md5" not in request.headers:
            return 400, "InvalidRequest"
        return None

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.moto.port, timeout=60)
        host = request.headers["host"]
        path = request.path
        if HOST_SUFFIX in host:
            path = f"/{host.partition(HOST_SUFFIX)[0]}{path}"
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in ("host", "expect", "connection", "content-length")
        }
        target = f"{path}?{request.query}" if request.query else path
        try:
            connection.request(request.method, target, request.body, headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        kept = {name.lower(): value for name, value in response.getheaders()}
        for name in ("connection", "transfer-encoding", "date", "server"):
            kept.pop(name, None)
        if request.method != "HEAD":
            kept["content-length"] = str(len(body))
        return Answer(response.status, kept, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: StrictService

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self.do_it()
            self.command = "DONE"
        return parsed

    def do_DONE(self) -> None:
        pass

    def do_it(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(self.command, url.path, url.query, headers, body)
        try:
            answer = self.server.service.take(request)
        except Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        if self.command != "HEAD" and len(answer.body) < int(
            answer.headers.get("content-length", 0)
        ):
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


def error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>no {SECRET}</Message></Error>".encode()
    return Answer(
        status, {"content-type": "application/xml", "content-length": str(len(body))}, body
    )


def flip(data: bytes) -> bytes:
    """The same octets but for one bit in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def flip_request(request: Request) -> None:
    request.body = flip(request.body)


def flip_answer(answer: Answer) -> None:
    answer.body = flip(answer.body)


def cut(_: object) -> None:
    raise Cut


def cut_body(answer: Answer) -> None:
    answer.body = answer.body[: len(answer.body) // 2]


def _signature(request: Request, day: str, signed: str) -> str:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    query = "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs))
    headers = "".join(
        f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed.split(";")
    )
    canonical = "\n".join(
        (
            request.method,
            request.path,
            query,
            headers,
            signed,
            request.headers["x-amz-content-sha256"],
        )
    )
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join(
        (
            "AWS4-HMAC-SHA256",
            request.headers["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = f"AWS4{SECRET}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
