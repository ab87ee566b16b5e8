"""An S3 service on loopback: moto in a process of its own, one for all tests of a process.

moto keeps buckets as Amazon does and believes whoever asks; what a strict store checks besides is
in ``strict_service``.
"""

import atexit
import itertools
import subprocess
import sys
from functools import cache, cached_property
from typing import Any

import boto3
from botocore.config import Config

from tests.children import die_with_parent, environment

SMALL_PART = 64 * 1024
"""Octets of a part, where Amazon would want five million."""

_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_numbers = itertools.count(1)


class Service:
    """Runs until the tests end."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                name: value
                for name, value in environment(S3_UPLOAD_PART_MIN_SIZE=str(SMALL_PART)).items()
                if not name.startswith("AWS_")
            },
            preexec_fn=die_with_parent(),
        )
        self.port = int(self.process.stdout.readline())
        atexit.register(self.stop)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    @cached_property
    def client(self) -> Any:
        """For looking at what is there, past all that the tests put between."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self) -> str:
        name = f"bucket-{next(_numbers)}"
        self.client.create_bucket(Bucket=name)
        return name


@cache
def service() -> Service:
    """Started at the first call."""
    return Service()
