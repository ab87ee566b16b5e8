"""The ``mailsrv`` command: one group, its commands in modules of their own.

Commands open the data directory themselves and work while the server runs: the directory is
a database, and the server notices within a second what changed in it.
"""

import errno
import io
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import click
from click.exceptions import NoArgsIsHelpError

import mailsrv
from mailsrv import settings as settings_
from mailsrv.cli.output import Output, fail
from mailsrv.directory.directory import Directory
from mailsrv.errors import InvalidInput, MailsrvError

CONFIG_VARIABLE = "MAILSRV_CONFIG"


def now() -> datetime:
    return datetime.now(UTC)


@attrs.define
class Context:
    """What every command starts from. The directory is opened when first asked for."""

    config: Path | None
    output: Output
    _settings: settings_.Settings | None = None
    _directory: Directory | None = None

    @property
    def settings(self) -> settings_.Settings:
        if self._settings is None:
            if self.config is None:
                raise click.UsageError(
                    f"expected --config DIR/{settings_.FILE_NAME} or {CONFIG_VARIABLE}"
                )
            self._settings = settings_.load(self.config)
        return self._settings

    @property
    def directory(self) -> Directory:
        if self._directory is None:
            _require_owner(self.settings.base)
            self._directory = Directory(self.settings.directory.url, now)
            self._directory.migrate()
        return self._directory

    @property
    def config_name(self) -> str:
        """Name of the configuration file in the data directory."""
        return self.config.name if self.config else settings_.FILE_NAME

    def close(self) -> None:
        if self._directory is not None:
            self._directory.close()


class Commands(click.Group):
    """A group that turns errors into one line: exit status 1, or 2 for what was typed wrong.

    ``--config`` and ``--json`` may stand before or after the command's name.
    """

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line(ctx, as_json=bool(ctx.params.get("as_json"))):
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ordered = _options_first(args)
        with _one_line(ctx, as_json="--json" in ordered):
            return super().parse_args(ctx, ordered)


@contextmanager
def _one_line(ctx: click.Context, *, as_json: bool) -> Iterator[None]:
    try:
        yield
    except MailsrvError as error:
        said, status = str(error), 1
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        where = (error.ctx or ctx).command_path
        said, status = f"{error.format_message()} ({where} --help tells more)", 2
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads any more
            raise
        said, status = f"{error.filename or 'system'}: {error.strerror}", 1
    else:
        return
    fail(said, as_json=as_json)
    ctx.exit(status)


def _require_owner(base: Path) -> None:
    """What somebody else makes in the data directory, the server could not open."""
    owner = base.stat().st_uid
    if owner != os.geteuid():
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise InvalidInput(f"{base} belongs to {name}: run this as that user (sudo -u {name} ...)")


def _options_first(args: list[str]) -> list[str]:
    """Move the common options to the front, where the group looks for them."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(args)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument == "--json" or argument.startswith("--config="):
            front.append(argument)
        elif argument == "--config":
            front += [argument, *(value for value in (next(remaining, None),) if value is not None)]
        else:
            rest.append(argument)
    return front + rest


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    help=f"The configuration file; {CONFIG_VARIABLE} names it too.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
@click.version_option(mailsrv.__version__, prog_name="mailsrv")
@click.pass_context
def main(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """A mail server whose every mailbox is an encrypted SQLite file."""
    os.umask(0o077)
    if not sys.stdin:  # closed by who runs this: then there is nobody to ask
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    context = Context(config, Output(as_json))
    ctx.obj = context
    ctx.call_on_close(context.close)
