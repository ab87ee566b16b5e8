"""The opening handshake, as far as it is ours: who may open a link (rfc6455 section 4).

Looked at before anything else of the request, so that who has no token learns nothing from the
answer. Pure.
"""

from http import HTTPStatus

from mailsrv.link.transport.tokens import Tokens

PATH = "/link"
SUBPROTOCOL = "mailsrv.1"
REQUEST_OCTETS = 8192
"""Of a request or an answer of the handshake; more is refused before its end has come."""

Headers = dict[str, list[str]]


class Refused(Exception):
    """The request is answered with ``status`` and nothing else."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(f"{status.value} {status.phrase}")
        self.status = status


def check(request: bytes, tokens: Tokens) -> str:
    """The role of who asks; Refused. ``request`` ends with its blank line."""
    line, headers = _parse(request)
    # a browser says where its page came from, and no browser has business here
    if "origin" in headers or "sec-websocket-origin" in headers:
        raise Refused(HTTPStatus.FORBIDDEN)
    role = tokens.role_of(_token(headers))
    if role is None:
        raise Refused(HTTPStatus.UNAUTHORIZED)
    if line.split(" ")[1:2] != [PATH]:
        raise Refused(HTTPStatus.NOT_FOUND)
    offered = ",".join(headers.get("sec-websocket-protocol", [])).split(",")
    if SUBPROTOCOL not in [one.strip() for one in offered]:
        raise Refused(HTTPStatus.BAD_REQUEST)
    return role


def refusal(status: int) -> bytes:
    """The whole answer to a refused request."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Refused"
    head = f"HTTP/1.1 {status} {phrase}\r\n"
    return f"{head}Connection: close\r\nContent-Length: 0\r\n\r\n".encode("ascii")


def _parse(request: bytes) -> tuple[str, Headers]:
    line, *lines = request.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers: Headers = {}
    for one in lines:
        name, colon, value = one.partition(":")
        if not colon or not name or name != name.strip():
            raise Refused(HTTPStatus.BAD_REQUEST)
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    return line, headers


def _token(headers: Headers) -> bytes:
    given = headers.get("authorization", [])
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.encode("latin-1") if scheme.lower() == "bearer" else b""
