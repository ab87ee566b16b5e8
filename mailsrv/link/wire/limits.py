"""How much the two sides of a link let each other use. Seconds, octets and counts."""

import attrs

KIB = 1024
MIB = 1024 * KIB

CHUNK = 64 * KIB
"""Bodies over this travel in pieces of this size, so that small frames pass between them."""
FIRST_CREDIT = 256 * KIB
"""What may be sent of a long body before the receiver has said that it has room."""
OVERHEAD = MIB
"""What the struct around the largest message may add to it."""


@attrs.frozen(kw_only=True)
class LinkLimits:
    """Defaults suit a primary with some tens of front ends."""

    message_octets: int = 50 * MIB
    frame_octets: int = MIB
    """Of one WebSocket message; a longer one closes the connection."""
    in_flight: int = 256
    """Calls of one side that the other works on at once."""
    queued_octets: int = 32 * MIB
    """Frames that wait for a transport that is full; more ends the connection."""
    unsent_octets: int = 32 * MIB
    """Long answers of one link in memory at once; calls that would add to them wait."""
    body_octets: int = 256 * MIB
    """Long bodies in memory at once; the others wait for room, first come, first served."""
    stall_seconds: float = 30.0
    """A long body of which nothing comes for so long is given up."""
    connections: int = 64
    strangers: int = 32
    """Connections that have shown no token yet."""
    open_seconds: float = 5.0
    """From accept to Welcome."""
    ping_seconds: float = 5.0
    """An idle connection is pinged so often, and each ping has as long to be answered."""

    @property
    def body_limit(self) -> int:
        """Octets of the longest body."""
        return self.message_octets + OVERHEAD
