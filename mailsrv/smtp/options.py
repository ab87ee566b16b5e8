"""What the MX can be told; defaults are those of section 9 of the reference servers' limits."""

import msgspec
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from mailsrv.counters.interfaces import ICounters

MIB = 1024 * 1024


class MxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in octets, times in seconds."""

    hostname: str
    message_limit: int = 50 * MIB
    recipient_limit: int = 1000
    """Recipients of one message, at least 100 (rfc5321:3535)."""
    tls: IOpenSSLServerConnectionCreator | None = None
    """What STARTTLS needs; None does not offer it."""
    postmaster: str = ""
    """Who gets mail for ``<Postmaster>``; empty tries postmaster@ the host name and its parent."""

    memory_limit: int = 256 * MIB
    """Octets of all messages in progress in this process, as they came; handling one takes up to
    three times its size for a moment. At least ``message_limit``."""
    connections: int = 500
    connections_per_client: int = 20
    """From one IPv4 address or one IPv6 /64, at this process."""
    connections_per_minute: int = 600
    """From one such client at all processes that share counters; 0 sets no limit. The two limits
    are for clients that went mad: no sender of mail comes near them. This machine has none."""
    messages_per_minute: int = 3000
    """Likewise; messages that are begun."""
    counters: ICounters | None = None
    """Where the two are counted; None counts them in the factory."""

    timeout: float = 300.0
    """Without a word from the client (rfc5321:3666)."""
    silence_when_full: float = 10.0
    """The same when there is no room for another client."""
    store_timeout: float = 300.0
    """For the store to answer one command; then 421, and the sender tries again."""
    lifetime: float = 7200.0
    """Of a connection."""
    greeting_delay: float = 0.05
    """Who speaks before the greeting is dropped; 0 greets at once and cannot tell."""
    minimum_rate: float = 500.0
    """Octets per second of a message, after ``rate_grace`` seconds."""
    rate_grace: float = 60.0

    hard_errors: int = 20
    """5xx replies between two stored messages."""
    junk_commands: int = 100
    """NOOP, RSET, EHLO and the like between two stored messages."""
    hop_limit: int = 100
    """Received fields of a message that is still taken (rfc5321:4070)."""
