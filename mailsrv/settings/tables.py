"""The tables of the configuration file as typed values, each key with a default that is safe.

``conf/mailsrv.toml`` documents them all. Paths are relative to the file that names them.
"""

from pathlib import Path
from typing import Literal, get_args

import msgspec

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

    undelete_days: float = 7.0
    """Expunged messages can be had back for so long, and count in the quota; 0: not at all."""


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


class BucketPlace(_Table, frozen=True):
    """A bucket of an S3-compatible store, and who uses it there."""

    bucket: str
    access_key_id: str
    endpoint: str = ""
    """URL of the store; empty: Amazon's own for the region."""

    region: str = "us-east-1"
    prefix: str = ""
    """Before the name of every object."""

    style: Literal["path", "host"] = "path"
    """Whether the bucket is named in the path or in the host of a URL."""


class Bucket(BucketPlace, frozen=True, kw_only=True):
    """One that the configuration names."""

    secret_file: Path
    """Where the secret access key is: one line."""


class Backup(_Table, frozen=True):
    to: Literal["folder", "s3", "nowhere"] = "folder"
    """Where backups are kept: a folder, the bucket of ``s3``, or nowhere: none are made."""

    folder: Path = Path("backups")
    s3: Bucket | None = None
    every_hours: float = 24.0
    """A mailbox that changed is backed up so often, while its owner's key is at hand."""

    late_hours: float = 48.0
    """The operator is told of a mailbox that could be backed up and was not for so long."""

    verify_days: float = 30.0
    """The newest backup of each mailbox is fetched and compared so often; 0: never."""

    keep_last: int = 2
    keep_daily: int = 3
    keep_weekly: int = 2
    keep_monthly: int = 0
    """Generations that are kept: the last ones, and the newest of each day, week and month."""

    at_once: int = 1
    """Mailboxes of this volume that are copied at a time."""

    point_in_time: bool = False
    """Whether changes are shipped as they are committed, so that any second can be restored."""

    point_in_time_days: float = 7.0
    """How far back such a restore reaches."""


class Erase(_Table, frozen=True):
    grace_days: float = 7.0
    """A deleted alias can be had back for so long; then everything of it is erased."""


class Operator(_Table, frozen=True):
    mail_to: str = ""
    """An address of this server that is told what goes wrong; nobody if empty."""


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
    backup: Backup = Backup()
    erase: Erase = Erase()
    operator: Operator = Operator()
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
