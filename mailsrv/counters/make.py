"""Choosing where counters are kept."""

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from mailsrv.counters.address import parse_url
from mailsrv.counters.interfaces import ICounters
from mailsrv.counters.memory import MemoryCounters


def make_counters(url: str, reactor: Any) -> ICounters:
    """In the Redis at ``url``, to which it connects once the reactor runs; in memory if empty.

    :raises InvalidInput: when the URL is none; the sentence does not show its password.
    """
    if not url:
        return MemoryCounters(reactor)
    address = parse_url(url)
    # imported late because txredisapi names the global reactor
    from mailsrv.counters.redis import RedisCounters

    endpoint: IStreamClientEndpoint
    if address.path:
        endpoint = UNIXClientEndpoint(reactor, address.path)  # type: ignore[no-untyped-call]
    else:
        endpoint = HostnameEndpoint(reactor, address.host, address.port)
    counters = RedisCounters(endpoint, address, reactor)
    reactor.callWhenRunning(counters.start)
    return counters
