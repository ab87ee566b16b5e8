"""ObjectIDs: names that tell nothing but their age.

The shape of a BSON ObjectID, with random octets where BSON puts machine and process, so that a
file name says neither whose file it is nor where it was made.
"""

import secrets
from datetime import datetime


def object_id(now: datetime) -> str:
    """Return 24 lower-case hex digits: 4 octets of UNIX time in seconds, 8 random octets.

    ``now`` must be aware of its time zone.
    """
    seconds = int(now.timestamp()) & 0xFFFFFFFF
    return f"{seconds:08x}{secrets.token_hex(8)}"
