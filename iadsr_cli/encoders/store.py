"""Vectors that were computed before: one SQLite file for each encoder identity."""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from iadsr_cli.artifacts import digest
from iadsr_cli.locks import one_at_a_time
from iadsr_cli.progress import Reporter

BUSY_SECONDS = 30.0
ASK_AT_ONCE = 500  # SQLite allowed 999 variables in a statement for most of its life

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (text_hash TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
"""


class VectorStore:
    """Text hash -> vector (little-endian float32, CRC-32) for one encoder identity; a context manager.

    A cache never stops a run: what cannot be read is computed again, what cannot be written is not kept, and
    both are said once. Several processes may share it.
    """

    def __init__(self, cache_dir: Path, identity: dict[str, Any], reporter: Reporter) -> None:
        """Choose the file for `identity`; nothing is opened before the `with`."""
        self.path = cache_dir / "vectors" / f"{digest(identity)[:24]}.sqlite"
        self._cache = cache_dir
        self._identity = json.dumps(identity, sort_keys=True)
        self._reporter = reporter
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "VectorStore":
        """Open the file, making it where it is missing and again where it is damaged."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._rebuild(error)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; every finished batch is already in it."""
        self._close()

    def alone(self) -> AbstractContextManager[None]:
        """Return a context in which no other process computes vectors for this file."""
        return one_at_a_time(self._cache, f"vectors-{self.path.stem}", "vectors with this encoder", self._reporter)

    def get(self, hashes: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors, float32 [S], of those `hashes` that are stored whole."""
        if self._connection is None:
            return {}
        try:
            return self._read(self._connection, hashes)
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError as error:
            try:
                self._rebuild(error)
            except (OSError, sqlite3.Error) as again:
                self._give_up(again)
        return {}

    def put(self, hashes: Sequence[str], vectors: np.ndarray) -> None:
        """Keep `vectors`, float32 [n, S], under `hashes`, all of them or none."""
        if self._connection is None:
            return
        try:
            self._write(self._connection, hashes, vectors)
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError as error:
            try:
                self._write(self._rebuild(error), hashes, vectors)
            except (OSError, sqlite3.Error) as again:
                self._give_up(again)

    def _write(self, connection: sqlite3.Connection, hashes: Sequence[str], vectors: np.ndarray) -> None:
        rows = [(key, _packed(key, row)) for key, row in zip(hashes, vectors, strict=True)]
        with connection as transaction:
            transaction.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        connection = self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS)
        # A lost power supply may cost the last batches, which is cheaper than waiting for the disk at each
        # one.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(SCHEMA)
        row = connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        if row is None:
            with connection as transaction:
                transaction.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (self._identity,))
        elif row[0] != self._identity:
            raise sqlite3.DatabaseError("it belongs to another encoder")
        return connection

    def _read(self, connection: sqlite3.Connection, hashes: Sequence[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        damaged: list[tuple[str]] = []
        for start in range(0, len(hashes), ASK_AT_ONCE):
            part = hashes[start : start + ASK_AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT text_hash, vector FROM vectors WHERE text_hash IN ({marks})"
            for key, blob in connection.execute(query, part):
                vector = _unpacked(key, blob)
                if vector is None:
                    damaged.append((key,))
                else:
                    found[key] = vector
        if damaged:
            self._reporter.warn(f"{len(damaged):,} vectors in {self.path} are damaged; they are computed again.")
            with connection as transaction:
                transaction.executemany("DELETE FROM vectors WHERE text_hash = ?", damaged)
        return found

    def _rebuild(self, error: Exception) -> sqlite3.Connection:
        self._reporter.warn(f"The vector cache {self.path} is damaged ({error}); it is built again.")
        self._close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
        return self._open()

    def _give_up(self, error: Exception) -> None:
        self._reporter.warn(f"Vectors cannot be kept in {self.path} ({error}); the next run computes them again.")
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _packed(key: str, vector: np.ndarray) -> bytes:
    """Return a vector's bytes and a CRC-32 of them and its key: SQLite itself does not notice a flipped bit."""
    content = vector.astype("<f4").tobytes()
    return content + _check(key, content)


def _unpacked(key: str, blob: object) -> np.ndarray | None:
    """Return the vector that was packed, float32 [S], or None if something has changed."""
    if not isinstance(blob, bytes) or len(blob) <= 4 or len(blob) % 4 or _check(key, blob[:-4]) != blob[-4:]:
        return None
    return np.frombuffer(blob[:-4], dtype="<f4")


def _check(key: str, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(key.encode())).to_bytes(4, "little")
