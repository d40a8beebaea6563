"""Give the rows of a log back that is never whole in memory: row group by row group, whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import IO

import pyarrow as pa

from iadsr_cli.errors import UsageError
from iadsr_cli.logs.conversion import Rows, delimited_pieces, json_pieces
from iadsr_cli.logs.folders import replacing_log
from iadsr_cli.logs.formats import DELIMITERS, Format, compressing, format_of
from iadsr_cli.logs.holding import check_held
from iadsr_cli.logs.parts import PartedLog
from iadsr_cli.logs.tables import codecs_of, table_sink
from iadsr_cli.logs.writer import check_extra_names, check_target, explained, replacing


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
        for _, _, table in log.groups():
            check_held(table, log.name, format)


Write = Callable[[int, pa.Table], None]


@contextlib.contextmanager
def writing(
    log: PartedLog, target: str, extra: Mapping[str, pa.DataType], force: bool, format_override: str = "auto"
) -> Iterator[Write]:
    """Yield what takes tables of the log's rows, in their order, each with the number of the file that it is from.

    When all are in, `target` appears whole.

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
    schema = _extended(log.schema, extra)
    with explained(target, format), replacing(target) as file, _sink(file, format, schema, log) as write:
        # Files may differ in what their columns' types do not tell.
        yield lambda _, table: write(pa.Table.from_arrays(table.columns, schema=schema))


@contextlib.contextmanager
def writing_folder(log: PartedLog, target: str, extra: Mapping[str, pa.DataType]) -> Iterator[Write]:
    """Yield the same for a folder: of each file of the log its rows, under its name, as `writer.drafted_folder` does.

    Raises:
        OutputError: the folder cannot be written.
    """
    begun: list[Callable[[pa.Table], None]] = []
    with explained(target, Format("parquet")), replacing_log(target) as folder, ExitStack() as current:

        def begin() -> None:
            """End the file before, and begin the next."""
            current.close()
            file = log.files[len(begun)]
            assert file.within is not None
            place = folder / file.within
            place.parent.mkdir(parents=True, exist_ok=True)
            stream = current.enter_context(place.open("xb"))
            current.callback(lambda: os.fsync(stream.fileno()))
            schema = _extended(file.schema, extra)
            begun.append(current.enter_context(table_sink(stream, schema, codecs_of(file.metadata))))

        def write(number: int, table: pa.Table) -> None:
            while len(begun) <= number:
                begin()
            begun[number](table.drop_columns([*log.files[number].partitions]))

        yield write
        while len(begun) < len(log.files):
            begin()
        current.close()


def _extended(schema: pa.Schema, extra: Mapping[str, pa.DataType]) -> pa.Schema:
    for name, type in extra.items():
        schema = schema.append(pa.field(name, type))
    return schema


@contextlib.contextmanager
def _sink(file: IO[bytes], format: Format, schema: pa.Schema, log: PartedLog) -> Iterator[Callable[[pa.Table], None]]:
    if format.kind == "parquet":
        codecs = next((codecs for each in log.files if (codecs := codecs_of(each.metadata))), ())
        with table_sink(file, schema, codecs) as sink:
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
