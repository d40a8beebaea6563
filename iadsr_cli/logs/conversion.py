"""Rows as another format has them: tables, delimited text, JSON Lines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.logs.delimited import DelimitedRecords
from iadsr_cli.logs.formats import Format
from iadsr_cli.logs.holding import check_held, check_told_apart, check_whole
from iadsr_cli.logs.jsonlines import JsonRecords, gives_back
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.spelling import cells, json_values, quoted, texts
from iadsr_cli.logs.tables import TableRecords, filtered

_BLOCK = 1 << 16  # rows turned into text at a time
GROUP = 1 << 20  # rows of a table made from text
CODECS_OF_TEXT = ("zstd",)  # the compression of Parquet made from text


@dataclass(frozen=True)
class Rows:
    """Selected rows as tables of one schema; `tables` can be gone through once."""

    schema: pa.Schema
    tables: Iterator[pa.Table]


def selected(
    records: Records, keep: np.ndarray, extra: Mapping[str, pa.Array], format: Format, ids: Sequence[str]
) -> Rows:
    """Return the rows where `keep` (bool [rows]) is true, with `extra` columns (a value per such row) after their own.

    Parquet's rows have the types that hold all files' values and the schema metadata of the first, and come in one
    table per row group.
    Types of text depend on all rows, so that kept and removed rows agree; `ids` are the columns that hold ids.

    Raises:
        OutputError: `format` cannot hold a value of the log, selected or not.
    """
    first, _ = next(records.files())
    if isinstance(first, TableRecords):
        own = _of_tables(records, keep, format)
    else:
        own = _of_texts(records, keep, format, ids)
    schema = own.schema
    for name, column in extra.items():
        schema = schema.append(pa.field(name, column.type))

    def extended() -> Iterator[pa.Table]:
        done = 0
        for table in own.tables:
            added = [column.slice(done, table.num_rows) for column in extra.values()]
            done += table.num_rows
            yield pa.Table.from_arrays([*table.columns, *added], schema=schema)

    return Rows(schema, extended())


def _of_tables(records: Records, keep: np.ndarray, format: Format) -> Rows:
    files = [file for file, _ in records.files() if isinstance(file, TableRecords)]
    schema = records.schema
    assert schema is not None
    if format.kind != "parquet":
        # What the types of all files together tell, before those of each.
        check_held(schema.empty_table(), records.name, format)
        for file in files:
            check_held(file.table, records.name, format)
    columns = [records.column(name) for name in records.column_names]

    def tables() -> Iterator[pa.Table]:
        for file, rows in records.files():
            assert isinstance(file, TableRecords)
            for group in file.groups():
                start, size = rows.start + group.start, group.stop - group.start
                own = [column.slice(start, size) for column in columns]
                yield filtered(pa.Table.from_arrays(own, schema=schema), keep[start : start + size])

    return Rows(schema, tables())


def _of_texts(records: Records, keep: np.ndarray, format: Format, ids: Sequence[str]) -> Rows:
    records.load(records.column_names)
    check_whole(records)
    table = typed_table(records, records.column_names, column_types([records], ids))
    if format.kind == "parquet":
        check_told_apart(records)
        table = _given_back(records, table)
    check_held(table, records.name, format)
    table = filtered(table, keep)
    return Rows(table.schema, (table.slice(start, GROUP) for start in range(0, table.num_rows, GROUP)))


def _given_back(records: Records, table: pa.Table) -> pa.Table:
    """Return the table of some records with lists and objects of JSON as text where Arrow would change them."""
    files = [file for file, _ in records.files() if isinstance(file, JsonRecords)]
    for place, name in enumerate(table.column_names):
        if pa.types.is_nested(table.column(name).type):
            written = JsonRecords.joined_texts(files, name)
            if not gives_back(table.column(name), written):
                table = table.set_column(place, name, written)
    return table


def column_types(stretches: Iterable[Records], ids: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the types that columns of delimited text get, where they get any: every value comes back the same.

    All rows decide, whatever stretches they come in; `ids` are the columns that hold ids. JSON has types of its own.
    """
    possible: dict[str, list[pa.DataType]] = {}
    filled: set[str] = set()
    for records in stretches:
        if not isinstance(next(records.files())[0], DelimitedRecords):
            return {}
        for name in records.column_names:
            column = records.column(name)
            if pa.types.is_large_string(column.type):
                # Ids are whole numbers or strings: "1.5" and "true" have to stay ids.
                usual = [pa.int64()] if name in ids else [pa.int64(), pa.float64(), pa.bool_()]
                strings = _without_empty(column)
                possible[name] = [type for type in possible.get(name, usual) if _holds(type, strings)]
                if strings.null_count < len(strings):
                    filled.add(name)
    return {name: types[0] for name, types in possible.items() if types and name in filled}


def typed_table(records: Records, names: Sequence[str], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return rows of text as a table, with the types of `column_types`.

    Empty strings become null beside numbers and booleans (and null is written as an empty field).
    """
    columns = {name: records.column(name) for name in names}
    typed = {name: pc.cast(_without_empty(columns[name]), type) for name, type in types.items()}
    return pa.table({**columns, **typed})


def _without_empty(strings: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.large_string()), strings)


def _holds(type: pa.DataType, strings: pa.ChunkedArray) -> bool:
    """Return whether a type gives every one of the strings back exactly."""
    try:
        typed = pc.cast(strings, type)
    except pa.ArrowInvalid:
        return False
    # Not every format has infinity.
    return bool(texts(typed).equals(strings)) and not (pa.types.is_floating(type) and pc.any(pc.is_inf(typed)).as_py())


def delimited_pieces(rows: Rows, delimiter: str) -> Iterator[bytes]:
    """Yield the text of rows as delimited text: the header first."""

    def line(fields: Sequence[str]) -> str:
        return delimiter.join(quoted(cell, delimiter) for cell in fields) + "\n"

    yield line(rows.schema.names).encode()
    for batch in _batches(rows):
        yield "".join(map(line, zip(*map(cells, batch.columns), strict=True))).encode()


def json_pieces(rows: Rows) -> Iterator[bytes]:
    """Yield the text of rows as JSON Lines."""
    for batch in _batches(rows):
        for values in zip(*map(json_values, batch.columns), strict=True):
            yield (json.dumps(dict(zip(rows.schema.names, values, strict=True)), ensure_ascii=False) + "\n").encode()


def _batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    return (batch for table in rows.tables for batch in table.to_batches(_BLOCK))
