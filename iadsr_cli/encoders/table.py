"""Vectors that the user brings: `vectors:FILE.parquet`, looked up by item id."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iadsr_cli.artifacts import file_digest
from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders.contract import unit_rows, unusable
from iadsr_cli.errors import EncoderError

if TYPE_CHECKING:
    import pyarrow as pa

SHAPE = "It should have an item id column (such as item_id) and one list column of numbers, one row per item."


class VectorTable:
    """A parquet file with one vector per item. It knows items, not texts, so it is no `Encoder`."""

    def __init__(self, path: Path, dimension: int | None) -> None:
        """Read and check the file; `dimension` keeps the first so many columns.

        Raises:
            EncoderError: if the file is not what it should be, saying in which row.
        """
        self._path = path
        ids, vectors = _read(path)
        self._vectors = unit_rows(vectors, dimension, str(path))
        self._row = {item: row for row, item in enumerate(ids)}
        self.identity: dict[str, Any] = {
            "kind": "vectors",
            "file": file_digest(path),
            "dimension": dimension,
            "normalised": True,
        }

    def rows(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors, float32 [items, S], and which are known, bool [items]; unknown rows are zeros.

        Raises:
            EncoderError: if the file has none of these items.
        """
        place = np.array([self._row.get(str(item), -1) for item in ids], dtype=np.int64)
        known = place >= 0
        if not known.any():
            theirs, ours = next(iter(self._row), None), next(iter(ids), None)
            raise EncoderError(
                f"{self._path} has vectors for none of the log's {len(ids):,} items.",
                f'Its ids are like "{theirs}", the log\'s like "{ours}". Write ids as the log does.',
            )
        vectors = np.zeros((len(ids), self._vectors.shape[1]), dtype=np.float32)
        vectors[known] = self._vectors[place[known]]
        return vectors, known


def make(rest: str, settings: EncoderSettings, device: str) -> VectorTable:
    """Return the table in the parquet file `rest`."""
    return VectorTable(Path(rest).expanduser(), settings.encoder_dimension)


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the item ids and their vectors [items, S] of all rows that have a vector."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from iadsr_cli.logs.values import plain

    if not path.is_file():
        raise EncoderError(
            f"There is no file {path}.", "Give --encoder vectors:FILE.parquet with a file that is there."
        )
    try:
        schema = pq.read_schema(path)
        id_name, vector_name = _roles(schema, path)
        table = pq.read_table(path, columns=[id_name, vector_name])
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        raise EncoderError(
            f"{path} cannot be read as parquet ({reason}).", "Write it again as a parquet file."
        ) from error

    try:
        raw_ids = plain(table[id_name])  # as a log's ids are read: bytes are text, too
    except pa.ArrowInvalid as error:
        raise EncoderError(f'{path} has an item id in "{id_name}" that is not UTF-8 text.', SHAPE) from error
    lists = table[vector_name].combine_chunks()
    if raw_ids.null_count:
        row = int(np.flatnonzero(raw_ids.is_null().to_numpy(zero_copy_only=False))[0])
        raise EncoderError(
            f'{path} has no item id in row {row + 1} (column "{id_name}").', "Remove the rows without an item id."
        )
    ids = [_id(value) for value in raw_ids.to_pylist()]
    _check_unique(ids, path)

    present = lists.is_valid().to_numpy(zero_copy_only=False)
    lists = lists.drop_null()
    ids = [item for item, there in zip(ids, present, strict=True) if there]
    if not ids:
        raise EncoderError(f'{path} has no vector in column "{vector_name}".', SHAPE)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    if (lengths != lengths[0]).any() or lengths[0] == 0:
        odd = int(np.flatnonzero((lengths != lengths[0]) | (lengths == 0))[0])
        raise EncoderError(
            f'{path}: item "{ids[odd]}" has {lengths[odd]} numbers, item "{ids[0]}" has {lengths[0]}.',
            "Write vectors of one length, of at least one number.",
        )
    values = pc.list_flatten(lists).cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)  # nulls become NaN
    vectors = values.reshape(len(ids), int(lengths[0]))
    if found := unusable(vectors):
        bad, why = found
        raise EncoderError(
            f'{path}: the vector of item "{ids[int(bad.argmax())]}" {why}; {bad.sum():,} like it.',
            "Leave such items out, or make their vector null: they are then not judged by it.",
        )
    return ids, vectors


def _roles(schema: "pa.Schema", path: Path) -> tuple[str, str]:
    """Return the names of the item id column and of the vector column."""
    from pyarrow import types

    from iadsr_cli.logs.schema import candidates

    def is_vector(kind: "pa.DataType") -> bool:
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return is_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))

    columns = ", ".join(f'"{field.name}" ({field.type})' for field in schema)
    vectors = [field.name for field in schema if is_vector(field.type)]
    if len(vectors) != 1:
        found = f"{len(vectors)} list columns of numbers" if vectors else "no list column of numbers"
        raise EncoderError(f"{path} has {found}. Columns: {columns}.", SHAPE)
    items = candidates("item", [field.name for field in schema if field.name not in vectors])
    if len(items) != 1:
        found = "more than one item id column: " + ", ".join(items) if items else "no item id column"
        raise EncoderError(
            f"{path} has {found}. Columns: {columns}.",
            f"{SHAPE} Any name by which a log's item column is found will do.",
        )
    return items[0], vectors[0]


def _id(value: object) -> str:
    """Return an id as a log would spell it: pandas turns whole numbers into floats where one is missing."""
    whole = isinstance(value, float | Decimal) and value == value // 1
    return str(int(value) if whole else value)  # type: ignore[call-overload]


def _check_unique(ids: list[str], path: Path) -> None:
    seen: set[str] = set()
    for row, item in enumerate(ids, 1):
        if item in seen:
            raise EncoderError(f'{path} has item "{item}" twice (again in row {row}).', "Keep one row per item.")
        seen.add(item)
