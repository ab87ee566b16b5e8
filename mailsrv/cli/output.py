"""How commands answer: rich text for people, one JSON document for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text


class Output:
    """Where a command's answer goes; ``as_json`` prints the same facts as one JSON document."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)

    def fact(self, document: dict[str, Any], sentence: str) -> None:
        """One result: ``sentence`` for people, in which only ``bold`` and ``plain`` may stand
        for what others chose."""
        if self.as_json:
            click.echo(json.dumps(document))
        else:
            self._console.print(sentence)

    def rows(self, documents: Sequence[dict[str, Any]], columns: Iterable[str], empty: str) -> None:
        """A list of results; ``empty`` is said to people when there are none."""
        if self.as_json:
            click.echo(json.dumps(list(documents)))
        elif not documents:
            self._console.print(empty)
        else:
            columns = list(columns)
            table = Table(box=None)
            for column in columns:
                table.add_column(column.replace("_", " "), overflow="fold")
            for document in documents:
                table.add_row(*(Text(_cell(document[column])) for column in columns))
            self._console.print(table)


def bold(text: str) -> str:
    """Markup that shows ``text`` as it is, in bold."""
    return f"[bold]{escape(text)}[/]"


def plain(text: str) -> str:
    """Markup that shows ``text`` as it is."""
    return escape(text)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)


def fail(message: str, *, as_json: bool) -> None:
    """Say why a command stopped, on standard error."""
    text = json.dumps({"error": message}) if as_json else f"mailsrv: {message}"
    click.echo(text, file=sys.stderr)
