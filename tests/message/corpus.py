"""The mail corpus beside the checkout, and messages to build tests of."""

from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
MISSING = (
    None if (CORPUS / "MANIFEST.tsv").is_file() else "the mail corpus is not beside the project"
)


def corpus_messages() -> Iterator[tuple[str, bytes]]:
    """``(name, octets)`` of every file that the manifest lists."""
    lines = (CORPUS / "MANIFEST.tsv").read_text("utf-8").splitlines()
    for line in lines[1:]:
        name = line.split("\t", 1)[0]
        yield name, (CORPUS / name).read_bytes()


def crlf(text: str) -> bytes:
    """A message written in a test with LF, as it goes over the wire."""
    return text.replace("\n", "\r\n").encode("latin-1")
