"""A Parquet log in parts: batches of its row groups."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError
from iadsr_cli.logs import parts
from iadsr_cli.logs.files import log_files
from iadsr_cli.logs.formats import Format
from iadsr_cli.logs.joint import check_everywhere, joint_schema, with_columns
from iadsr_cli.logs.parts import PartedLog, Piece, partitions_of, within
from iadsr_cli.logs.records import check_names
from iadsr_cli.logs.schema import find_roles
from iadsr_cli.logs.source import Source, missing, source_of
from iadsr_cli.logs.tables import TableRecords, micros_file, replaced, unreadable, wide_times


@dataclass(frozen=True, eq=False)
class _PartRecords(TableRecords):
    """Some rows of a file, which messages number as the file does; `within` is its name below a folder, or None."""

    first: int = 0
    within: Path | None = None

    def place(self, row: int) -> str:
        """Return where row `row` of this part is in the file, for people."""
        place = super().place(self.first + row)
        return place if self.within is None else f"{place} of {self.within}"


@dataclass(frozen=True)
class PartFile:
    """One Parquet file of a log.

    Attributes:
        path: the file.
        within: its name below the log's folder; None if it is the log.
        partitions: what folders say of its rows, typed, by column.
    """

    path: Path
    within: Path | None
    partitions: dict[str, pa.Scalar]

    @property
    def name(self) -> str:
        """The file, as messages show it."""
        return str(self.path)

    @cached_property
    def metadata(self) -> pq.FileMetaData:
        """What the file says of itself."""
        with _readable(self.path):
            return pq.read_metadata(self.path)

    @cached_property
    def schema(self) -> pa.Schema:
        """Its own columns' types, and its own metadata."""
        with _readable(self.path):
            schema = pq.read_schema(self.path)
            if self.wide:
                with micros_file(self.path) as in_micros:
                    in_wide = in_micros.schema_arrow
                for name in self.wide:
                    schema = schema.set(
                        schema.names.index(name), schema.field(name).with_type(in_wide.field(name).type)
                    )
        return schema

    @cached_property
    def wide(self) -> list[str]:
        """The columns whose times do not fit nanoseconds."""
        with _readable(self.path), pq.ParquetFile(self.path) as file, micros_file(self.path) as in_micros:
            return wide_times(file, in_micros)

    def values(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield the values of one column, batch by batch."""
        return (table.column(name) for table in self.tables([name]))

    def tables(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Yield the rows of one row group each, `BATCH` at most: with some columns, or all; partitions are the last."""
        own = self.schema.names if columns is None else [name for name in columns if name in self.schema.names]
        wide = [name for name in self.wide if name in own]
        # Without a column there would be no rows either.
        read = own or self.schema.names[:1]
        with _readable(self.path), pq.ParquetFile(self.path) as file, micros_file(self.path) as in_micros:
            for group in range(file.num_row_groups):
                times = in_micros.read_row_group(group, wide) if wide else None
                done = 0
                # To Arrow a name is a path, too: "user.id" brings that of a struct "user" along, in its own order.
                for batch in file.iter_batches(parts.BATCH, [group], read):
                    table = pa.Table.from_batches([batch]).select(read)
                    if times is not None:
                        table = replaced(table, times.slice(done, table.num_rows), wide)
                    done += table.num_rows
                    for name, value in self.partitions.items():
                        if columns is None or name in columns:
                            table = table.append_column(name, pa.repeat(value, table.num_rows))
                    yield table if own else table.remove_column(0)


@dataclass(frozen=True)
class TableParts(PartedLog):
    """A Parquet log, read in parts.

    Attributes:
        files: its files, in order, at least one.
        joint: the types of their own columns together, and the metadata of the first.
    """

    files: tuple[PartFile, ...]
    joint: pa.Schema

    @classmethod
    def open(cls, source: str, settings: LogSettings) -> "TableParts":
        """Open the files of a log, reading no more than the times.

        Raises:
            InputError: one cannot be read or lacks a column, or the times cannot be used.
            UsageError: its columns cannot be told.
        """
        files = _files(source, settings.format)
        for file in files:
            names = file.schema.names  # which need not be text
            check_names(names, file.name)
        joint = joint_schema(files)
        roles = find_roles([*joint.names, *files[0].partitions], settings, source)
        check_everywhere(files, roles.keys)
        return cls(source, roles, settings, files, joint)

    def __post_init__(self) -> None:
        """Check what all parts share, and that the times can be put in order part by part.

        Raises:
            InputError: they cannot, or as for all logs in parts.
            UsageError: as for all logs in parts.
        """
        super().__post_init__()
        time = self.roles.time
        if time is not None:
            type = self.schema.field(time).type
            if pa.types.is_decimal(type.value_type if pa.types.is_dictionary(type) else type):
                raise InputError(
                    f'Column "{time}" of {self.source} holds {type} values, which cannot be put in order in parts.',
                    "Store times as timestamps or numbers, or pass --time-column none for file order.",
                )

    @property
    def format(self) -> Format:
        """Parquet."""
        return Format("parquet")

    @property
    def paths(self) -> list[tuple[Path, Path | None]]:
        """The files, each with its name below the log's folder; None if it is the log."""
        return [(file.path, file.within) for file in self.files]

    @property
    def partitions(self) -> list[str]:
        """The columns that stand in the names of folders and in no file."""
        return list(self.files[0].partitions)

    @property
    def column_names(self) -> list[str]:
        """The column names: the files' own in their order, and the partitions."""
        return list(self.schema.names)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns' types, such as hold the values of all files, and the metadata of the first; partitions last."""
        schema = self.joint
        for name, value in self.files[0].partitions.items():
            schema = schema.append(pa.field(name, value.type))
        return schema

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return sum(int(file.metadata.num_rows) for file in self.files)

    def sources(self) -> list[Source]:
        """Return the files as they are now, by their bytes."""
        return [source_of(file.path) for file in self.files]

    def key(self) -> list[Any]:
        """Return nothing: a Parquet file says all of itself."""
        return []

    def pieces(self, with_columns: bool = True) -> Iterator[Piece]:
        """Yield the rows of one row group each, `BATCH` at most, with all columns, in their file's types."""
        first = 0
        for number, file in enumerate(self.files):
            for records in self._of(file, None):
                yield Piece(number, first, records)
                first += records.num_rows

    def records(self, columns: Sequence[str] | None) -> Iterator[tuple[int, TableRecords]]:
        """Yield the number of the first row, and rows with some columns, or all, in joint types; `BATCH` at most."""
        schema = (
            self.schema if columns is None else pa.schema([self.schema.field(name) for name in dict.fromkeys(columns)])
        )
        first = 0
        for file in self.files:
            for records in self._of(file, columns):
                yield first, replace(records, table=with_columns(records.table, schema))
                first += records.num_rows

    def _of(self, file: PartFile, columns: Sequence[str] | None) -> Iterator[TableRecords]:
        done = 0
        for table in file.tables(columns):
            edges = (0, table.num_rows)
            yield _PartRecords(self.name, Format("parquet"), table, (), edges, done, file.within)
            done += table.num_rows


def _files(source: str, format_override: str) -> tuple[PartFile, ...]:
    paths = log_files(source, format_override)
    partitions = partitions_of(source, paths, [_own_columns(path) for path in paths])
    return tuple(PartFile(path, within(source, path), values) for path, values in zip(paths, partitions, strict=True))


def _own_columns(path: Path) -> list[str]:
    with _readable(path):
        return list(pq.read_schema(path).names)


def table_memory(path: Path, bytes_per_row: int) -> int:
    """Return how many bytes it takes to hold a Parquet file whole, and so many more for each row; a rough guess.

    Raises:
        InputError: it cannot be read.
    """
    metadata = PartFile(path, None, {}).metadata
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return int(2 * sum(group.total_byte_size for group in groups) + bytes_per_row * metadata.num_rows)


@contextlib.contextmanager
def _readable(name: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise missing(str(name)) from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} has a name that is not UTF-8, by which no Parquet file is opened.", "Rename it."
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(str(name), error) from error
