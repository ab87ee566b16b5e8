"""Objects of any size pass through bounded memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.objects.folder import FolderStore
from mailsrv.backup.objects.s3 import S3Store
from mailsrv.settings import BucketPlace
from tests.backup.moto_service import service
from tests.faults.common import SOAK

MIB = 1024 * 1024
OCTETS = (200 if SOAK else 40) * MIB
MOST = 8 * MIB
"""Octets; a part has 16 MiB."""


class MemoryTests(SynchronousTestCase):
    def passes(self, make: Callable[[Path], Any]) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        source, target = folder / "source", folder / "got"
        piece = bytes(range(256)) * 4096
        with source.open("wb") as file:
            for _ in range(OCTETS // len(piece)):
                file.write(piece)
        store = make(folder)
        store.write("warm", b"")
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        store.put("a", source)
        store.get("a", target)
        peak = tracemalloc.get_traced_memory()[1]
        self.assertLess(peak, MOST)
        self.assertEqual(target.stat().st_size, OCTETS)
        store.remove(["a"])

    def test_folder(self) -> None:
        self.passes(lambda folder: FolderStore(folder / "backups"))

    def test_bucket(self) -> None:
        # not through the strict checks: these hold each request whole, in this process
        place = BucketPlace(
            bucket=service().new_bucket(),
            access_key_id="x",
            endpoint=f"http://127.0.0.1:{service().port}",
        )
        self.passes(lambda _: S3Store(place, "x"))
