"""Where Redis is: the URL of the configuration, read so that no mistake prints its password."""

from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import attrs

from mailsrv.errors import InvalidInput

_PORT = 6379
_EXPECTED = "redis_url: expected redis://HOST:PORT/DATABASE or unix:///PATH?db=DATABASE"


@attrs.frozen
class RedisAddress:
    """``path`` of a unix socket, or else ``host`` and ``port``. None: the server's default."""

    host: str = ""
    port: int = _PORT
    path: str = ""
    database: int = 0
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


def parse_url(url: str) -> RedisAddress:
    """Read a URL; user and password may stand before an ``@`` in both kinds, percent-encoded.

    :raises InvalidInput: when it is none; the sentence quotes nothing of it.
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        place = _place(parts, query)
    except ValueError:
        raise InvalidInput(_EXPECTED) from None
    if set(query) - {"db"} or parts.fragment:
        raise InvalidInput(f"{_EXPECTED}, with nothing behind")
    return attrs.evolve(place, user=_decoded(parts.username), password=_decoded(parts.password))


def _place(parts: SplitResult, query: dict[str, list[str]]) -> RedisAddress:
    if parts.scheme == "unix" and parts.path and not parts.hostname:
        return RedisAddress(path=unquote(parts.path), database=_database(query.get("db", [""])[-1]))
    if parts.scheme == "redis" and parts.hostname and not query:
        return RedisAddress(
            host=parts.hostname,
            port=parts.port or _PORT,
            database=_database(parts.path.removeprefix("/")),
        )
    raise ValueError


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text or 0)


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None
