"""What was found about the rows of a log: a file for each bucket of users, read stretch by stretch of the log.

A file is cut where `BATCH` rows of the log end, so that the rows of one stretch can be put together from all buckets
again without reading them whole.
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
    with pa.ipc.new_file(file, table.schema, options=_OPTIONS) as sink:
        for first, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
            sink.write_batch(_batch(table.slice(first, end - first)))


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def read_found(file: Path, columns: list[str] | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Yield what was found about a bucket's rows, or some columns of it, stretch by stretch of the log."""
    with pa.OSFile(str(file)) as source:
        reader = pa.ipc.open_file(source)
        if columns is not None:
            places = [reader.schema.get_field_index(name) for name in columns]
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=places))
        for number in range(reader.num_record_batches):
            yield _columns(reader.get_batch(number))


def _columns(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    names = batch.schema.names
    return {name: batch.column(name).to_numpy(zero_copy_only=False) for name in names}


class Found:
    """What was found about the rows of a log, from the files of all buckets."""

    def __init__(self, files: list[Path], missing: dict[str, float]) -> None:
        """Open the files; `missing` is what rows have that are in no bucket, by column."""
        self._files, self._missing = files, missing
        self._stretch: tuple[int, dict[str, np.ndarray]] | None = None

    def rows(self, first: int, end: int) -> dict[str, np.ndarray]:
        """Return the columns of the rows from `first` to before `end`."""
        if first == end:
            return {
                name: column[:0]
                for name, column in self._whole(0 if self._stretch is None else self._stretch[0]).items()
            }
        pieces = []
        while first < end:
            stretch = first // BATCH
            last = min(end, (stretch + 1) * BATCH)
            whole = self._whole(stretch)
            own = slice(first - stretch * BATCH, last - stretch * BATCH)
            pieces.append({name: column[own] for name, column in whole.items()})
            first = last
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self._missing}

    def _whole(self, stretch: int) -> dict[str, np.ndarray]:
        if self._stretch is None or self._stretch[0] != stretch:
            whole: dict[str, np.ndarray] = {}
            for file in self._files:
                with pa.OSFile(str(file)) as source:
                    part = _columns(pa.ipc.open_file(source).get_batch(stretch))
                for name, missing in self._missing.items():
                    if name not in whole:
                        whole[name] = np.full(BATCH, missing, part[name].dtype)
                    whole[name][part["row"] - stretch * BATCH] = part[name]
            self._stretch = stretch, whole
        return self._stretch[1]
