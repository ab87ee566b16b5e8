"""``mailsrv serve``: the service in the foreground, as ``twistd`` runs it."""

import sys

import click
from twisted.scripts import twistd

from mailsrv.cli.main import Context, main


@main.command()
@click.pass_obj
def serve(context: Context) -> None:
    """Serve in the foreground: the same as twistd -n mailsrv --config FILE."""
    settings = context.settings
    context.close()
    config = settings.base / context.config_name
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "mailsrv", "--config", str(config)]
    twistd.run()  # type: ignore[no-untyped-call]
