"""A Parquet log that is never whole in memory: a file, or those of a folder, read batch by batch."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iadsr_cli.artifacts import file_digest
from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.files import base_folder, is_several, log_files, partition_values
from iadsr_cli.logs.formats import Format, format_of, nameless
from iadsr_cli.logs.reader import ItemTexts, texts_of
from iadsr_cli.logs.records import check_names
from iadsr_cli.logs.remote import is_remote
from iadsr_cli.logs.schema import Roles, find_roles
from iadsr_cli.logs.sessions import check_gap, seconds_of
from iadsr_cli.logs.several import check_partitions, check_types, typed_partitions
from iadsr_cli.logs.source import Source
from iadsr_cli.logs.tables import TableRecords, first_line, micros_file, replaced, wide_times
from iadsr_cli.logs.values import canonical_ids, is_text, times
from iadsr_cli.progress import Reporter

# Rows read, scored and written at once.
BATCH = 1 << 20
# Ids, order, evidence and decisions of a row in memory, by rough measure.
_BYTES_PER_ROW = 700


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
class Part:
    """Consecutive rows of a log.

    Attributes:
        first: number of the first one.
        users: canonical ids, large_string [n], null where missing.
        items: the same.
        order: comparable times, int64 [n], or None: then the order is the file's.
        seconds: the times in seconds, float64 [n], where sessions are to be told by them, else None.
        records: the rows, with the columns that were asked for.
    """

    first: int
    users: pa.Array
    items: pa.Array
    order: np.ndarray | None
    seconds: np.ndarray | None
    records: TableRecords


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
            for name in self.wide:
                index = schema.names.index(name)
                schema = schema.set(index, schema.field(index).with_type(pa.timestamp("us")))
        return schema

    @cached_property
    def wide(self) -> list[str]:
        """The columns whose times do not fit nanoseconds."""
        with _readable(self.path), micros_file(self.path) as file:
            return wide_times(file)

    def tables(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Yield the rows of one row group each, `BATCH` at most: with some columns, or all; partitions are the last."""
        own = self.schema.names if columns is None else [name for name in columns if name in self.schema.names]
        wide = [name for name in self.wide if name in own]
        with _readable(self.path), pq.ParquetFile(self.path) as file, micros_file(self.path) as in_micros:
            for group in range(file.num_row_groups):
                times = in_micros.read_row_group(group, wide) if wide else None
                done = 0
                # Without a column there would be no rows either.
                for batch in file.iter_batches(BATCH, [group], own or self.schema.names[:1]):
                    table = pa.Table.from_batches([batch])
                    if times is not None:
                        table = replaced(table, times.slice(done, table.num_rows))
                    done += table.num_rows
                    for name, value in self.partitions.items():
                        if columns is None or name in columns:
                            table = table.append_column(name, pa.repeat(value, table.num_rows))
                    yield table if own else table.remove_column(0)


@dataclass(frozen=True)
class PartedLog:
    """A Parquet log, read in parts.

    Attributes:
        source: the log, as it was named.
        files: its files, in order; at least one.
        roles: which column is what.
        settings: how it is read.
    """

    source: str
    files: tuple[PartFile, ...]
    roles: Roles
    settings: LogSettings

    @classmethod
    def open(cls, source: str, settings: LogSettings) -> "PartedLog":
        """Open the files of a log, reading no row yet.

        Raises:
            InputError: one cannot be read or has other columns, or the times are texts, which only the whole column
                tells how to read.
            UsageError: it is not Parquet, or its columns cannot be told.
        """
        if not is_parquet(source, settings.format):
            raise UsageError(
                f"Only Parquet files can be cleaned in parts, and {source} is none.",
                "Convert it to Parquet first, or take it into memory whole: --in-parts never, without --engine ray.",
            )
        files = _files(source, settings.format)
        first = files[0]
        for file in files:
            names = file.schema.names  # which need not be text
            check_names(names, str(file.path))
            check_types(str(file.path), _types(file.schema), str(first.path), _types(first.schema))
        log = cls(source, files, find_roles([*first.schema.names, *first.partitions], settings, source), settings)
        if not log.num_rows:
            raise InputError(f"{source} has no rows.", "Give a log with at least one interaction.")
        time = log.roles.time
        if settings.gap is not None:
            check_gap(time, source)
        if time is not None:
            type = log.schema.field(time).type
            type = type.value_type if pa.types.is_dictionary(type) else type
            if is_text(type) or pa.types.is_decimal(type):
                raise InputError(
                    f'Column "{time}" of {source} holds {type} values, which cannot be put in order in parts.',
                    "Store times as timestamps or numbers, or pass --time-column none for file order.",
                )
        return log

    @property
    def name(self) -> str:
        """The log, as messages show it."""
        return self.source

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns' types, partitions after the files' own, and the metadata of the first file."""
        schema = self.files[0].schema
        for name, value in self.files[0].partitions.items():
            schema = schema.append(pa.field(name, value.type))
        return schema

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return sum(int(file.metadata.num_rows) for file in self.files)

    def sources(self) -> list[Source]:
        """Return the files as they are now, by their bytes."""
        states = [(file.path, file.path.stat()) for file in self.files]
        return [Source(str(path), state.st_size, state.st_mtime_ns, file_digest(path)) for path, state in states]

    def item_texts(self, reporter: Reporter) -> ItemTexts:
        """Return the items' texts, as `Log.item_texts` does; whether a guessed column is one, the first rows tell."""
        found: dict[str, str | None] = {}
        columns, rejected, conflicting = self.roles.text, None, 0
        if not columns:
            return ItemTexts([], [])
        with reporter.stage("texts", self.num_rows, "rows") as stage:
            for first, records in self._records([self.roles.item, *columns]):
                items = canonical_ids(records, self.roles.item, "item", self.settings.null_ids, self.settings.missing)
                texts = texts_of(
                    records, columns, items, self.settings.missing, check=not first and not self.settings.text_column
                )
                if not first:
                    rejected, columns = texts.rejected, texts.columns
                if not columns:
                    break
                conflicting += texts.conflicting
                for item, text in zip(texts.ids, texts.texts, strict=True):
                    if found.get(item) is None:
                        found[item] = text
                stage.advance(records.num_rows)
        return ItemTexts(list(found), list(found.values()), columns, conflicting, rejected)

    @property
    def column_names(self) -> list[str]:
        """The column names: the files' own in their order, and the partitions."""
        return list(self.schema.names)

    def values(self, column: str, role: str) -> Counter[str]:
        """Return how often each value of a column occurs, as canonical ids of a role."""
        found: Counter[str] = Counter()
        for _, records in self._records([column]):
            counts = pc.value_counts(canonical_ids(records, column, role, null_ids="keep").drop_null())
            found.update(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
        return found

    def parts(self, with_columns: bool = False) -> Iterator[Part]:
        """Yield all rows in the log's order, at most `BATCH` at once; `with_columns`, with all columns.

        Raises:
            InputError: a value in it cannot be used, or it cannot be read.
        """
        roles, null_ids, missing = self.roles, self.settings.null_ids, self.settings.missing
        columns = [name for name in (roles.user, roles.item, roles.time) if name is not None]
        for first, records in self._records(None if with_columns else columns):
            users = canonical_ids(records, roles.user, "user", null_ids, missing)
            items = canonical_ids(records, roles.item, "item", null_ids, missing)
            found = times(records, roles.time, self.settings.time_unit, missing) if roles.time else None
            seconds = seconds_of(found, str(roles.time), self.name) if found and self.settings.gap else None
            yield Part(first, users, items, found and found.order, seconds, records)

    def groups(self) -> Iterator[tuple[int, int, pa.Table]]:
        """Yield the number of the file and of the first row, and rows of one row group each with all columns.

        They are `BATCH` at most.
        """
        first = 0
        for number, file in enumerate(self.files):
            for table in file.tables(None):
                yield number, first, table
                first += table.num_rows

    def _records(self, columns: list[str] | None) -> Iterator[tuple[int, _PartRecords]]:
        """Yield the number of the first row, and rows with some columns, or all; `BATCH` at most."""
        first = 0
        for file in self.files:
            done = 0
            for table in file.tables(columns):
                edges = (0, table.num_rows)
                yield first, _PartRecords(self.name, Format("parquet"), table, (), edges, done, file.within)
                done += table.num_rows
                first += table.num_rows


def is_parquet(source: str, format_override: str) -> bool:
    """Return whether a log is a Parquet file, or several, of this machine.

    Raises:
        InputError: there is none, or files of several formats.
        UsageError: the format is not known.
    """
    if source == "-" or is_remote(source) or (nameless(source) and not is_several(source)):
        return False
    return format_of(str(log_files(source, format_override)[0]), format_override).kind == "parquet"


def _files(source: str, format_override: str) -> tuple[PartFile, ...]:
    paths = log_files(source, format_override)
    if not is_several(source):
        return (PartFile(paths[0], None, {}),)
    base = base_folder(source)
    folders = [partition_values(path, base) for path in paths]
    for path, values in zip(paths, folders, strict=True):
        check_partitions(path, values, paths[0], folders[0], base)
    own = {name for path in paths for name in _own_columns(path)}
    typed = {name: typed_partitions([values[name] for values in folders]) for name in folders[0] if name not in own}
    return tuple(
        PartFile(path, path.relative_to(base), {name: values[number] for name, values in typed.items()})
        for number, path in enumerate(paths)
    )


def _own_columns(path: Path) -> list[str]:
    with _readable(path):
        return list(pq.read_schema(path).names)


def _types(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def memory_needed(source: str) -> int:
    """Return how many bytes it takes to hold Parquet files whole, and what denoising makes of them; a rough guess.

    Raises:
        InputError: one cannot be read.
    """
    needed = 0
    for path in log_files(source, "parquet"):
        metadata = PartFile(path, None, {}).metadata
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        needed += 2 * sum(group.total_byte_size for group in groups) + _BYTES_PER_ROW * metadata.num_rows
    return needed


@contextlib.contextmanager
def _readable(name: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist.", "Check the path.") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{name} is not a readable Parquet file: {first_line(error)}",
            "It may be cut off or be another format: copy it again, or say what it is with --format.",
        ) from error
