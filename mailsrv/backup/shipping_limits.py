"""How much of a log may wait, how far back it is kept, and how often things are tried."""

import attrs

MIB = 1024 * 1024


@attrs.frozen(kw_only=True)
class ShippingLimits:
    """Octets, days and seconds."""

    spool_octets: int = 256 * MIB
    """What may wait of one mailbox; with more its chain ends."""

    volume_octets: int = 2048 * MIB
    """The same of all."""

    base_octets: int = 64 * MIB
    """A new base is due after so much, or after as much as the last one has if that is more."""

    base_days: float = 7.0
    """A new base is due after so long, if anything changed."""

    keep_days: float = 7.0
    """How far back any second can be restored."""

    patience: float = 1.0
    """How long a mailbox is waited for whose writer is at work."""

    first_pause: float = 2.0
    longest_pause: float = 60.0
    """Between attempts at a store that fails."""

    longest_base_pause: float = 3600.0
    """Between attempts at a base."""
