"""What the parts of the directory share: the database, the clock, small helpers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from mailsrv.directory.database import Database
from mailsrv.errors import InvalidInput
from mailsrv.keys.objectid import object_id

_MAX_QUOTA = 2**62
_PRIMARY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Part:
    """Base of the directory's parts, which ``Directory`` joins into one class."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def _new_id(self) -> str:
        return object_id(self._now())

    def _time(self) -> str:
        return iso(self._now())


def iso(moment: datetime) -> str:
    """Return ISO 8601 UTC text of an aware time, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def checked_quota(quota: int | None) -> int | None:
    """Return the quota. InvalidInput unless it is None or a possible number of octets."""
    if quota is not None and not 0 <= quota <= _MAX_QUOTA:
        raise InvalidInput("a quota is a number of octets that is not negative")
    return quota


def checked_primary(name: str) -> str:
    """Return the name of a primary. InvalidInput unless it is one word."""
    if not _PRIMARY.fullmatch(name):
        raise InvalidInput("primary: expected 1 to 63 lower case letters, digits and hyphens")
    return name
