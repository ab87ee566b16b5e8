"""ObjectIDs: names that tell nothing but their age.

The shape of a BSON ObjectID, with random octets where BSON puts machine and process, so that a
file name says neither whose file it is nor where it was made.
"""

import re
import secrets
from datetime import datetime

_OBJECT_ID = re.compile(r"[0-9a-f]{24}")


def object_id(now: datetime) -> str:
    """Return 24 lower-case hex digits: 4 octets of UNIX time in seconds, 8 random octets.

    ``now`` must be aware of its time zone.
    """
    seconds = int(now.timestamp()) & 0xFFFFFFFF
    return f"{seconds:08x}{secrets.token_hex(8)}"


def is_object_id(text: str) -> bool:
    """Tell whether the text is an ObjectID, and so safe as a file name."""
    return _OBJECT_ID.fullmatch(text) is not None
