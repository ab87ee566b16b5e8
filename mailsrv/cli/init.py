"""``mailsrv init``: a data directory: configuration, certificate and tokens to begin with."""

import os
import socket
from pathlib import Path

import click

from mailsrv.cli.main import Context, main, now
from mailsrv.cli.output import bold, plain
from mailsrv.directory.directory import Directory
from mailsrv.errors import AlreadyExists, InvalidInput
from mailsrv.link.transport.tokens import make_tokens
from mailsrv.settings import FILE_NAME, Settings, is_hostname, load
from mailsrv.tls import make_self_signed

STANDARD_PORTS = {"imap": 143, "imaps": 993, "smtp": 25}
LOOPBACK = ("127.0.0.0/8", "::1/128")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--hostname", help="The name that MX records point to. Default: this machine's.")
@click.option(
    "--port-base", type=int, help="Listen on 127.0.0.1, at this plus each standard port: to try it."
)
@click.pass_obj
def init(context: Context, folder: Path, hostname: str | None, port_base: int | None) -> None:
    """Make FOLDER a data directory: configuration, certificate, tokens, directory."""
    settings = prepare(folder, hostname, port_base)
    config = settings.base / FILE_NAME
    context.output.fact(
        {"config": str(config), "hostname": settings.hostname},
        f"Made {bold(str(config))}. Next:\n\n"
        f"  export MAILSRV_CONFIG={plain(str(config))}\n"
        "  mailsrv domain add example.com\n  mailsrv alias add hello@example.com\n"
        "  mailsrv password hello@example.com\n  mailsrv serve\n",
    )


def prepare(folder: Path, hostname: str | None, port_base: int | None) -> Settings:
    """Make ``folder`` a data directory. AlreadyExists when it is one."""
    if port_base is not None and not 1 <= port_base <= 65535 - max(STANDARD_PORTS.values()):
        raise InvalidInput(f"--port-base: expected 1 to {65535 - 993}, got {port_base}")
    path = folder / FILE_NAME
    if path.exists():
        raise AlreadyExists(f"{path} is already there")
    local = port_base is not None
    name = hostname or ("localhost" if local else socket.getfqdn())
    if not is_hostname(name):
        raise InvalidInput(
            f"--hostname: expected a host name such as mail.example.com, got {name!r}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "mailboxes").mkdir(mode=0o700, exist_ok=True)
    if not (folder / "tls" / "key.pem").exists():
        make_self_signed(folder / "tls", name, now())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_configuration(name, port_base))
    settings = load(path)
    make_tokens(settings.link.token_file)
    directory = Directory(settings.directory.url, now)
    try:
        directory.migrate()
    finally:
        directory.close()
    return settings


def _configuration(hostname: str, port_base: int | None) -> str:
    def listen(service: str) -> str:
        port = STANDARD_PORTS[service] + (port_base or 0)
        return f'["tcp:{port}:interface=127.0.0.1"]' if port_base else f'["tcp:{port}"]'

    trusted = ", ".join(f'"{network}"' for network in LOOPBACK) if port_base else ""
    return f"""\
# mailsrv. Keys that are not here have their defaults: see conf/mailsrv.toml of the source.
hostname = "{hostname}"

[tls]
certificate = "tls/cert.pem"
private_key = "tls/key.pem"

[imap]
listen = {listen("imap")}
listen_tls = {listen("imaps")}
# Networks whose clients may log in without TLS.
cleartext_login_from = [{trusted}]

[mx]
listen = {listen("smtp")}
"""
