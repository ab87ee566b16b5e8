"""The configuration file: one TOML file, read into typed values and checked.

Every key has a default that is safe; ``conf/mailsrv.toml`` documents them all. Paths are
relative to the file that names them.
"""

import ipaddress
import math
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from mailsrv.errors import InvalidInput

FILE_NAME = "mailsrv.toml"
MIB = 1024 * 1024

LARGEST_MESSAGE = 512 * MIB
"""Octets. A mailbox can keep somewhat more in one message; memory is what runs out first."""

MOST_WORKERS = 64

PROXY_PREFIX = "haproxy:"
"""Before an endpoint string: connections there begin with a load balancer's PROXY header."""

Role = Literal["primary", "imap", "mx"]
"""What a process can do. All but ``primary`` are front ends."""

ROLES: tuple[Role, ...] = get_args(Role)


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


class Primary(_Table, frozen=True):
    """A primary, as a front end reaches it over the link."""

    endpoint: str
    """``unix:PATH`` on this machine, ``tcp:HOST:PORT`` (always with TLS) on another."""

    hostname: str = ""
    """The name that the certificate of the primary must have; the endpoint's host if empty."""

    ca: Path | None = None
    """PEM certificates of the authority that signed it: no other is trusted."""

    token_file: Path | None = None
    """Where this primary's token is; once loaded never None: ``link.token_file`` if not given."""


class Link(_Table, frozen=True):
    name: str = "primary"
    """The name of this machine's primary, by which the directory knows it."""

    socket: Path = Path("link.sock")
    """Unix socket on which the primary serves the link to its own machine."""

    listen: tuple[str, ...] = ()
    """Endpoint strings on which the primary serves it to others, over TLS."""

    allow_from: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks from which front ends may come."""

    token_file: Path = Path("link.token")
    connections: int = 64
    lease_seconds: float = 5.0
    """The primary forgets a front end's key so long after the last use."""

    patience_seconds: float = 35.0
    """A front end waits so long for a primary that is away: for a restart of 30 seconds, the pause
    before the next attempt and entering the sessions again."""

    primaries: dict[str, Primary] = {}


class Health(_Table, frozen=True):
    listen: tuple[str, ...] = ()
    """Endpoint strings on which /healthz and /readyz are answered over HTTP."""


class Proxy(_Table, frozen=True):
    allow_from: tuple[str, ...] = ()
    """Networks of the load balancers whose PROXY header is believed."""


class Settings(_Table, frozen=True):
    hostname: str
    base: Path
    """The data directory: where the file lies."""

    roles: tuple[Role, ...] = ROLES
    workers: int = 0
    """Processes that share the front ends' listening sockets; 0: this process serves them."""

    redis_url: str = ""
    """Where counters are kept that several machines share; in the process if empty."""

    tls: Tls = Tls()
    imap: Imap = Imap()
    mx: Mx = Mx()
    directory: Directory = Directory()
    limits: Limits = Limits()
    store: Store = Store()
    link: Link = Link()
    health: Health = Health()
    proxy: Proxy = Proxy()

    @property
    def front_ends(self) -> tuple[Role, ...]:
        return tuple(role for role in self.roles if role != "primary")

    @property
    def needs_link(self) -> bool:
        """Whether front ends reach their mailboxes over the link, and not in this process."""
        others = set(self.link.primaries) - {self.link.name}
        return "primary" not in self.roles or bool(others) or self.workers > 0


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
    key = where.rstrip("`").lstrip(".").replace("[...]", ".NAME")
    if re.fullmatch(r"roles\[\d+\]", key) and sentence.startswith("Invalid enum value"):
        return f"roles: unknown role {sentence.split()[-1]}, expected some of {', '.join(ROLES)}"
    unknown = re.match(r"Object contains unknown field `(.*)`", sentence)
    if unknown:
        known = ", ".join(_keys(key))
        return f"{f'{key}.' if key else ''}{unknown[1]}: unknown key, expected one of {known}"
    missing = re.match(r"Object missing required field `(.*)`", sentence)
    if missing:
        return f"{f'{key}.' if key else ''}{missing[1]}: expected a value, the key is missing"
    return f"{key}: {sentence[0].lower()}{sentence[1:].replace('`', '')}"


def _keys(table: str) -> list[str]:
    struct: Any = Settings
    for name in table.split(".") if table else ():
        kinds = {field.name: field.type for field in msgspec.structs.fields(struct)}
        struct = Primary if name == "primaries" else kinds.get(name, struct)
    return [field.name for field in msgspec.structs.fields(struct) if field.name != "base"]


_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}\Z", re.IGNORECASE
)


_PRIMARY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})\Z")


def is_hostname(name: str) -> bool:
    """Tell whether this is a name that a server can go by (A-labels, no final dot)."""
    return _HOSTNAME.match(name) is not None


def _first_problem(settings: Settings) -> str | None:
    for check in (_names_problem, _networks_problem, _numbers_problem, _urls_problem):
        problem = check(settings)
        if problem:
            return problem
    return _roles_problem(settings) or _link_problem(settings.link) or _proxy_problem(settings)


def _names_problem(settings: Settings) -> str | None:
    if not is_hostname(settings.hostname):
        return "hostname: expected a host name such as mail.example.com"
    for name in (settings.link.name, *settings.link.primaries):
        if not _PRIMARY_NAME.match(name):
            return (
                "link.name, link.primaries: expected names of primaries in lower case letters, "
                f"digits and hyphens, at most 63, got {name!r}"
            )
    return None


def _networks_problem(settings: Settings) -> str | None:
    for key, networks in (
        ("imap.cleartext_login_from", settings.imap.cleartext_login_from),
        ("link.allow_from", settings.link.allow_from),
        ("proxy.allow_from", settings.proxy.allow_from),
    ):
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                return f"{key}: expected networks such as 127.0.0.0/8, got {network!r}"
    return None


def _numbers_problem(settings: Settings) -> str | None:
    for key, value, least, most in (
        ("limits.message_size", settings.limits.message_size, 64 * 1024, LARGEST_MESSAGE),
        ("store.threads", settings.store.threads, 1, None),
        ("store.idle_seconds", settings.store.idle_seconds, 0, None),
        ("imap.connections_per_address", settings.imap.connections_per_address, 1, None),
        ("mx.connections", settings.mx.connections, 1, None),
        ("mx.connections_per_address", settings.mx.connections_per_address, 1, None),
        ("mx.recipients", settings.mx.recipients, 100, None),
        ("workers", settings.workers, 0, MOST_WORKERS),
        ("link.connections", settings.link.connections, 1, None),
        ("link.lease_seconds", settings.link.lease_seconds, 1, 3600),
        ("link.patience_seconds", settings.link.patience_seconds, 0, 3600),
    ):
        if most is not None and value > most:
            return f"{key}: expected at most {most}, got {value}"
        if not least <= value < math.inf:
            return f"{key}: expected at least {least}, got {value}"
    return None


def _urls_problem(settings: Settings) -> str | None:
    if not settings.directory.url.startswith(("sqlite:///", "postgresql+psycopg:")):
        return "directory.url: expected sqlite:///PATH or postgresql+psycopg://..."
    if settings.redis_url and not settings.redis_url.startswith(("redis://", "unix:///")):
        return "redis_url: expected redis://HOST:PORT/DATABASE or unix:///PATH"
    return None


def _roles_problem(settings: Settings) -> str | None:
    roles = settings.roles
    if not roles:
        return f"roles: expected at least one of {', '.join(ROLES)}"
    for role in roles:
        if roles.count(role) > 1:
            return f"roles: {role} is named more than once"
    if "primary" not in roles and not settings.link.primaries:
        return (
            f"roles: {' and '.join(roles)} without primary: "
            "expected [link.primaries.NAME] with the primaries to reach"
        )
    if settings.workers and not settings.front_ends:
        return f"workers: expected 0, or a front end in roles for {settings.workers} workers to run"
    return None


def _link_problem(link: Link) -> str | None:
    for name, primary in link.primaries.items():
        key = f"link.primaries.{name}"
        kind, _, rest = primary.endpoint.partition(":")
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and host and port.isdecimal() and 0 < int(port) < 65536:
            names = {"endpoint": host.strip("[]"), "hostname": primary.hostname or host.strip("[]")}
            for where, one in names.items():
                if not is_hostname(one) and not _is_address(one):
                    return f"{key}.{where}: expected a host name or an address, got {one!r}"
            if primary.ca is None:
                return f"{key}.ca: expected the PEM file of the authority to trust"
        elif kind != "unix" or not rest:
            return f"{key}.endpoint: expected unix:PATH or tcp:HOST:PORT, got {primary.endpoint!r}"
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _proxy_problem(settings: Settings) -> str | None:
    for endpoint in settings.health.listen:
        if endpoint.startswith(PROXY_PREFIX):
            return f"health.listen: takes no {PROXY_PREFIX}, balancers ask it themselves"
    for key, endpoints in (
        ("imap.listen", settings.imap.listen),
        ("imap.listen_tls", settings.imap.listen_tls),
        ("mx.listen", settings.mx.listen),
        ("link.listen", settings.link.listen),
    ):
        for endpoint in endpoints:
            if endpoint.startswith(2 * PROXY_PREFIX):
                return f"{key}: expected {PROXY_PREFIX} once, got {endpoint!r}"
            if endpoint.startswith(PROXY_PREFIX) and not settings.proxy.allow_from:
                return (
                    "proxy.allow_from: expected the networks of the load balancers "
                    f"for {key} {endpoint!r}"
                )
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
        link=_absolute_link(settings.link, base),
    )


def _absolute_link(link: Link, base: Path) -> Link:
    replace = msgspec.structs.replace
    token_file = base / link.token_file
    primaries = {}
    for name, primary in link.primaries.items():
        kind, _, rest = primary.endpoint.partition(":")
        unix = kind == "unix"
        primaries[name] = replace(
            primary,
            endpoint=f"unix:{base / rest}" if unix else primary.endpoint,
            hostname=primary.hostname or ("" if unix else rest.rpartition(":")[0].strip("[]")),
            ca=base / primary.ca if primary.ca else None,
            token_file=base / (primary.token_file or token_file),
        )
    return replace(link, socket=base / link.socket, token_file=token_file, primaries=primaries)
