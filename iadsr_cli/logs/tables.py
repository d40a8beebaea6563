"""The rows of a Parquet file: a table, with its own types."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iadsr_cli.errors import InputError, first_line
from iadsr_cli.logs.formats import Format
from iadsr_cli.logs.joint import joint_schema
from iadsr_cli.logs.records import Records, check_names


@dataclass(frozen=True, eq=False)
class TableRecords(Records):
    """Rows of a Parquet file, with its own types and schema metadata.

    `codecs` are the compressions of its leaf columns, none if it has no row group; `edges` are the numbers of its row
    groups' first rows, and last that of all rows.
    """

    table: pa.Table
    codecs: tuple[str, ...]
    edges: tuple[int, ...]

    @classmethod
    def read(cls, name: str, content: bytes) -> "TableRecords":
        """Read a Parquet file's bytes.

        Raises:
            InputError: it is not whole, not Parquet, or has two columns of one name.
        """
        try:
            # Not read_table: that would make columns out of folder names such as "day=1/".
            file = pq.ParquetFile(pa.BufferReader(content))
            table = _whole(file)
            check_names(file.schema_arrow.names, name)  # which need not be text
            in_micros = micros_file(pa.BufferReader(content))
            wide = wide_times(file, in_micros)
            if wide:
                table = replaced(table, _whole(in_micros, wide), wide)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise unreadable(name, error) from error
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        edges = tuple(accumulate((group.num_rows for group in groups), initial=0))
        return cls(name, Format("parquet"), table, codecs_of(file.metadata), edges)

    @property
    def column_names(self) -> list[str]:
        """The columns, in the file's order."""
        return list(self.table.column_names)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    @property
    def schema(self) -> pa.Schema:
        """The columns' types, and the file's own metadata."""
        return self.table.schema

    @classmethod
    def joint_schema(cls, files: Sequence[Records]) -> pa.Schema:
        """Return the types of the columns of several files together (`joint.joint_schema`)."""
        return joint_schema([file for file in files if isinstance(file, cls)])

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows] with the type it has in the file."""
        return self.table.column(name)

    def values(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield one column at once."""
        yield self.column(name)

    def groups(self) -> Iterator[slice]:
        """Yield the numbers of the rows of each row group."""
        return (slice(start, stop) for start, stop in pairwise(self.edges))


def _whole(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file, or some columns: at once, or where Arrow cannot, as dictionaries in structs, by row groups."""
    try:
        return file.read(columns)
    except pa.ArrowNotImplementedError:
        if not file.num_row_groups:
            raise
        return pa.concat_tables([file.read_row_group(group, columns) for group in range(file.num_row_groups)])


def micros_file(source: Path | pa.NativeFile) -> pq.ParquetFile:
    """Open a Parquet file for its old 96-bit times as microseconds: beyond 2262 Arrow wraps their nanoseconds."""
    return pq.ParquetFile(source, coerce_int96_timestamp_unit="us")


def wide_times(file: pq.ParquetFile, in_micros: pq.ParquetFile) -> list[str]:
    """Return the columns with 96-bit times, maybe in structs or lists, of which some do not fit nanoseconds.

    `in_micros` is the file's `micros_file`.
    """
    fields = zip(file.schema_arrow, in_micros.schema_arrow, strict=True)
    names = [field.name for field, other in fields if field.type != other.type]  # only that of 96-bit times depends
    wide: set[str] = set()
    if names:
        for both in zip(file.iter_batches(columns=names), in_micros.iter_batches(columns=names), strict=True):
            wide.update(name for name in names if not _same_times(*(batch.column(name) for batch in both)))
    return [name for name in names if name in wide]


def _same_times(nanos: pa.Array, micros: pa.Array) -> bool:
    """Return whether all times of a column, read in both units, are the same but for the digits that one lacks."""
    if pa.types.is_timestamp(nanos.type):
        fine, coarse = (pc.cast(values, pa.int64()).drop_null().to_numpy() for values in (nanos, micros))
        return bool((fine // 1000 == coarse).all())
    if pa.types.is_struct(nanos.type):
        return all(map(_same_times, nanos.flatten(), micros.flatten()))
    if pa.types.is_map(nanos.type):
        return _same_times(nanos.keys, micros.keys) and _same_times(nanos.items, micros.items)
    return nanos.type == micros.type or _same_times(nanos.flatten(), micros.flatten())


def replaced(table: pa.Table, other: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return a table with these of its columns, and their types, as another one has them."""
    for name in names:
        index = table.column_names.index(name)
        field = table.field(index).with_type(other.field(name).type)
        table = table.set_column(index, field, other.column(name))
    return table


def filtered(table: pa.Table, keep: np.ndarray) -> pa.Table:
    """Return the rows of a table where `keep` (bool [rows]) is true."""
    try:
        return table.filter(pa.array(keep))
    except pa.ArrowNotImplementedError:  # it cannot filter string views
        edges = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).tolist()
        runs = [table.slice(start, stop - start) for start, stop in edges]
        return pa.concat_tables(runs or [table.slice(0, 0)]).combine_chunks()


def codecs_of(metadata: pq.FileMetaData) -> tuple[str, ...]:
    """Return the compressions of the leaf columns of a Parquet file, by the writer's names; none without row groups."""
    if not metadata.num_row_groups:
        return ()
    group = metadata.row_group(0)
    codecs = (group.column(leaf).compression for leaf in range(group.num_columns))
    return tuple({"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}.get(codec, codec.lower()) for codec in codecs)


@contextmanager
def table_sink(file: IO[bytes], schema: pa.Schema, codecs: Sequence[str]) -> Iterator[Callable[[pa.Table], None]]:
    """Yield what writes a table that has rows as one row group of a Parquet file, which is whole after the block.

    `codecs` are the compressions of the first leaf columns; further ones get that of the first.
    """
    compression: str | dict[str, str] = codecs[0] if codecs else "none"
    if len(set(codecs)) > 1:
        compression = dict(zip_longest(_leaves(schema), codecs, fillvalue=codecs[0]))
    with pq.ParquetWriter(file, schema, compression=compression) as writer:

        def write(table: pa.Table) -> None:
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)

        yield write


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of the leaf columns as the writer names them: a reader may have named lists' items otherwise."""
    buffer = pa.BufferOutputStream()
    pq.ParquetWriter(buffer, schema).close()
    leaves = pq.read_metadata(pa.BufferReader(buffer.getvalue())).schema
    return [leaves.column(number).path for number in range(len(leaves))]


def unreadable(name: str, error: Exception) -> InputError:
    """Return the error of a Parquet file of that name that cannot be read."""
    message = f"{name} is not a readable Parquet file: {first_line(error).rstrip('.')}."
    if isinstance(error, pa.ArrowNotImplementedError):
        return InputError(message, "Arrow cannot read all that is in it: write it with other types or compression.")
    return InputError(
        message, "It may be cut off or be another format: copy it again, or say what it is with --format."
    )
