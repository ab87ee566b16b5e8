"""The seam between who counts and where the counts are kept."""

# zope interfaces declare methods without self
# ruff: noqa: N805

from twisted.internet.defer import Deferred
from zope.interface import Interface


class ICounters(Interface):
    """Numbers that are forgotten after a while. Answers come in half a second and never fail.

    A key is any text, of any length; nobody keeps it as it is.
    """

    def add(key: str, amount: int, seconds: int, renew: bool = False) -> Deferred[int]:
        """Add to a counter, and answer with what it is now.

        It is forgotten ``seconds`` after it began, or after its last addition if ``renew``.
        """

    def read(key: str) -> Deferred[int]:
        """What the counter is now, 0 when there is none."""

    def clear(key: str) -> Deferred[None]:
        """Forget the counter."""

    def close() -> Deferred[None]:
        """Let go of connections; what is counted afterwards is counted in the process."""
