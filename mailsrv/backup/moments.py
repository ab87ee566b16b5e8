"""Moments as people name them."""

import re
from datetime import UTC, datetime, timedelta

from mailsrv.backup.layout import iso
from mailsrv.errors import InvalidInput

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_moment(text: str, now: datetime) -> datetime:
    """A moment that an owner asks for: ISO 8601 with Z or an offset; a date is the end of its day.

    InvalidInput, also when it has not come yet.
    """
    expected = f"--at: expected a time such as {iso(now)}, or a date, got {text}"
    try:
        if _DATE.fullmatch(text):
            day = datetime.fromisoformat(f"{text}T00:00:00Z")
            moment = min(day + timedelta(days=1, seconds=-1), max(now, day))
        else:
            moment = datetime.fromisoformat(text)
        known = moment.tzinfo is not None
        moment = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidInput(expected) from None
    if not known:
        raise InvalidInput(f"{expected}: without Z or an offset it may mean several moments")
    if moment > now:
        raise InvalidInput(f"--at: {text} has not come yet: now it is {iso(now)}")
    return moment
