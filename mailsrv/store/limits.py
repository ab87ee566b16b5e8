"""How much the store lets itself and its clients use. Seconds, octets and counts."""

import attrs

MIB = 1024 * 1024


@attrs.frozen(kw_only=True)
class Limits:
    """Defaults are for a small machine; the configuration may set each."""

    message_octets: int = 50 * MIB
    idle_seconds: float = 5.0
    """A mailbox connection that nobody used for so long is closed."""
    open_connections: int = 128
    """Mailbox connections kept open at once, in use or idle; those in use are never refused."""
    log_octets: int = 16 * MIB
    """A mailbox's log that is longer is begun anew, though others read from it all the time."""
    log_patience: float = 0.1
    """How long those who read from it, and who would write, may be held up for that."""
    work_per_alias: int = 3
    """Requests of one alias that may hold a worker thread at once; more wait their turn."""
    logins_at_once: int = 4
    """Logins that may hold a worker thread at once: fewer than there are threads."""
    logins_waiting: int = 256
    """Logins that may wait for their turn, some seconds' worth; more are told to come again."""
    refusal_seconds: float = 0.1
    """A refused login is answered after a multiple of this."""
    queued_octets: int = 256 * MIB
    """Deliveries in memory that are not on disk yet; more are refused for now."""
    batch_messages: int = 100
    batch_octets: int = 32 * MIB
    """What one transaction of deliveries or of a merge takes at most."""
    login_messages: int = 500
    """Waiting messages that a login merges before it answers; the rest follows behind it."""
    avoid_seconds: float = 10.0
    """For so long mail goes to the waiting file after the live mailbox was found busy."""
    poll_seconds: float = 1.0
    """How often the directory is asked for changes and usage is written to it."""
    used_seconds: float = 3600.0
    """The last use of a credential is noted no more often than this."""
    undelete_days: float = 0.0
    """How long expunged messages can be had back."""
    index_messages: int = 20
    """Messages that one turn of background indexing takes."""
    index_delay: float = 0.1
    """Pause before a turn of background indexing."""
    lease_seconds: float = 5.0
    """How long after its last use the key of a session of the link stays here."""
    ask_seconds: float = 1.0
    """How long mail waits for a key that somebody far away may have."""
    frozen_seconds: float = 60.0
    """How long a mailbox may be held still, and requests wait for it."""
    moves_seconds: float = 2.0
    """How often what moves of mailboxes have left to do is looked for."""
