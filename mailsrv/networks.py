"""Addresses of clients: read one way wherever they are compared, counted or written down.

An IPv4 client of a socket that takes both families is itself, not its IPv4-mapped address
(rfc4291, 2.5.5.2), and the zone of a link-local address is left off: it names an interface here.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def parse_host(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that this is; None for the path of a socket or a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_within(host: str, networks: Iterable[Network]) -> bool:
    """Whether this is an IP address of one of the networks."""
    address = parse_host(host)
    return address is not None and any(address in network for network in networks)


def network_of(host: str | None) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 client can pick from.

    Paths and names count as they are; everybody without an address (None) is one client, "local".
    """
    if host is None:
        return "local"
    address = parse_host(host)
    if address is None:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, 64), strict=False))
