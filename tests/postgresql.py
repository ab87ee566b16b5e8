"""A PostgreSQL for tests: Debian's package, a private socket in a temporary directory, no TCP.

``server()`` starts one for the whole test process at the first call, and it ends with the process.
Tests skip with the words of ``missing()`` where the package is not installed.
"""

import atexit
import getpass
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import psycopg

from tests.children import die_with_parent

_ACCOUNT = "postgres"
_START_SECONDS = 30.0


def _programs() -> Path | None:
    """The newest installed version's directory of programs."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    return found[-1].parent if found else None


def missing() -> str | None:
    """Say why no server can be started here, or None when one can."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_ACCOUNT)
        except KeyError:
            return "no account 'postgres', and PostgreSQL refuses to run as root"
    return None


class Server:
    """A running server. ``create()`` gives the URL of a new, empty database."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # the path of a socket has at most 107 octets, too few for trial's directories
        self._folder = Path(tempfile.mkdtemp(prefix="mailsrv-postgresql-"))
        self._identity: dict[str, int | list[int]] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._identity = {
                "user": account.pw_uid,
                "group": account.pw_gid,
                "extra_groups": [],
            }
        self._role = _ACCOUNT if self._identity else getpass.getuser()
        self._numbers = itertools.count(1)
        self._initialise()
        self._process = self._start()
        self._wait()

    def create(self) -> str:
        """Create a database; return its URL for SQLAlchemy."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://{self._role}@/{name}?host={self._folder}"

    def drop(self, url: str) -> None:
        """Drop a database of ``create``, whoever is still connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def stop(self) -> None:
        """End the server and remove its files. May be called twice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initialise(self) -> None:
        subprocess.run(
            [
                self._programs / "initdb",
                *("--pgdata", self._folder / "data", "--username", self._role),
                *("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            **self._identity,  # type: ignore[call-overload]
        )

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self._folder / "log").open("wb") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._folder / "data", "-k", self._folder),
                    *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=die_with_parent(signal.SIGQUIT),
                **self._identity,  # type: ignore[call-overload]
            )
        return process

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self._dsn("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = (self._folder / "log").read_text()
                    self.stop()
                    raise RuntimeError(f"PostgreSQL did not start: {text}") from None
                time.sleep(0.05)
            else:
                return

    def _dsn(self, database: str) -> str:
        return f"host={self._folder} user={self._role} dbname={database}"


@cache
def server() -> Server:
    """Return the one server of this process, started at the first call."""
    programs = _programs()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    started = Server(programs)
    atexit.register(started.stop)
    return started
