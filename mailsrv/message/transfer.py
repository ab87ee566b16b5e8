"""Content-Transfer-Encoding undone, leniently (rfc2045): for reading, never for storing."""

import binascii
import re

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def decode_transfer(data: bytes, encoding: str) -> bytes:
    """``data`` decoded from ``encoding`` (lower case); unknown encodings leave it as it is."""
    if encoding == "base64":
        return decode_base64(data)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    return data


def decode_base64(data: bytes) -> bytes:
    """Decode base64 up to its padding, whatever stands between its characters, also when it is
    cut short."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        digits = _NOT_BASE64.sub(b"", data.partition(b"=")[0])
        # One character alone in the last group holds only six bits: no octet can come of it.
        whole = len(digits) - (len(digits) % 4 == 1)
        return binascii.a2b_base64(digits[:whole] + b"=" * (-whole % 4))
