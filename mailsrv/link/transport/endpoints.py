"""Where a primary is, and how to be sure that it is that one.

TLS 1.3 with the one authority that the configuration names and no other; the certificate must
have the name (rfc9525). On one machine a unix socket, which the file system guards.
"""

import os
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from mailsrv.errors import InvalidInput
from mailsrv.settings import Primary

CONNECT_SECONDS = 5.0

LONGEST_PATH = 107
"""Octets of a unix socket's path (sockaddr_un of Linux, with its final NUL)."""


def client_endpoint(primary: Primary, reactor: object) -> IStreamClientEndpoint:
    """The endpoint of a primary; InvalidInput names what is wrong with its settings."""
    kind, _, rest = primary.endpoint.partition(":")
    if kind == "unix" and rest:
        if len(os.fsencode(rest)) > LONGEST_PATH:
            # the reactor would only notice a time-out
            raise InvalidInput(f"expected a path of at most {LONGEST_PATH} octets, got {rest}")
        return UNIXClientEndpoint(reactor, rest, timeout=CONNECT_SECONDS)
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if kind != "tcp" or not host or not port.isdecimal():
        raise InvalidInput(f"expected unix:PATH or tcp:HOST:PORT, got {primary.endpoint!r}")
    if primary.ca is None:
        raise InvalidInput(f"ca: expected the authority's certificate for {primary.endpoint}")
    options = optionsForClientTLS(
        primary.hostname or host,
        trustRoot=trustRootFromCertificates(_authorities(primary.ca)),
        extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_3},
    )
    plain = HostnameEndpoint(reactor, host, int(port), timeout=CONNECT_SECONDS)
    return wrapClientTLS(options, plain)


def _authorities(path: Path) -> list[Certificate]:
    begin = b"-----BEGIN CERTIFICATE-----"
    try:
        _, *certificates = path.read_bytes().split(begin)
        found = [Certificate.loadPEM(begin + one) for one in certificates]
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    except SSL.Error:
        found = []
    if not found:
        raise InvalidInput(f"{path}: expected PEM certificates")
    return found
