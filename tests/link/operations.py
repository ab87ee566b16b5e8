"""Operations and notes for the tests of the link itself."""

import os
from typing import Any, ClassVar

from mailsrv.link.wire.frames import NoteBody, Operation

TIMES = 50 if os.environ.get("MAILSRV_SOAK") else 1
"""How many times as long the fuzzing goes on as usual."""


class Echo(Operation, frozen=True):
    """Answers with what was sent."""

    name: ClassVar[str] = "echo"
    answer: ClassVar[Any] = str
    text: str


class Carry(Operation, frozen=True):
    """Answers with as many octets as asked for."""

    name: ClassVar[str] = "carry"
    answer: ClassVar[Any] = bytes
    carries: ClassVar[bool] = True
    data: bytes = b""
    size: int = 0

    @property
    def weight(self) -> int:
        return self.size


class News(NoteBody, frozen=True):
    name: ClassVar[str] = "news"
    number: int


ACCEPTS: dict[str, type[Operation]] = {one.name: one for one in (Echo, Carry)}
NOTES: dict[str, type[NoteBody]] = {News.name: News}
