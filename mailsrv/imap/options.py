"""What an operator may set about IMAP, and the limits that a session keeps."""

from typing import Any

import attrs

from mailsrv.counters.interfaces import ICounters
from mailsrv.networks import Network, is_within

MIB = 1024 * 1024


@attrs.frozen
class ImapOptions:
    """Times are seconds, sizes are octets."""

    tls: Any = None
    """``IOpenSSLServerConnectionCreator`` or context factory for STARTTLS; None offers none."""

    cleartext_login_from: tuple[Network, ...] = ()
    """Networks whose clients may log in without TLS: nobody by default."""

    append_limit: int = 50 * MIB
    """The largest message, advertised as APPENDLIMIT (rfc7889)."""

    connections: int = 10_000
    connections_per_address: int = 50

    login_timeout: float = 60
    """Silence before login."""

    login_deadline: float = 180
    """The whole time that a connection may spend without logging in."""

    idle_timeout: float = 30 * 60
    """Silence after login; at least 30 minutes (rfc9051, 5.4)."""

    stall_timeout: float = 5 * 60
    """How long a client may leave its answers unread."""

    keepalive: float = 2 * 60
    """Seconds between the "Still here" lines of IDLE."""

    login_tries: int = 4
    """Failed logins that one connection may make."""

    counters: ICounters | None = None
    """Where failed logins are counted; None counts them in the factory."""

    bad_commands_before_login: int = 3
    bad_commands_after_login: int = 20

    def allows_cleartext(self, host: str) -> bool:
        """Whether a client at this address may log in without TLS."""
        return is_within(host, self.cleartext_login_from)
