"""Rows as another format has them: tables, delimited text, JSON Lines."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import OutputError
from iadsr_cli.logs.delimited import DelimitedRecords
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.tables import TableRecords

_BLOCK = 1 << 16  # rows turned into text at a time
_GROUP = 1 << 20  # rows of a table made from text


@dataclass(frozen=True)
class Rows:
    """Selected rows as tables of one schema; `tables` can be gone through once."""

    schema: pa.Schema
    tables: Iterator[pa.Table]


def selected(records: Records, keep: np.ndarray, extra: Mapping[str, pa.Array]) -> Rows:
    """Return the rows where `keep` (bool [rows]) is true, with `extra` columns (a value per such row) after their own.

    Parquet's rows have the types and the schema metadata of the (first) file, and come in one table per row group.
    Types of text depend on all rows, so that kept and removed rows agree.
    """
    first, _ = next(records.files())
    own = _of_tables(first, records, keep) if isinstance(first, TableRecords) else _of_texts(records, keep)
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


def _of_tables(first: TableRecords, records: Records, keep: np.ndarray) -> Rows:
    partitions = {name: records.column(name) for name in records.partitions}
    schema = first.table.schema
    for name, column in partitions.items():
        schema = schema.append(pa.field(name, column.type))

    def tables() -> Iterator[pa.Table]:
        for file, rows in records.files():
            assert isinstance(file, TableRecords)
            for group in file.groups():
                start, size = rows.start + group.start, group.stop - group.start
                columns = [
                    *file.table.slice(group.start, size).columns,
                    *(column.slice(start, size) for column in partitions.values()),
                ]
                yield pa.Table.from_arrays(columns, schema=schema).filter(pa.array(keep[start : start + size]))

    return Rows(schema, tables())


def _of_texts(records: Records, keep: np.ndarray) -> Rows:
    names = records.column_names
    records.load(names)
    columns = [records.column(name) for name in names]
    if isinstance(next(records.files())[0], DelimitedRecords):
        columns = [_narrowed(column) if pa.types.is_large_string(column.type) else column for column in columns]
    table = pa.table([column.filter(pa.array(keep)) for column in columns], names=names)
    return Rows(table.schema, (table.slice(start, _GROUP) for start in range(0, table.num_rows, _GROUP)))


def _narrowed(strings: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return strings as the type that gives every one of them back exactly; as they are if none does.

    Empty strings become null beside numbers and booleans (and null is written as an empty field).
    """
    filled = pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.large_string()), strings)
    if filled.null_count == len(filled):
        return strings
    for type in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            typed = pc.cast(filled, type)
        except pa.ArrowInvalid:
            continue
        if _texts(typed).equals(filled):
            return typed
    return strings


def _texts(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return a column as the strings that stand for its values in delimited text; null and NaN are null.

    Raises:
        pa.ArrowException: its values have no such form.
    """
    type = column.type
    if pa.types.is_dictionary(type):
        return _texts(pc.cast(column, type.value_type))
    if pa.types.is_duration(type):
        return pc.cast(pc.cast(column, pa.int64()), pa.large_string())
    if pa.types.is_timestamp(type):
        if type.tz is not None:
            column = pc.cast(column, pa.timestamp(type.unit, "UTC"))
        return pc.replace_substring(pc.cast(column, pa.large_string()), " ", "T", max_replacements=1)
    if pa.types.is_floating(type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, type), column)
        texts = pc.cast(column, pa.large_string())
        # Arrow writes 4.0 as "4", which would be read as an integer.
        return pc.replace_substring_regex(texts, r"^(-?\d+)$", r"\1.0")
    return pc.cast(column, pa.large_string())


def cells(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """Return a column's values as fields of delimited text, not yet quoted."""
    found: list[str] = pc.fill_null(_texts(column), "").to_pylist()
    return found


def quoted(cell: str, delimiter: str, quote: str | None = '"') -> str:
    """Return a field as it is written, in quotes where it has to be.

    Raises:
        OutputError: it has to be, and there is no `quote`.
    """
    if not any(mark in cell for mark in (delimiter, quote or delimiter, "\r", "\n")):
        return cell
    if quote is None:
        raise OutputError(
            f'"{cell}" cannot be added to a file without quoting, whose fields are separated by "{delimiter}".',
            "Write to a .csv, .parquet or .jsonl file.",
        )
    return quote + cell.replace(quote, quote * 2) + quote


def delimited_pieces(rows: Rows, delimiter: str, name: str) -> Iterator[bytes]:
    """Return the text of rows of the log `name` as delimited text, with a header.

    Raises:
        OutputError: a column has no form as text; nothing has been taken from the rows then.
    """
    for field in rows.schema:
        try:
            if pa.types.is_nested(field.type):
                raise pa.ArrowTypeError("nested")
            _texts(pa.array([], field.type))
        except pa.ArrowException as error:
            raise OutputError(
                f'Column "{field.name}" of {name} holds {field.type} values, which CSV and TSV cannot hold.',
                "Write to a .parquet or .jsonl file.",
            ) from error

    def line(fields: Sequence[str]) -> str:
        return delimiter.join(quoted(cell, delimiter) for cell in fields) + "\n"

    def pieces() -> Iterator[bytes]:
        yield line(rows.schema.names).encode()
        for batch in _batches(rows):
            yield "".join(map(line, zip(*map(cells, batch.columns), strict=True))).encode()

    return pieces()


def json_pieces(rows: Rows) -> Iterator[bytes]:
    """Yield the text of rows as JSON Lines."""
    for batch in _batches(rows):
        for values in zip(*map(json_values, batch.columns), strict=True):
            yield (json.dumps(dict(zip(rows.schema.names, values, strict=True)), ensure_ascii=False) + "\n").encode()


def _batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    return (batch for table in rows.tables for batch in table.to_batches(_BLOCK))


def json_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Return a column's values as JSON has them."""
    type = column.type
    if pa.types.is_dictionary(type):
        return json_values(pc.cast(column, type.value_type))
    if pa.types.is_temporal(type) or pa.types.is_decimal(type):
        column = _texts(column)
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(type) or pa.types.is_nested(type) or pa.types.is_binary(type):
        return [_json_value(value) for value in values]
    return values


def _json_value(value: Any) -> Any:
    """Return a value as JSON has it: no NaN, times in ISO 8601, decimals as strings (they are exact)."""
    if isinstance(value, dict):
        return {key: _json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
