"""The tokens that open a link: one file of lines such as ``frontend 6f1d...``.

The word is the role that the token gives; several lines of a role are all good, so that tokens
can be replaced one machine after the other. Blank lines and lines with ``#`` are passed over.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from mailsrv.errors import InvalidInput

FRONTEND = "frontend"
OPERATOR = "operator"
ROLES = (FRONTEND, OPERATOR)

_LINE = re.compile(r"(\S+)[ \t]+([0-9a-f]{64})")


class Tokens:
    """What a token file says. Its repr shows nothing."""

    def __init__(self, tokens: list[tuple[str, str]], source: object = "tokens") -> None:
        self._source = source
        self._tokens = tokens
        self._digests = [(role, _digest(token.encode())) for role, token in tokens]

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """Read the file; InvalidInput names it and the line, and never shows a token."""
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(64 * 1024)
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
        if mode & 0o077:
            raise InvalidInput(f"{path}: expected mode 0600, found {mode:04o}")
        return cls(_parse(path, text), path)

    def role_of(self, token: bytes) -> str | None:
        """The role that a token gives; takes as long for a wrong one as for a right one."""
        digest, role = _digest(token), None
        for one, expected in self._digests:
            if hmac.compare_digest(digest, expected):
                role = one
        return role

    def token(self, role: str) -> str:
        """The first token of a role, for who connects; InvalidInput when there is none."""
        for one, token in self._tokens:
            if one == role:
                return token
        raise InvalidInput(f"{self._source}: expected a line '{role} ...', found none")


def make_tokens(path: Path) -> None:
    """Write a file with one new token for each role, unless there is one already."""
    # written whole under another name, then linked: two starting processes agree on one file
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{role} {secrets.token_hex(32)}\n" for role in ROLES)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _parse(path: Path, text: bytes) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    for number, line in enumerate(text.decode("latin-1").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] not in ROLES:
            expected = f"{' or '.join(ROLES)}, a blank and 64 hexadecimal digits"
            raise InvalidInput(f"{path}: line {number}: expected {expected}")
        tokens.append((match[1], match[2]))
    return tokens


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
