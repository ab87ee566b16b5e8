"""Starts to be refused, each in a process of its own, without the second that imports take.

``python -m tests.refusing`` has imported the server and forks for each line of words on its
standard input, as ``mailsrv WORDS``; it answers with a line of exit status and output as JSON.
"""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.children import environment

PATIENCE = 30
"""Seconds that a start may take; then SIGALRM ends it."""


class Starter:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.refusing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=Path(__file__).parents[1],
        )

    def run(self, *words: str) -> tuple[int, str]:
        """As ``started``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        status, said = json.loads(self._process.stdout.readline())
        return status, said

    def stop(self) -> None:
        """End it."""
        self._process.communicate()


@functools.cache
def _starter() -> Starter:
    starter = Starter()
    atexit.register(starter.stop)
    return starter


def started(*words: str) -> tuple[int, str]:
    """Exit status of ``mailsrv WORDS`` (negative: a signal) and what it said.

    One process forks for all tests that run in this one.
    """
    return _starter().run(*words)


def _run(words: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            signal.alarm(PATIENCE)
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            sys.argv = ["mailsrv", *words]
            from mailsrv.cli.commands import main

            main(prog_name="mailsrv")
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode()


def _serve() -> None:
    # what a start needs; the reactor is not running, and only the children use it
    import twisted.internet.reactor
    import twisted.scripts.twistd  # noqa: F401

    import mailsrv.cli.commands
    import mailsrv.service.build  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
