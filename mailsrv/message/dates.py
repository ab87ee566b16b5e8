"""The Date field (rfc5322), leniently."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import parsedate_tz

_LONGEST = 128
_COMMENT = re.compile(r"\([^()]*\)")
_ISO = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_date(value: str) -> tuple[str | None, str | None]:
    """``(sent, sent_day)`` of an unfolded Date field: the moment as ISO 8601 UTC text and the
    calendar day as written (rfc9051:3929); None for what cannot be told."""
    value = value[:_LONGEST]
    while "(" in value and (bare := _COMMENT.sub(" ", value)) != value:
        value = bare
    if _ISO.match(value):
        return _from_iso(value)
    try:
        parsed = parsedate_tz(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None, None
    if parsed is None:
        return None, None
    year, month, day, hour, minute, second, *_, offset = parsed
    try:
        written = date(year, month, day).isoformat()
    except (ValueError, OverflowError):
        return None, None
    try:
        zone = timezone(timedelta(seconds=offset or 0))
        # A leap second is written as 60, which datetime does not know.
        local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
        moment = local.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None, written
    return moment.isoformat() + "Z", written


def _from_iso(value: str) -> tuple[str | None, str | None]:
    try:
        written = date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return None, None
    try:
        local = datetime.fromisoformat(value)
        moment = (local if local.tzinfo else local.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None, written
    return moment.replace(tzinfo=None, microsecond=0).isoformat() + "Z", written
