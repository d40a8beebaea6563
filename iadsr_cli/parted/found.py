"""What was found about the rows of a log: a file for each bucket of users, read stretch by stretch of the log.

A file is cut where `BATCH` rows of the log end, so that the rows of one stretch can be put together from all buckets
again without reading them whole. It is a stream, which is read from the start on: the table of contents of a file
would grow with the log, and be read again for every stretch.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from iadsr_cli.logs.parts import BATCH

FOUND = "found.arrow"
"""The name of such a file."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def write_found(file: Path, columns: dict[str, np.ndarray], rows: int) -> None:
    """Write what was found about the rows of a bucket.

    Args:
        file: to write.
        columns: arrays of one length; "row" among them, ascending.
        rows: of the whole log.
    """
    table = pa.table(columns)
    ends = np.searchsorted(columns["row"], np.arange(BATCH, rows + BATCH, BATCH))
    with pa.ipc.new_stream(file, table.schema, options=_OPTIONS) as sink:
        for first, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
            sink.write_batch(_batch(table.slice(first, end - first)))


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def read_found(file: Path, columns: list[str] | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Yield what was found about a bucket's rows, or some columns of it, stretch by stretch of the log."""
    with pa.OSFile(str(file)) as source:
        fields = None
        if columns is not None:
            names = pa.ipc.read_schema(source).names
            fields = [names.index(name) for name in columns]
            source.seek(0)
        for batch in pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(included_fields=fields)):
            yield {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}


class Found:
    """What was found about the rows of a log, asked for in order, from the files of all buckets, which stay open."""

    def __init__(self, files: list[Path], missing: dict[str, float]) -> None:
        """Open the files; `missing` is what rows have that are in no bucket, by column."""
        self._missing = missing
        self._stretches = enumerate(zip(*map(read_found, files), strict=True))
        self._number, self._whole = self._next()

    def rows(self, first: int, end: int) -> dict[str, np.ndarray]:
        """Return the columns of the rows from `first` to before `end`, none of them before those of the last call."""
        pieces = [{name: column[:0] for name, column in self._whole.items()}]
        while first < end:
            while self._number < first // BATCH:
                self._number, self._whole = self._next()
            before = self._number * BATCH
            last = min(end, before + BATCH)
            pieces.append({name: column[first - before : last - before] for name, column in self._whole.items()})
            first = last
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self._missing}

    def _next(self) -> tuple[int, dict[str, np.ndarray]]:
        """Return the number of the next stretch and its columns."""
        number, parts = next(self._stretches)
        whole: dict[str, np.ndarray] = {}
        for part in parts:
            for name, missing in self._missing.items():
                if name not in whole:
                    whole[name] = np.full(BATCH, missing, part[name].dtype)
                whole[name][part["row"] - number * BATCH] = part[name]
        return number, whole
