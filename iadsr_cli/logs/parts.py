"""A Parquet log that is never whole in memory: read batch by batch, given back row group by row group."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.conversion import Rows, delimited_pieces, json_pieces
from iadsr_cli.logs.formats import DELIMITERS, Format, compressing, format_of
from iadsr_cli.logs.holding import check_held
from iadsr_cli.logs.reader import ItemTexts, texts_of
from iadsr_cli.logs.schema import Roles, find_roles
from iadsr_cli.logs.tables import TableRecords, codecs_of, first_line, micros_file, replaced, table_sink, wide_times
from iadsr_cli.logs.values import canonical_ids, is_text, times
from iadsr_cli.logs.writer import check_extra_names, check_target, explained, replacing
from iadsr_cli.progress import Reporter

# Rows read, scored and written at once.
BATCH = 1 << 20
# Ids, order, evidence and decisions of a row in memory, by rough measure.
_BYTES_PER_ROW = 700


@dataclass(frozen=True, eq=False)
class _PartRecords(TableRecords):
    """Some rows of a file, which messages number as the file does."""

    first: int = 0

    @classmethod
    def of(cls, name: str, table: pa.Table, first: int) -> "_PartRecords":
        """Return a table as rows of a file, from row `first` on."""
        return cls(name, Format("parquet"), table, (), (0, table.num_rows), first)

    def place(self, row: int) -> str:
        """Return where row `row` of this part is in the file, for people."""
        return super().place(self.first + row)


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a log.

    Attributes:
        first: number of the first one.
        users: canonical ids, large_string [n], null where missing.
        items: the same.
        order: comparable times, int64 [n], or None: then the order is the file's.
        records: the rows, with the columns that were asked for.
    """

    first: int
    users: pa.Array
    items: pa.Array
    order: np.ndarray | None
    records: TableRecords


@dataclass(frozen=True)
class PartedLog:
    """A Parquet file, read in parts.

    Attributes:
        path: the file.
        roles: which column is what.
        settings: how it is read.
    """

    path: Path
    roles: Roles
    settings: LogSettings

    @classmethod
    def open(cls, source: str, settings: LogSettings) -> "PartedLog":
        """Open a file, reading no row yet.

        Raises:
            InputError: it cannot be read, or its times are texts, which only the whole column tells how to read.
            UsageError: it is not Parquet, or its columns cannot be told.
        """
        if source == "-" or format_of(source, settings.format).kind != "parquet":
            raise UsageError(
                f"Only a Parquet file can be cleaned in parts, and {source} is none.",
                "Convert it to Parquet first, or take it into memory whole: --in-parts never, without --engine ray.",
            )
        with _readable(source):
            schema = pq.read_schema(source)
            names = schema.names  # which need not be text
        roles = find_roles(names, settings, source)
        if roles.time is not None:
            type = schema.field(roles.time).type
            type = type.value_type if pa.types.is_dictionary(type) else type
            if is_text(type) or pa.types.is_decimal(type):
                raise InputError(
                    f'Column "{roles.time}" of {source} holds {type} values, which cannot be put in order in parts.',
                    "Store times as timestamps or numbers, or pass --time-column none for file order.",
                )
        return cls(Path(source), roles, settings)

    @property
    def name(self) -> str:
        """The file, as messages show it."""
        return str(self.path)

    @cached_property
    def metadata(self) -> pq.FileMetaData:
        """What the file says of itself."""
        with _readable(self.name):
            return pq.read_metadata(self.path)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns' types, and the file's own metadata."""
        with _readable(self.name):
            schema = pq.read_schema(self.path)
            for name in self._wide:
                index = schema.names.index(name)
                schema = schema.set(index, schema.field(index).with_type(pa.timestamp("us")))
        return schema

    @cached_property
    def _wide(self) -> list[str]:
        """The columns whose times do not fit nanoseconds."""
        with _readable(self.name), micros_file(self.path) as file:
            return wide_times(file)

    @property
    def num_rows(self) -> int:
        """How many rows the file has."""
        return int(self.metadata.num_rows)

    def item_texts(self, reporter: Reporter) -> ItemTexts:
        """Return the items' texts, as `Log.item_texts` does; whether a guessed column is one, the first rows tell."""
        found: dict[str, str | None] = {}
        columns, rejected, conflicting = self.roles.text, None, 0
        if not columns:
            return ItemTexts([], [])
        with reporter.stage("texts", self.num_rows, "rows") as stage:
            for first, table in self._tables([self.roles.item, *columns]):
                records = _PartRecords.of(self.name, table, first)
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
                stage.advance(table.num_rows)
        return ItemTexts(list(found), list(found.values()), columns, conflicting, rejected)

    @property
    def column_names(self) -> list[str]:
        """The file's column names, in its order."""
        return list(self.schema.names)

    def values(self, column: str, role: str) -> Counter[str]:
        """Return how often each value of a column occurs, as canonical ids of a role."""
        found: Counter[str] = Counter()
        for first, table in self._tables([column]):
            records = _PartRecords.of(self.name, table, first)
            counts = pc.value_counts(canonical_ids(records, column, role, null_ids="keep").drop_null())
            found.update(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
        return found

    def parts(self, with_columns: bool = False) -> Iterator[Part]:
        """Yield all rows in the file's order, at most `BATCH` at once; `with_columns`, with all columns.

        Raises:
            InputError: a value in it cannot be used, or it cannot be read.
        """
        roles, null_ids, missing = self.roles, self.settings.null_ids, self.settings.missing
        columns = [name for name in (roles.user, roles.item, roles.time) if name is not None]
        for first, table in self._tables(None if with_columns else columns):
            records = _PartRecords.of(self.name, table, first)
            users = canonical_ids(records, roles.user, "user", null_ids, missing)
            items = canonical_ids(records, roles.item, "item", null_ids, missing)
            order = times(records, roles.time, self.settings.time_unit, missing)[0] if roles.time else None
            yield Part(first, users, items, order, records)

    def groups(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield the number of the first row, and rows of one row group each with all columns; `BATCH` at most."""
        yield from self._tables(None)

    def _tables(self, columns: list[str] | None) -> Iterator[tuple[int, pa.Table]]:
        first = 0
        wide = [name for name in self._wide if columns is None or name in columns]
        with _readable(self.name), pq.ParquetFile(self.path) as file, micros_file(self.path) as in_micros:
            for group in range(file.num_row_groups):
                times = in_micros.read_row_group(group, wide) if wide else None
                done = 0
                for batch in file.iter_batches(BATCH, [group], columns):
                    table = pa.Table.from_batches([batch])
                    yield first + done, table if times is None else replaced(table, times.slice(done, table.num_rows))
                    done += table.num_rows
                first += done


def memory_needed(source: str) -> int:
    """Return how many bytes it takes to hold a Parquet file whole, and what denoising makes of it; a rough guess.

    Raises:
        InputError: it cannot be read.
    """
    with _readable(source):
        metadata = pq.read_metadata(source)
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return int(2 * sum(group.total_byte_size for group in groups) + _BYTES_PER_ROW * metadata.num_rows)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist.", "Check the path.") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{name} is not a readable Parquet file: {first_line(error)}",
            "It may be cut off or be another format: copy it again, or say what it is with --format.",
        ) from error


def check_writing(log: PartedLog, target: str, extra: Mapping[str, pa.DataType], format_override: str = "auto") -> None:
    """Check, before any work, that `target`'s format can hold the log's columns and those of `extra`.

    For text, all rows are read.

    Raises:
        OutputError: its format cannot hold a column.
        UsageError: the log has a column of an extra one's name, the format cannot be told, or it is standard output.
    """
    if target == "-":
        raise UsageError("A log that is cleaned in parts cannot go to standard output.", "Name a file with -o.")
    check_extra_names(log.name, log.column_names, extra)
    format = format_of(target, format_override, option="--output-format")
    if format.kind != "parquet":
        # What the types tell, before all rows are read.
        check_held(log.schema.empty_table(), log.name, format)
        for _, table in log.groups():
            check_held(table, log.name, format)


@contextlib.contextmanager
def writing(
    log: PartedLog, target: str, extra: Mapping[str, pa.DataType], force: bool, format_override: str = "auto"
) -> Iterator[Callable[[pa.Table], None]]:
    """Yield what takes tables of the log's rows, in their order; when all are in, `target` appears whole.

    Args:
        log: where the rows come from. Its schema, with its metadata, and the compression of each column are kept; every
            table that is handed over becomes one row group.
        target: a file name.
        extra: columns that the tables have after the log's own.
        force: whether an existing file is replaced.
        format_override: the format's kind, or "auto" to go by the extension.

    Raises:
        OutputError: the target cannot be written, or its format cannot hold a column.
    """
    check_target(target, force)
    format = format_of(target, format_override, option="--output-format")
    schema = log.schema
    for name, type in extra.items():
        schema = schema.append(pa.field(name, type))
    with explained(target, format), replacing(target) as file, _sink(file, format, schema, log) as write:
        yield write


@contextlib.contextmanager
def _sink(file: IO[bytes], format: Format, schema: pa.Schema, log: PartedLog) -> Iterator[Callable[[pa.Table], None]]:
    if format.kind == "parquet":
        with table_sink(file, schema, codecs_of(log.metadata)) as sink:
            yield sink
        return
    with compressing(file, format.compression) as stream:
        started = False

        def write(table: pa.Table) -> None:
            nonlocal started
            pieces = _pieces(table, format)
            if started and format.delimited:
                next(pieces)  # the header
            stream.writelines(pieces)
            started = True

        yield write
        if not started:
            write(schema.empty_table())


def _pieces(table: pa.Table, format: Format) -> Iterator[bytes]:
    rows = Rows(table.schema, iter([table]))
    return json_pieces(rows) if format.kind == "jsonl" else delimited_pieces(rows, DELIMITERS[format.kind])
