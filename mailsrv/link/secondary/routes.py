"""Which primary serves an address or an alias, as far as a front end has learned it.

The directory knows; a front end has none. It asks the primary that it knows of, and one that is
not the right one answers with the name of the one that is. What was learned is a hint: it may be
forgotten at any time.
"""

from collections import OrderedDict

KEPT = 10_000


class Routes:
    """Names of primaries by address or alias; the longest unused are forgotten first."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._known: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: str) -> str | None:
        """The primary of an address or an alias, None while nobody said."""
        name = self._known.get(key)
        if name is not None:
            self._known.move_to_end(key)
        return name

    def learn(self, key: str, primary: str) -> None:
        """Remember."""
        self._known[key] = primary
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """What was known turned out to be of no use."""
        self._known.pop(key, None)
