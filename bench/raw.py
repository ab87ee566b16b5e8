"""The same rows by plain apsw, without a server: what SQLite and its cipher alone would allow."""

import time
from collections.abc import Callable
from pathlib import Path

import apsw

from mailsrv.keys.filekey import derive_file_key

FLAGS = "SELECT uid, flags, keywords FROM message WHERE folder_id = ?"
STRUCTURES = """
    SELECT uid, message.size, envelope, bodystructure FROM message
    JOIN content ON content.id = content_id WHERE folder_id = ?"""


def open_mailbox(path: Path, password: str) -> apsw.Connection:
    with path.open("rb") as file:
        key = derive_file_key(password, file.read(16))
    connection = apsw.Connection(str(path))
    connection.pragma("cipher", "chacha20")
    connection.pragma("key", key.pragma())
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    return connection


def timed(run: Callable[[], object], repeat: int = 3) -> float:
    """Seconds of the fastest of ``repeat`` runs."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best
