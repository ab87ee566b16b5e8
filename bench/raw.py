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

BODIES = """
    SELECT header, skeleton FROM body JOIN message USING (content_id) WHERE folder_id = ?"""
CHUNKS = "SELECT data FROM part_chunk"


def insert_rate(folder: Path, messages: list[bytes]) -> float:
    """Messages per second into one encrypted table, each on disk before the next."""
    connection = apsw.Connection(str(folder / "plain.sqlite"))
    connection.pragma("cipher", "chacha20")
    connection.pragma("key", "a passphrase")
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, content BLOB)")
    begin = time.perf_counter()
    for message in messages:
        connection.execute("INSERT INTO message(content) VALUES (?)", (message,))
    seconds = time.perf_counter() - begin
    connection.close()
    return len(messages) / seconds


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
