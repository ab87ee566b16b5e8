"""SASLprep (RFC 4013): one spelling for user names and passwords typed on different keyboards.

SCRAM asks for it (rfc5802:319) and PLAIN recommends it (rfc4616:166). Built on the standard
library's tables of RFC 3454, which are those of Unicode 3.2 as that RFC demands.
"""

import stringprep
import unicodedata

from mailsrv.errors import InvalidInput

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, stored: bool) -> str:
    """Return the prepared form of ``text``.

    ``stored`` strings (passwords) may not have code points unassigned in Unicode 3.2, queries
    (user names that come in) may. InvalidInput, without the text, when it cannot be prepared.
    """
    if text.isascii():
        prepared = text
    else:
        mapped = "".join(
            " " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c)
        )
        prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    _refuse_prohibited(prepared, stored)
    _check_direction(prepared)
    return prepared


def _refuse_prohibited(text: str, stored: bool) -> None:
    for c in text:
        if any(table(c) for table in _PROHIBITED):
            raise InvalidInput("control and private characters are not allowed here")
        if stored and stringprep.in_table_a1(c):
            raise InvalidInput("a character is too new to be typed the same everywhere")


def _check_direction(text: str) -> None:
    # RFC 3454 section 6: right-to-left text must not mix with left-to-right letters, and must
    # begin and end with a right-to-left character.
    if not any(stringprep.in_table_d1(c) for c in text):
        return
    if any(stringprep.in_table_d2(c) for c in text):
        raise InvalidInput("left-to-right and right-to-left letters must not be mixed")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise InvalidInput("right-to-left text must begin and end with a right-to-left letter")
