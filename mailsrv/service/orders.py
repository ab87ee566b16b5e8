"""What the main process tells a worker, and what the worker tells back.

The order goes through the worker's standard input, one line of JSON, and so neither through its
arguments nor its environment: the configuration may name passwords. That pipe then stays open:
when it closes, the main process is gone, and so goes the worker.
"""

from pathlib import Path
from typing import Any

import msgspec

from mailsrv.settings import Settings

ORDERS = 0
"""Descriptor of a worker from which it reads its order."""

REPORTS = 3
"""Descriptor of a worker to which it writes a report a second, a line of JSON each."""

FIRST_DOOR = 4
"""Descriptor of the first listening socket; the others follow in the order of ``doors``."""

REPORT_SECONDS = 1.0


class Order(msgspec.Struct, frozen=True):
    """Everything that a worker needs to know."""

    number: int
    settings: Settings


class Report(msgspec.Struct, frozen=True):
    """How a worker is: ready when nothing is missing."""

    missing: list[str]


def encode_order(order: Order) -> bytes:
    """One line."""
    return msgspec.json.encode(order, enc_hook=str) + b"\n"


def decode_order(line: bytes) -> Order:
    """The reverse."""
    return msgspec.json.decode(line, type=Order, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError
