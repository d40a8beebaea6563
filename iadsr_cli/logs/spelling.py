"""How text spells values: fields of delimited text and values of JSON."""

import itertools
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import OutputError


def stored(array: pa.Array) -> pa.Array:
    """Return an array as lists, structs and simple values: maps are lists of pairs, UUIDs are text."""
    type = array.type
    if isinstance(type, pa.BaseExtensionType):
        if type.extension_name == "arrow.uuid":
            return pa.array([value and str(value) for value in array.to_pylist()], pa.large_string())
        return stored(array.storage)
    if pa.types.is_map(type):
        return array.cast(pa.list_(pa.struct([("key", type.key_type), ("value", type.item_type)])))
    return array


def texts(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return a column as the strings that stand for its values in delimited text; null and NaN are null.

    Raises:
        pa.ArrowException: its values have no such form.
    """
    type = column.type
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([texts(chunk) for chunk in column.chunks], pa.large_string())
    if pa.types.is_dictionary(type):
        return texts(column.dictionary_decode())
    if isinstance(type, pa.BaseExtensionType):
        return texts(stored(column))
    if pa.types.is_duration(type):
        column = pc.cast(column, pa.int64())
    elif pa.types.is_timestamp(type):
        if type.tz is not None:
            column = pc.cast(column, pa.timestamp(type.unit, "UTC"))
        column = pc.replace_substring(pc.cast(column, pa.large_string()), " ", "T", max_replacements=1)
    elif pa.types.is_floating(type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, type), column)
        # Arrow writes 4.0 as "4", which would be read as an integer.
        column = pc.replace_substring_regex(pc.cast(column, pa.large_string()), r"^(-?\d+)$", r"\1.0")
    return pc.cast(column, pa.large_string())


def cells(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """Return a column's values as fields of delimited text, not yet quoted."""
    found: list[str] = pc.fill_null(texts(column), "").to_pylist()
    return found


def quoted(cell: str, delimiter: str, quote: str | None = '"') -> str:
    """Return a field as it is written, in quotes where it has to be.

    Raises:
        OutputError: it has to be, and there is no `quote`.
    """
    # The first cell of a file must not begin with what readers take for a byte order mark.
    mark = quote is not None and cell.startswith("\ufeff")
    if not mark and not any(special in cell for special in (delimiter, quote or delimiter, "\r", "\n")):
        return cell
    if quote is None:
        raise OutputError(
            f'"{cell}" cannot be added to a file without quoting, whose fields are separated by "{delimiter}".',
            "Write to a .csv, .parquet or .jsonl file.",
        )
    return quote + cell.replace(quote, quote * 2) + quote


def json_values(column: pa.Array) -> list[Any]:
    """Return a column as JSON has it: null for NaN, times in ISO 8601, decimals as strings (they are exact)."""
    type = column.type
    column = stored(column)
    if pa.types.is_dictionary(type):
        values = json_values(column.dictionary_decode())
    elif pa.types.is_struct(type):
        fields = [json_values(field) for field in column.flatten()]
        rows = zip(*fields, strict=True) if fields else [()] * len(column)
        names = [field.name for field in type]
        values = [
            dict(zip(names, row, strict=True)) if there else None
            for row, there in zip(rows, column.is_valid().to_pylist(), strict=True)
        ]
    elif pa.types.is_nested(type):
        inner = json_values(pc.list_flatten(column))
        if pa.types.is_map(type):  # pairs
            inner = [list(pair.values()) for pair in inner]
        left = iter(inner)
        lengths = pc.list_value_length(column).to_pylist()
        values = [None if length is None else list(itertools.islice(left, length)) for length in lengths]
    elif pa.types.is_floating(type):
        values = [None if value is None or math.isnan(value) else value for value in column.to_pylist()]
    elif pa.types.is_integer(type) or pa.types.is_boolean(type) or pa.types.is_null(type):
        values = column.to_pylist()
    elif pa.types.is_duration(type):
        values = pc.cast(column, pa.int64()).to_pylist()
    else:
        values = texts(column).to_pylist()
    return values
