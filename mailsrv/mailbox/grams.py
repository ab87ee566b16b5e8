"""Cut text into the short pieces by which FTS5 finds candidates for a substring.

IMAP SEARCH means substrings (rfc9051:3842), so words are no help. Two kinds of gram share the
work, because no single one is both small and fine enough for every script:

* *trigrams* of alphabetic text, cut by FTS5's own tokenizer, which is fast and needs at least
  three characters;
* *pairs* of neighbouring characters in scripts that write a word in one or two characters (Han,
  Hangul, Kana, Thai and others without blanks, also emoji). A trigram index of these would be
  large, since nearly every trigram of them is rare, and would miss the usual two-character word.

Each run of text belongs to exactly one kind. Grams only find candidates: a document that holds
the text always has all its grams, not the reverse.
"""

import re
from typing import NamedTuple

_PAIR_SCRIPTS = (
    "\u0e00-\u109f"  # Thai, Lao, Tibetan, Myanmar
    "\u1100-\u11ff"  # Hangul Jamo
    "\u1200-\u139f"  # Ethiopic
    "\u1780-\u17ff"  # Khmer
    "\u2600-\u27bf"  # symbols, dingbats
    "\u2e80-\u9fff"  # radicals, Kana, Bopomofo, Han
    "\ua000-\ua4cf"  # Yi
    "\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\uf900-\ufaff"  # Han compatibility
    "\U0001b000-\U0001b16f"  # old Kana
    "\U0001f000-\U0001faff"  # emoji
    "\U00020000-\U0003ffff"  # Han extensions
)
_PAIR_RUN = re.compile(f"[{_PAIR_SCRIPTS}]+")
_PAIR = re.compile(f"(?=([{_PAIR_SCRIPTS}]{{1,2}}))[{_PAIR_SCRIPTS}]")
_ALPHABETIC_RUN = re.compile(f"[^\0{_PAIR_SCRIPTS}]{{3,}}")
_ONE_GRAM = re.compile(f"[^\0 {_PAIR_SCRIPTS}]{{3}}")

MAX_GRAMS = 24
"""Grams looked up for one text: more of them cost more than the few candidates they save."""


class Match(NamedTuple):
    """FTS5 expressions whose common rows are the candidates; None where a kind has no part."""

    trigrams: str | None
    pairs: str | None


def clean(text: str) -> str:
    """Text that SQLite can hold: a surrogate without its partner becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def alphabetic(text: str) -> str:
    """What the trigram tokenizer is to see: ``text`` without its pair scripts.

    The tokenizer stops at NUL, so none may be left.
    """
    if text.isascii():
        return text.replace("\0", " ")
    return _PAIR_RUN.sub(" ", text).replace("\0", " ")


def pairs(text: str) -> str:
    """The pairs of ``text``, each once, with blanks between.

    The last character of a run stands alone, so that every character begins some entry: one
    character is found by prefix.
    """
    if text.isascii():
        return ""
    return " ".join(set(_PAIR.findall(text)))


def match(needle: str) -> Match:
    """How to look for ``needle``, folded and clean. Both None: the grams cannot help."""
    trigram_list = _thin(
        [run[i : i + 3] for run in _ALPHABETIC_RUN.findall(needle) for i in range(len(run) - 2)]
    )
    runs = _PAIR_RUN.findall(needle)
    pair_list = _thin([run[i : i + 2] for run in runs for i in range(len(run) - 1)])
    prefix = f"{_quote(runs[0])} *" if runs and not trigram_list and not pair_list else None
    return Match(_conjunction(trigram_list), _conjunction(pair_list) or prefix)


def is_exact(needle: str) -> bool:
    """Whether every row that ``match`` names holds the needle: it is one gram, whole.

    Not one with a blank, which may stand for a run of pair scripts.
    """
    if _PAIR_RUN.fullmatch(needle):
        return len(needle) <= 2
    return bool(_ONE_GRAM.fullmatch(needle))


def _thin(grams: list[str]) -> list[str]:
    """At most MAX_GRAMS of them, evenly spread."""
    unique = list(dict.fromkeys(grams))
    if len(unique) <= MAX_GRAMS:
        return unique
    return [unique[i * len(unique) // MAX_GRAMS] for i in range(MAX_GRAMS)]


def _quote(gram: str) -> str:
    """An FTS5 string: nothing in it is an operator."""
    return '"' + gram.replace('"', '""') + '"'


def _conjunction(grams: list[str]) -> str | None:
    return " AND ".join(map(_quote, grams)) if grams else None
