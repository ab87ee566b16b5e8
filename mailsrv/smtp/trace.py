"""Trace fields: Received and Return-Path, and the count of hops.

Received follows rfc5321:3302 with the protocol names of rfc3848 and rfc6531:805 and the "tls" and
"group" clauses of rfc8314:519. Each recipient's copy carries its own "for" clause: nobody sees
another's address (rfc5321:4212), and the owner of a catch-all sees which address was used.
Mail that does not begin with a header gets an empty line before it.

Return-Path is put on top. One that is already there stays where it is: it may be removed
(rfc5321:3237), but then what is read would no longer end with the octets that were sent, and
readers take the first.
"""

import re
import secrets
from datetime import datetime

import msgspec

from mailsrv.networks import parse_host
from mailsrv.smtp.address import Address, is_literal

_HELO_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,253}[A-Za-z0-9])?")
_UNSAFE = re.compile(r"[^A-Za-z0-9.\-_:\[\]]")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_\-]*")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_TLS12_SUITE = re.compile(
    r"(ECDHE|DHE)-(RSA|ECDSA)-(?:AES(128|256)-GCM-(SHA\d+)|CHACHA20-POLY1305)"
)
HEADER_LIMIT = 1024 * 1024
"""Octets in which hops are counted."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class TlsInfo(msgspec.Struct, frozen=True):
    """What was negotiated, as OpenSSL names it."""

    version: str
    cipher: str
    group: str | None


class Client(msgspec.Struct, frozen=True):
    """Who sends: ``address`` is its IP address (None on a socket without), ``helo`` its claim."""

    address: str | None
    helo: str
    extended: bool
    """EHLO rather than HELO."""
    tls: TlsInfo | None


def transaction_id(now: datetime) -> str:
    """An id for one transaction, 20 hex digits that begin with the time."""
    return f"{int(now.timestamp()) & 0xFFFFFFFF:08x}{secrets.token_hex(6)}"


def mail_date(now: datetime) -> str:
    """The date-time of rfc5322, with a numeric offset."""
    return (
        f"{_DAYS[now.weekday()]}, {now.day} {_MONTHS[now.month - 1]} "
        f"{now:%Y %H:%M:%S} {now.strftime('%z')}"
    )


def return_path(sender: Address | None) -> bytes:
    return f"Return-Path: <{sender or ''}>\r\n".encode()


def received(
    client: Client,
    hostname: str,
    transaction: str,
    recipient: Address | None,
    utf8: bool,
    date: str,
) -> bytes:
    """The Received field, folded, with its CRLF. ``recipient`` None leaves out "for"."""
    with_what = f"with {_protocol(client, utf8)} id {transaction}"
    tls = f"\r\n\t{_tls(client.tls)}" if client.tls else ""
    for_whom = f"\r\n\tfor <{recipient}>" if recipient else ""
    return (
        f"Received: from {_from(client)}\r\n\tby {hostname} {with_what}{for_whom}{tls};"
        f"\r\n\t{date}\r\n"
    ).encode()


def gap(content: bytes) -> bytes:
    """What must stand between our trace fields and this message: nothing, or an empty line.

    A first line that begins with a blank would else be read as the end of our Received, and text
    without a header as one. A line of something else may precede a header: byte order marks and
    lines of mbox files do.
    """
    if content.startswith(b"\r\n"):
        return b""
    first_ends = content.find(b"\r\n", 0, HEADER_LIMIT)
    starts = (0,) if first_ends < 0 else (0, first_ends + 2)
    blank = content.startswith((b" ", b"\t"))
    if blank or not any(_FIELD.match(content, start, HEADER_LIMIT) for start in starts):
        return b"\r\n"
    return b""


def literal(address: str) -> str | None:
    """An IP address as rfc5321:2309 writes it; None for what is no IP address."""
    parsed = parse_host(address)
    if parsed is None:
        return None
    return f"[IPv6:{parsed}]" if parsed.version == 6 else f"[{parsed}]"


def header_of(content: bytes) -> bytes:
    """The header without its last CRLF, at most HEADER_LIMIT octets; empty when there is none."""
    if gap(content) or content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    return content[: HEADER_LIMIT if end < 0 else end]


def count_hops(content: bytes) -> int:
    """How many Received fields the header has."""
    return len(_RECEIVED.findall(header_of(content)))


def _from(client: Client) -> str:
    where = literal(client.address) if client.address else None
    proper = _HELO_DOMAIN.fullmatch(client.helo) or is_literal(client.helo)
    if proper and not _UNSAFE.search(client.helo):
        return f"{client.helo} ({where})" if where else client.helo
    # Not a name that the grammar allows here: in a comment it does no harm.
    claim = _UNSAFE.sub("?", client.helo[:64])
    return f"{where or 'localhost'} (HELO {claim})"


def _protocol(client: Client, utf8: bool) -> str:
    if not client.extended:
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + ("S" if client.tls else "")


def _tls(tls: TlsInfo) -> str:
    cipher = _suite(tls.cipher)
    if cipher is None:
        return f"({_UNSAFE.sub('?', tls.version)} {_UNSAFE.sub('?', tls.cipher)})"
    group = f" group {tls.group}" if tls.group and _TOKEN.fullmatch(tls.group) else ""
    return f"({_UNSAFE.sub('?', tls.version)}) tls {cipher}{group}"


def _suite(openssl_name: str) -> str | None:
    """The registered name of a cipher suite; None when it is not known."""
    if openssl_name.startswith("TLS_"):
        return openssl_name
    match = _TLS12_SUITE.fullmatch(openssl_name)
    if not match:
        return None
    exchange, signature, bits, digest = match.groups()
    cipher = f"AES_{bits}_GCM_{digest}" if bits else "CHACHA20_POLY1305_SHA256"
    return f"TLS_{exchange}_{signature}_WITH_{cipher}"
