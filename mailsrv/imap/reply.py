"""How a command ends, other than well: exceptions that become tagged answers.

The text goes to the client as it is, so it never contains what the client sent.
"""

import attrs


@attrs.frozen
class Done:
    """Tagged OK. ``code`` is a response code without brackets (rfc9051, 7.1)."""

    text: str
    code: str | None = None


class No(Exception):
    """Tagged NO: the command is understood and was not done."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Bad(Exception):
    """Tagged BAD: wrong syntax, or a command that this state does not have."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Bye(Exception):
    """The session ends: an untagged BYE, then the tagged answer if there is one, then close."""

    def __init__(
        self, text: str, code: str | None = None, done: "Done | No | Bad | None" = None
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.done = done


def status(tag: str, kind: str, text: str, code: str | None = None) -> bytes:
    """One status response line, tagged or with ``*``."""
    inside = f"[{code}] " if code else ""
    return f"{tag} {kind} {inside}{text}\r\n".encode("ascii", "replace")
