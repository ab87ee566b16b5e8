"""What a client hears that is not served at all."""

from typing import Any

from twisted.internet.protocol import Protocol

from mailsrv.smtp.reply import Reply

TOO_MANY = Reply(421, "4.7.0", ("Too many connections, try again later",))
TOO_OFTEN = Reply(421, "4.7.0", ("Too many connections in a minute, try again later",))
SHUTTING_DOWN = Reply(421, "4.3.2", ("Service is shutting down",))


class Unwelcome(Protocol):
    """Says the reply instead of a greeting, and goodbye (rfc5321:1651)."""

    transport: Any

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def connectionMade(self) -> None:
        self.transport.write(self._reply.wire)
        self.transport.loseConnection()
