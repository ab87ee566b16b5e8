"""Sizes as people write them: 500M, 2GiB, 1.5 GB."""

import re
from typing import Any

import click

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?\s*\Z", re.IGNORECASE)


class Size(click.ParamType[int]):
    """A number of octets, with K, M, G or T as powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.match(value)
        if not match:
            self.fail(f"expected a size such as 500M or 2G, got {value!r}", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].upper()])


def spoken(octets: int | None) -> str:
    """``1.5 GiB``; "no limit" for None."""
    if octets is None:
        return "no limit"
    size, unit = float(octets), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.4g} {unit}"
