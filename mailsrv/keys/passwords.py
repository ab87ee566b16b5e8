"""Passwords: generated ones that need no hardening, and a guard for those that owners choose.

The password is the key of the mailbox, so whoever has the file can guess at it for ever. A
generated one has more than 140 bits and stands that by itself. One that an owner chose rests on
the 64007 rounds of the file key and on the guard here.
"""

import secrets
import unicodedata
from collections.abc import Iterable

from zxcvbn import zxcvbn

from mailsrv.errors import InvalidInput, WeakPassword
from mailsrv.keys.saslprep import saslprep

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Lower-case letters and digits without those that look alike (0 o, 1 l i)."""
GROUPS = 6
GROUP_LENGTH = 5

MIN_LENGTH = 12
MAX_LENGTH = 255
"""Characters. PLAIN must take 255 octets (rfc4616:125); more only costs time."""
MIN_GUESSES_LOG10 = 14.0
"""At 10^5 guesses per second and graphics card, what 64007 rounds allow: some thirty years."""

_ZXCVBN_LENGTH = 40


def generate_password() -> str:
    """Return a password of 148 bits: six groups of five characters, joined by hyphens."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))
    return "-".join(groups)


def prepare_password(password: str) -> bytes:
    """Return the octets that keys are derived from: UTF-8 of the SASLprep form.

    InvalidInput, without the password, when it is empty, too long or cannot be prepared.
    """
    if len(password) > MAX_LENGTH:
        raise InvalidInput(f"a password has at most {MAX_LENGTH} characters")
    prepared = saslprep(password, stored=True)
    if not prepared:
        raise InvalidInput("a password must not be empty")
    return prepared.encode()


def check_password(password: str, related: Iterable[str] = ()) -> None:
    """Raise WeakPassword unless the password stands an attacker who has the file.

    ``related`` are words that an attacker tries first, such as the owner's address.
    """
    try:
        prepared = prepare_password(password).decode()
    except InvalidInput as error:
        raise WeakPassword(f"choose another password: {error}") from None
    if prepared != unicodedata.normalize("NFC", password):
        raise WeakPassword(
            "choose a password without characters that programs write in several ways"
        )
    if len(prepared) < MIN_LENGTH:
        raise WeakPassword(f"choose a password of at least {MIN_LENGTH} characters")
    # zxcvbn takes seconds over long runs of look-alikes ("4@8({"), and holds the interpreter
    # meanwhile; a password that is strong up to here is strong.
    verdict = zxcvbn(prepared[:_ZXCVBN_LENGTH], user_inputs=_words(related))
    if float(verdict["guesses_log10"]) < MIN_GUESSES_LOG10:
        advice = verdict["feedback"]["warning"] or "Add a few unrelated words."
        raise WeakPassword(f"this password would be guessed. {advice}")


def _words(related: Iterable[str]) -> list[str]:
    whole = [text[:_ZXCVBN_LENGTH] for text in related]
    return whole + [part for text in whole for part in text.replace("@", ".").split(".") if part]
