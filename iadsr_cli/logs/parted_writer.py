"""Give the rows of a log back that is never whole in memory: piece by piece, whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import IO

import numpy as np
import pyarrow as pa

from iadsr_cli.errors import OutputError
from iadsr_cli.logs.conversion import CODECS_OF_TEXT, GROUP, Rows, delimited_pieces, json_pieces, typed_table
from iadsr_cli.logs.folders import replacing_log
from iadsr_cli.logs.formats import DELIMITERS, Format, compressing
from iadsr_cli.logs.holding import check_held, check_told_apart, check_whole
from iadsr_cli.logs.joint import with_columns
from iadsr_cli.logs.own_text import OwnText, same_text, with_partitions
from iadsr_cli.logs.parts import PartedLog, Piece
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.table_parts import TableParts
from iadsr_cli.logs.tables import TableRecords, codecs_of, filtered, table_sink
from iadsr_cli.logs.text_parts import TextParts
from iadsr_cli.logs.texts import TextRecords
from iadsr_cli.logs.writer import check_extra_names, check_target, explained, replacing, target_format

# Takes a piece of the log, which of its rows are written (bool [rows]), and columns to add, a value for each such row.
Write = Callable[[Piece, np.ndarray, Mapping[str, pa.Array]], None]


def stands(log: PartedLog, target: str, format_override: str = "auto") -> bool:
    """Return whether rows of the log go to `target` as they stand: text in the log's own format.

    Raises:
        UsageError: the format cannot be told.
    """
    if isinstance(log, TableParts):
        return False
    return same_text(_block(next(log.pieces()))[0], _format(log, target, format_override))


def check_writing(log: PartedLog, target: str, extra: Mapping[str, pa.DataType], format_override: str = "auto") -> None:
    """Check, before any work, that `target`'s format can hold the log's columns and those of `extra`.

    In another format than the log's, all rows are read.

    Raises:
        OutputError: its format cannot hold a column.
        UsageError: the log has a column of an extra one's name, or the format cannot be told.
    """
    check_extra_names(log.name, log.column_names, extra)
    format = _format(log, target, format_override)
    if isinstance(log, TextParts):
        if not stands(log, target, format_override):
            _check_text(log, format)
    elif isinstance(log, TableParts) and format.kind != "parquet":
        # What the types tell, before all rows are read.
        check_held(log.schema.empty_table(), log.name, format)
        for piece in log.pieces():
            assert isinstance(piece.records, TableRecords)
            check_held(piece.records.table, log.name, format)


def _check_text(log: TextParts, format: Format) -> None:
    if log.format.kind == "jsonl":
        log.find_kinds(log.column_names)
        for name in log.column_names:
            types = set() if name in log.partitions else log.kind(name).types
            if types in ({list}, {dict}):
                found = "lists" if types == {list} else "objects"
                raise OutputError(
                    f'Column "{name}" of {log.name} holds {found}, whose type only all of them together tell, so they '
                    f"cannot be written as {format.kind} in parts.",
                    "Write to a .jsonl file, or take the log into memory whole: --in-parts never.",
                )
    for piece in log.pieces(with_columns=True):
        check_held(_table(log, piece), log.name, format)
        check_whole(piece.records)
        if format.kind == "parquet":
            check_told_apart(piece.records)
        if log.format.delimited:  # which holds nothing else than its types tell
            return


@contextlib.contextmanager
def writing(
    log: PartedLog, target: str, extra: Mapping[str, pa.DataType], force: bool, format_override: str = "auto"
) -> Iterator[Write]:
    """Yield what takes pieces of the log, in their order. When all are in, `target` appears whole.

    Args:
        log: where the rows come from. What they are in its own format and in another, `writer.drafted_rows` says; of a
            Parquet log every piece becomes one row group.
        target: a file name.
        extra: columns that are added after the log's own.
        force: whether an existing file is replaced.
        format_override: the format's kind, or "auto" to go by the extension.

    Raises:
        OutputError: the target cannot be written, or its format cannot hold a column.
    """
    check_target(target, force)
    format = _format(log, target, format_override)
    with explained(target, format), replacing(target, force) as file:
        if stands(log, target, format_override):
            with _own_sink(file, log, format, extra) as write:
                yield write
        else:
            schema = _extended(_schema(log), extra)
            with _table_sink(file, format, schema, log) as write_table:

                def write(piece: Piece, keep: np.ndarray, added: Mapping[str, pa.Array]) -> None:
                    columns = [*filtered(_table(log, piece), keep).columns, *added.values()]
                    # Files may differ in what their columns' types do not tell.
                    write_table(pa.Table.from_arrays(columns, schema=schema))

                yield write


@contextlib.contextmanager
def writing_folder(log: PartedLog, target: str, extra: Mapping[str, pa.DataType], force: bool) -> Iterator[Write]:
    """Yield the same for a folder: of each file of the log its rows, under its name, as `writer.drafted_folder` does.

    Raises:
        OutputError: the folder cannot be written.
    """
    begun: list[Write] = []
    with explained(target, log.format), replacing_log(target, force=force) as folder, ExitStack() as current:

        def begin() -> None:
            """End the file before, and begin the next."""
            current.close()
            _, within = log.paths[len(begun)]
            assert within is not None
            place = folder / within
            place.parent.mkdir(parents=True, exist_ok=True)
            stream = current.enter_context(place.open("xb"))
            current.callback(lambda: os.fsync(stream.fileno()))
            current.callback(stream.flush)
            begun.append(current.enter_context(_file_sink(stream, log, len(begun), extra)))

        def write(piece: Piece, keep: np.ndarray, added: Mapping[str, pa.Array]) -> None:
            while len(begun) <= piece.file:
                begin()
            begun[piece.file](piece, keep, added)

        yield write
        while len(begun) < len(log.paths):
            begin()
        current.close()


@contextlib.contextmanager
def _file_sink(stream: IO[bytes], log: PartedLog, number: int, extra: Mapping[str, pa.DataType]) -> Iterator[Write]:
    """Yield what writes the rows of one file of the log, in its own format and without partitions."""
    if isinstance(log, TextParts):
        with _own_sink(stream, log, log.files[number].text.format, extra, partitions=False) as write:
            yield write
        return
    assert isinstance(log, TableParts)
    file = log.files[number]
    schema = _extended(file.schema, extra)
    with table_sink(stream, schema, codecs_of(file.metadata)) as write_table:

        def write_own(piece: Piece, keep: np.ndarray, added: Mapping[str, pa.Array]) -> None:
            assert isinstance(piece.records, TableRecords)
            table = filtered(piece.records.table, keep).drop_columns([*file.partitions])
            write_table(pa.Table.from_arrays([*table.columns, *added.values()], schema=schema))

        yield write_own


@contextlib.contextmanager
def _own_sink(
    file: IO[bytes], log: PartedLog, format: Format, extra: Mapping[str, pa.DataType], partitions: bool = True
) -> Iterator[Write]:
    """Yield what writes the text of records as it stands, after the header of the first one's file."""
    assert isinstance(log, TextParts)
    text: OwnText | None = None
    with compressing(file, format.compression) as stream:

        def write(piece: Piece, keep: np.ndarray, added: Mapping[str, pa.Array]) -> None:
            nonlocal text
            block, named = _block(piece)
            records = named if partitions else block
            if text is None:
                text = OwnText(block, {**dict.fromkeys(records.partitions, pa.string()), **extra})
                stream.write(text.header)
            columns = with_partitions(records, keep, added)
            stream.write(b"".join(text.of(block, keep, columns, log.files[piece.file].line_end)))

        yield write


def _block(piece: Piece) -> tuple[TextRecords, Records]:
    """Return the text of a piece, and its records with what folders say of them."""
    block, _ = next(piece.records.files())
    assert isinstance(block, TextRecords)
    return block, piece.records


def _format(log: PartedLog, target: str, format_override: str) -> Format:
    return target_format(log.format, str(log.paths[0][0]), target, format_override)


def _table(log: PartedLog, piece: Piece) -> pa.Table:
    """Return a piece as a table of the log's columns."""
    if isinstance(log, TableParts):
        assert isinstance(piece.records, TableRecords)
        return with_columns(piece.records.table, log.schema)
    assert isinstance(log, TextParts)
    piece.records.load(log.column_names)
    return typed_table(piece.records, log.column_names, log.column_types)


def _schema(log: PartedLog) -> pa.Schema:
    return log.schema if isinstance(log, TableParts) else _table(log, next(log.pieces(with_columns=True))).schema


def _extended(schema: pa.Schema, extra: Mapping[str, pa.DataType]) -> pa.Schema:
    for name, type in extra.items():
        schema = schema.append(pa.field(name, type))
    return schema


@contextlib.contextmanager
def _table_sink(
    file: IO[bytes], format: Format, schema: pa.Schema, log: PartedLog
) -> Iterator[Callable[[pa.Table], None]]:
    if format.kind == "parquet" and isinstance(log, TableParts):
        codecs = next((codecs for each in log.files if (codecs := codecs_of(each.metadata))), ())
        with table_sink(file, schema, codecs) as sink:
            yield sink
        return
    if format.kind == "parquet":
        with table_sink(file, schema, CODECS_OF_TEXT) as sink, _regrouped(sink) as grouping:
            yield grouping
        return
    with compressing(file, format.compression) as stream:
        started = False

        def write(table: pa.Table) -> None:
            nonlocal started
            pieces = _pieces(table, format)
            if started and format.delimited:
                next(pieces)  # the header
            for piece in pieces:
                stream.write(piece)
            started = True

        yield write
        if not started:
            write(schema.empty_table())


@contextlib.contextmanager
def _regrouped(write: Callable[[pa.Table], None]) -> Iterator[Callable[[pa.Table], None]]:
    """Yield what takes tables of any sizes and writes tables of `GROUP` rows, at the end one of fewer."""
    left: list[pa.Table] = []

    def take(table: pa.Table) -> None:
        left.append(table)
        while sum(each.num_rows for each in left) >= GROUP:
            joined = pa.concat_tables(left)
            write(joined.slice(0, GROUP))
            left[:] = [joined.slice(GROUP)]

    yield take
    if left:
        write(pa.concat_tables(left))


def _pieces(table: pa.Table, format: Format) -> Iterator[bytes]:
    rows = Rows(table.schema, iter([table]))
    return json_pieces(rows) if format.kind == "jsonl" else delimited_pieces(rows, DELIMITERS[format.kind])
