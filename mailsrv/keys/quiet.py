"""Values that carry secrets and keep them out of reprs, logs and pretty printers."""

from typing import Any, ClassVar

import msgspec


class Quiet(msgspec.Struct, frozen=True):
    """A frozen value whose repr shows the fields named in ``shown`` and no others."""

    shown: ClassVar[tuple[str, ...]] = ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.shown]

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"<{type(self).__name__} {inner}>" if inner else f"<{type(self).__name__}>"

    __str__ = __repr__
