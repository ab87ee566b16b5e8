"""``mailsrv demo``: a server to try, with addresses and passwords, on loopback only.

The passwords are kept in ``demo.json`` of the demo's data directory, so that it can be started
again: its mailboxes are encrypted like any other, and protect nothing.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click

from mailsrv.cli.init import STANDARD_PORTS, prepare
from mailsrv.cli.main import Context, main, now
from mailsrv.directory.directory import Directory
from mailsrv.errors import Unavailable
from mailsrv.settings import FILE_NAME, Settings, load
from mailsrv.store.lifecycle import Lifecycle
from mailsrv.store.volume import Volume

PORT_BASE = 20000
DOMAIN = "example.com"
ADDRESSES = ("hello@example.com", "world@example.com")
STARTUP_SECONDS = 60.0


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--port-base", type=int, default=PORT_BASE, show_default=True)
@click.pass_obj
def demo(context: Context, folder: Path, port_base: int) -> None:
    """Prepare a demo in FOLDER, serve it on loopback, say what to type next."""
    folder = folder.resolve()
    if (folder / FILE_NAME).exists():
        settings = load(folder / FILE_NAME)
    else:
        settings = prepare(folder, None, port_base)
    passwords = _passwords(settings, folder / "demo.json")
    context.close()
    port_base = int(settings.mx.listen[0].split(":")[1]) - STANDARD_PORTS["smtp"]
    _serve(folder / FILE_NAME, port_base, passwords)


def _passwords(settings: Settings, file: Path) -> dict[str, str]:
    if file.exists():
        known: dict[str, str] = json.loads(file.read_text("utf-8"))
        return known
    directory = Directory(settings.directory.url, now)
    try:
        directory.migrate()
        volume = Volume(settings.base, settings.store.mailboxes)
        primary = settings.link.name
        lifecycle = Lifecycle(directory, volume, now, primary)
        if DOMAIN not in {domain.name for domain in directory.domains()}:
            directory.add_domain(DOMAIN)
        present = {alias.address for alias in directory.aliases()}
        for address in ADDRESSES:
            if address not in present:
                directory.add_alias(address, primary=primary)
        made = {address: lifecycle.start_over(address) for address in ADDRESSES}
    finally:
        directory.close()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        json.dump(made, written)
    return made


def _serve(config: Path, port_base: int, passwords: dict[str, str]) -> None:
    """Run the server as a child, so that the last thing printed is what to type next."""
    _require_free(port_base)
    command = [sys.executable, "-m", "mailsrv.cli", "serve", "--config", str(config)]
    # in a process group of its own: Ctrl-C reaches it through us alone, and so once
    child = subprocess.Popen(command, process_group=0)  # noqa: S603 - our own program
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for standard in STANDARD_PORTS.values():
        _wait_for(child, port_base + standard)
    click.echo(_next_steps(config, port_base, passwords))
    status = child.wait()
    raise SystemExit(0 if stopped else status or 1)


def _require_free(port_base: int) -> None:
    """Somebody else's server on one of our ports must not be told our passwords."""
    for standard in STANDARD_PORTS.values():
        port = port_base + standard
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise Unavailable(f"port {port} is taken: stop the other server first")


def _wait_for(child: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SystemExit(child.returncode or 1)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    child.terminate()
    raise Unavailable(f"the server did not listen on port {port} within {STARTUP_SECONDS:.0f} s")


def _next_steps(config: Path, port_base: int, passwords: dict[str, str]) -> str:
    ports = {name: port_base + port for name, port in STANDARD_PORTS.items()}
    address, password = next(iter(passwords.items()))
    people = "\n".join(f"  {name}  password  {secret}" for name, secret in passwords.items())
    return f"""
mailsrv serves on 127.0.0.1
ports: {ports["smtp"]} (SMTP), {ports["imap"]} (IMAP), {ports["imaps"]} (IMAP over TLS)
certificate authority: {config.parent / "tls" / "ca.pem"}

{people}

Send a message:
  python3 -c "import smtplib; smtplib.SMTP('127.0.0.1', {ports["smtp"]}).sendmail(\
'you@example.org', '{address}', 'Subject: Hello\\n\\nIt works.')"

Read it:
  python3 -c "import imaplib; m = imaplib.IMAP4('127.0.0.1', {ports["imap"]}); \
m.login('{address}', '{password}'); m.select(); \
print(m.fetch('*', 'BODY[]')[1][0][1].decode())"

Ctrl-C stops the server.
"""
