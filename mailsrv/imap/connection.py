"""The seam between a session and the transport it speaks through."""

from typing import Protocol

from mailsrv.imap.addresses import Addresses
from mailsrv.imap.output import Output


class Connection(Protocol):
    """What a session asks of the transport's side."""

    host: str
    output: Output
    login_failures: int

    @property
    def addresses(self) -> Addresses:
        """What the client's address has done elsewhere."""

    @property
    def secure(self) -> bool:
        """Whether TLS protects the connection."""

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS would work now."""

    def start_tls(self) -> None:
        """Begin TLS; a new session takes over."""

    def admitted(self) -> None:
        """The client has logged in: the longer timeouts apply."""

    def relieved(self) -> None:
        """Reading may go on."""

    def hang_up(self) -> None:
        """Send what is left and close."""

    def cut(self) -> None:
        """Close without waiting for anything."""
