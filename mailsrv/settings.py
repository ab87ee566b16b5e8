"""The configuration file: one TOML file, read into typed values and checked.

Every key has a default that is safe; ``conf/mailsrv.toml`` documents them all. Paths are
relative to the file that names them.
"""

import ipaddress
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from mailsrv.errors import InvalidInput

FILE_NAME = "mailsrv.toml"
MIB = 1024 * 1024

LARGEST_MESSAGE = 512 * MIB
"""Octets. A mailbox can keep somewhat more in one message; memory is what runs out first."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Tls(_Table, frozen=True):
    """Certificate chain and key of this server, PEM; used by every listener."""

    certificate: Path = Path("tls/cert.pem")
    private_key: Path = Path("tls/key.pem")


class Imap(_Table, frozen=True):
    listen: tuple[str, ...] = ("tcp:143",)
    """Endpoint strings on which clients begin in clear text and may say STARTTLS."""

    listen_tls: tuple[str, ...] = ("tcp:993",)
    """Endpoint strings on which TLS begins at once (rfc8314)."""

    cleartext_login_from: tuple[str, ...] = ()
    """Networks whose clients may log in without TLS."""

    connections_per_address: int = 50


class Mx(_Table, frozen=True):
    listen: tuple[str, ...] = ("tcp:25",)
    connections: int = 500
    connections_per_address: int = 20
    recipients: int = 1000


class Directory(_Table, frozen=True):
    url: str = "sqlite:///directory.sqlite"
    """SQLAlchemy URL: sqlite:///PATH or postgresql+psycopg://..."""


class Limits(_Table, frozen=True):
    message_size: int = 50 * MIB
    """Octets of the largest message: SIZE and APPENDLIMIT."""


class Store(_Table, frozen=True):
    mailboxes: Path = Path("mailboxes")
    """Folder of the encrypted files."""

    threads: int = 8
    idle_seconds: float = 5.0
    """A mailbox connection that nobody used for so long is closed and its key forgotten."""


class Settings(_Table, frozen=True):
    hostname: str
    base: Path
    """The data directory: where the file lies."""

    tls: Tls = Tls()
    imap: Imap = Imap()
    mx: Mx = Mx()
    directory: Directory = Directory()
    limits: Limits = Limits()
    store: Store = Store()


def load(path: Path) -> Settings:
    """Read the file. InvalidInput names the file, the key and what was expected."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: not a TOML file: {error}") from None
    return _checked(path, document)


def _checked(path: Path, document: dict[str, Any]) -> Settings:
    if "base" in document:
        raise InvalidInput(f"{path}: base: unknown key, expected one of {', '.join(_keys(''))}")
    base = path.resolve().parent
    try:
        settings = msgspec.convert(
            {**document, "base": str(base)}, Settings, dec_hook=_decode_path, strict=True
        )
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {_explain(str(error))}") from None
    problem = _first_problem(settings)
    if problem:
        raise InvalidInput(f"{path}: {problem}")
    return _absolute(settings)


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise TypeError(f"Expected a path, got {value!r}")


def _explain(message: str) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.mx.recipients`" into key: sentence."""
    sentence, _, where = message.partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    unknown = re.match(r"Object contains unknown field `(.*)`", sentence)
    if unknown:
        known = ", ".join(_keys(key))
        return f"{f'{key}.' if key else ''}{unknown[1]}: unknown key, expected one of {known}"
    missing = re.match(r"Object missing required field `(.*)`", sentence)
    if missing:
        return f"{f'{key}.' if key else ''}{missing[1]}: expected a value, the key is missing"
    return f"{key}: {sentence[0].lower()}{sentence[1:].replace('`', '')}"


def _keys(table: str) -> list[str]:
    kinds = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    names = kinds if not table else (one.name for one in msgspec.structs.fields(kinds[table]))
    return [name for name in names if name != "base"]


_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}\Z", re.IGNORECASE
)


def is_hostname(name: str) -> bool:
    """Tell whether this is a name that a server can go by (A-labels, no final dot)."""
    return _HOSTNAME.match(name) is not None


def _first_problem(settings: Settings) -> str | None:
    if not is_hostname(settings.hostname):
        return "hostname: expected a host name such as mail.example.com"
    for network in settings.imap.cleartext_login_from:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            return (
                f"imap.cleartext_login_from: expected networks such as 127.0.0.0/8, got {network!r}"
            )
    if settings.limits.message_size > LARGEST_MESSAGE:
        return (
            f"limits.message_size: expected at most {LARGEST_MESSAGE}, "
            f"got {settings.limits.message_size}"
        )
    for key, value, least in (
        ("limits.message_size", settings.limits.message_size, 64 * 1024),
        ("store.threads", settings.store.threads, 1),
        ("store.idle_seconds", settings.store.idle_seconds, 0),
        ("imap.connections_per_address", settings.imap.connections_per_address, 1),
        ("mx.connections", settings.mx.connections, 1),
        ("mx.connections_per_address", settings.mx.connections_per_address, 1),
        ("mx.recipients", settings.mx.recipients, 100),
    ):
        if not least <= value < math.inf:
            return f"{key}: expected at least {least}, got {value}"
    if not settings.directory.url.startswith(("sqlite:///", "postgresql+psycopg:")):
        return "directory.url: expected sqlite:///PATH or postgresql+psycopg://..."
    return None


def _absolute(settings: Settings) -> Settings:
    base = settings.base
    url = settings.directory.url
    if url.startswith("sqlite:///"):
        url = f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    replace = msgspec.structs.replace
    return replace(
        settings,
        tls=Tls(
            certificate=base / settings.tls.certificate,
            private_key=base / settings.tls.private_key,
        ),
        directory=Directory(url=url),
        store=replace(settings.store, mailboxes=base / settings.store.mailboxes),
    )
