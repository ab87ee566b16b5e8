"""What a configuration must keep to beyond the types of its values."""

import ipaddress
import math
import re

from mailsrv.settings.tables import (
    LARGEST_MESSAGE,
    MOST_WORKERS,
    PROXY_PREFIX,
    ROLES,
    Backup,
    BucketPlace,
    Link,
    Settings,
)

_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}\Z", re.IGNORECASE
)


_PRIMARY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})\Z")


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_WORD = re.compile(r"[!-~]{1,256}")
_ENDPOINT = re.compile(r"(?:https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?/?)?")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_PREFIX = re.compile(r"/?(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*(?:[A-Za-z0-9][A-Za-z0-9._-]*)?")


def is_hostname(name: str) -> bool:
    """Tell whether this is a name that a server can go by (A-labels, no final dot)."""
    return _HOSTNAME.match(name) is not None


def first_problem(settings: Settings) -> str | None:
    for check in (_names_problem, _networks_problem, _numbers_problem, _urls_problem):
        problem = check(settings)
        if problem:
            return problem
    return (
        _roles_problem(settings)
        or _link_problem(settings.link)
        or _proxy_problem(settings)
        or _backup_problem(settings.backup)
    )


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
        ("store.undelete_days", settings.store.undelete_days, 0, 3650),
        ("backup.every_hours", settings.backup.every_hours, 0.01, 8784),
        ("backup.late_hours", settings.backup.late_hours, 0.01, 87840),
        ("backup.verify_days", settings.backup.verify_days, 0, 3650),
        ("backup.keep_last", settings.backup.keep_last, 1, 10_000),
        ("backup.keep_daily", settings.backup.keep_daily, 0, 10_000),
        ("backup.keep_weekly", settings.backup.keep_weekly, 0, 10_000),
        ("backup.keep_monthly", settings.backup.keep_monthly, 0, 10_000),
        ("backup.at_once", settings.backup.at_once, 1, 64),
        ("backup.point_in_time_days", settings.backup.point_in_time_days, 0.01, 3650),
        ("erase.grace_days", settings.erase.grace_days, 0, 3650),
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


def _backup_problem(backup: Backup) -> str | None:
    s3 = backup.s3
    if backup.to == "s3" and s3 is None:
        return "backup.s3: expected a table with bucket, access_key_id and secret_file"
    problem = s3 and bucket_problem(s3)
    return f"backup.s3.{problem}" if problem else None


def bucket_problem(place: BucketPlace) -> str | None:
    """What is wrong with a bucket, as ``key: sentence``; None when nothing is."""
    # an endpoint is not quoted: who wrote a password into it must not find that in a log
    for key, value, form, expected in (
        ("bucket", place.bucket, _BUCKET, "the name of a bucket"),
        ("access_key_id", place.access_key_id, _WORD, "one word of ASCII characters"),
        ("endpoint", place.endpoint, _ENDPOINT, "https://HOST or https://HOST:PORT"),
        ("region", place.region, _REGION, "a region such as us-east-1"),
        ("prefix", place.prefix, _PREFIX, "words of letters, digits and ._- with / between"),
    ):
        if not form.fullmatch(value):
            return f"{key}: expected {expected}"
    return None


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
