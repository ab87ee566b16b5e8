"""Command lines: verb, path, parameters (rfc5321:1829 to rfc5321:2281).

Every function takes the octets of a line and returns plain values or raises ``Refused`` with the
answer. Lenient where real senders are: blanks after the colon and at the end of a line.
"""

import re

import msgspec

from mailsrv.smtp.address import Address, BadAddress, parse_address, parse_path
from mailsrv.smtp.reply import Refused

_PRINTABLE = re.compile(rb"[\x20-\x7e\t\x80-\xff]*")
_COMMAND = re.compile(r"([A-Za-z0-9]+)(?:[ \t]+(.*))?", re.DOTALL)
_FROM = re.compile(r"FROM[ \t]*:[ \t]*", re.IGNORECASE)
_TO = re.compile(r"TO[ \t]*:[ \t]*", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+))?"
)
_SIZE = re.compile(r"[0-9]{1,20}")
_CHUNK = re.compile(r"([0-9]{1,12})(?:[ \t]+(LAST))?[ \t]*", re.IGNORECASE)


class Mail(msgspec.Struct, frozen=True):
    """MAIL FROM. ``sender`` None is the null reverse-path; ``size`` None was not declared."""

    sender: Address | None
    size: int | None = None
    utf8: bool = False


class Rcpt(msgspec.Struct, frozen=True):
    """RCPT TO. ``address`` None is the domainless Postmaster (rfc5321:3401)."""

    address: Address | None


class Bdat(msgspec.Struct, frozen=True):
    octets: int
    last: bool


def split_command(line: bytes) -> tuple[str, str]:
    """Return the verb in upper case and the rest. :raises Refused: 500"""
    if not _PRINTABLE.fullmatch(line):
        raise Refused(500, "5.5.2", "Control characters are not allowed in commands")
    try:
        text = line.decode("utf-8").rstrip(" \t")
    except UnicodeDecodeError:
        raise Refused(500, "5.5.2", "Command is not UTF-8") from None
    match = _COMMAND.fullmatch(text)
    if not match:
        raise Refused(500, "5.5.2", "Syntax error, command unrecognized")
    return match[1].upper(), match[2] or ""


def parse_mail(rest: str) -> Mail:
    """Parse what follows MAIL. :raises Refused: 501, 555

    A sender in UTF-8 without the SMTPUTF8 parameter is taken as if it were there: clients that
    cannot give it exist, and refusing them protects nobody.
    """
    path, parameters = _path_and_parameters(_FROM, rest, "Syntax: MAIL FROM:<address>")
    size, utf8 = None, False
    for name, value in parameters:
        if name == "SIZE":
            size = _size(value)
        elif name == "BODY":
            _check_body(value)
        elif name == "SMTPUTF8":
            utf8 = _flag(value)
        else:
            raise Refused(555, "5.5.4", "Parameter of MAIL not recognized")
    sender = _address(path, "5.1.7") if path else None
    return Mail(sender, size, utf8 or (sender is not None and not sender.ascii))


def parse_rcpt(rest: str) -> Rcpt:
    """Parse what follows RCPT. :raises Refused: 501, 555"""
    path, parameters = _path_and_parameters(_TO, rest, "Syntax: RCPT TO:<address>")
    if parameters:
        raise Refused(555, "5.5.4", "Parameter of RCPT not recognized")
    if path.lower() == "postmaster":
        return Rcpt(None)
    return Rcpt(_address(path, "5.1.3"))


def parse_bdat(rest: str) -> Bdat | None:
    """Parse what follows BDAT; None when it cannot be known how many octets follow."""
    match = _CHUNK.fullmatch(rest)
    return Bdat(int(match[1]), match[2] is not None) if match else None


def _path_and_parameters(
    keyword: re.Pattern[str], rest: str, syntax: str
) -> tuple[str, list[tuple[str, str | None]]]:
    match = keyword.match(rest)
    if not match:
        raise Refused(501, "5.5.4", syntax)
    try:
        path, end = parse_path(rest, match.end())
    except BadAddress as error:
        raise Refused(501, "5.1.7" if keyword is _FROM else "5.1.3", str(error)) from None
    tail = rest[end:]
    if tail and tail[0] not in " \t":
        raise Refused(501, "5.5.4", syntax)
    return path, _parameters(tail.split())


def _parameters(words: list[str]) -> list[tuple[str, str | None]]:
    parameters: list[tuple[str, str | None]] = []
    for word in words:
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise Refused(501, "5.5.4", "Malformed parameter")
        name = match[1].upper()
        if any(name == other for other, _ in parameters):
            raise Refused(501, "5.5.4", "Parameter given twice")
        parameters.append((name, match[2]))
    return parameters


def _address(path: str, status: str) -> Address:
    try:
        return parse_address(path)
    except BadAddress as error:
        raise Refused(501, status, str(error)) from None


def _size(value: str | None) -> int:
    if value is None or not _SIZE.fullmatch(value):
        raise Refused(501, "5.5.4", "SIZE takes a number of octets")
    return int(value)


def _check_body(value: str | None) -> None:
    if value is None or value.upper() not in ("7BIT", "8BITMIME"):
        raise Refused(501, "5.5.4", "BODY takes 7BIT or 8BITMIME")


def _flag(value: str | None) -> bool:
    if value is not None:
        raise Refused(501, "5.5.4", "SMTPUTF8 takes no value")
    return True
