"""What a format cannot hold of a log is refused, before any work."""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import OutputError
from iadsr_cli.logs.formats import Format
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.spelling import stored, texts
from iadsr_cli.logs.times import PER_SECOND
from iadsr_cli.logs.values import is_text

_YEARS = (-62_135_596_800, 253_402_300_800)  # seconds since 1970 of the years 1 and 10000


def check_held(table: pa.Table, name: str, format: Format) -> None:
    """Check that a format can hold all values of a table of the log `name`.

    Raises:
        OutputError: it cannot.
    """
    if format.kind == "parquet":
        for column, values in zip(table.column_names, table.columns, strict=True):
            if any(pa.types.is_struct(leaf.type) and not leaf.type.num_fields for leaf in _leaves(values)):
                raise _unheld(column, name, "an object without a key", "Parquet", ".jsonl")
        return
    formats, others = ("JSON", ".parquet") if format.kind == "jsonl" else ("CSV and TSV", ".parquet or .jsonl")
    for column, values in zip(table.column_names, table.columns, strict=True):
        if format.delimited and "\0" in column:
            raise _unheld(column, name, "a NUL character in its name", formats, others)
        if format.delimited and pa.types.is_nested(values.type):
            raise _unheld(column, name, f"{values.type} values", formats, others)
        for leaf in _leaves(values):
            found = _unspeakable(leaf, format)
            if found:
                raise _unheld(column, name, found, formats, ".parquet" if "NUL" not in found else others)


def check_whole(records: Records) -> None:
    """Check that all texts of a log, whose columns are loaded, are characters: JSON can escape halves of them.

    Raises:
        OutputError: they are not, and only JSON holds that.
    """
    halves = set().union(*(file.halves for file, _ in records.files()))
    for column in records.column_names:
        readable = column.encode("utf-8", "backslashreplace").decode()
        if column in halves or readable != column:
            raise _unheld(readable, records.name, "half of a surrogate pair", "Parquet, CSV and TSV", ".jsonl")


def check_told_apart(records: Records) -> None:
    """Check that the strings of a log, whose columns are loaded, are told from what else is in their columns.

    Such a column is text in Parquet: strings as they stand, everything else as JSON.

    Raises:
        OutputError: they are not, as "1" is not from 1, and only JSON tells them.
    """
    for column in records.column_names:
        kinds = records.kinds(column)
        if str not in kinds or len(kinds) == 1:
            continue
        for file, rows in records.files():
            row = file.mistakable(column)
            if row is not None:
                row += rows.start
                text = records.column(column)[row]
                raise OutputError(
                    f'Column "{column}" of {records.name} holds strings and other values, and in {records.place(row)} '
                    f'the string "{text}", which Parquet cannot tell from {text}.',
                    "Write to a .jsonl file, or make all values of the column strings, or none.",
                )


def _unheld(column: str, name: str, found: str, formats: str, others: str) -> OutputError:
    return OutputError(
        f'Column "{column}" of {name} holds {found}, which {formats} cannot hold.', f"Write to a {others} file."
    )


def _unspeakable(leaf: pa.Array, format: Format) -> str | None:
    """Return what an array of simple values holds that text of `format` cannot say; None if it says everything."""
    type = leaf.type
    found = None
    if pa.types.is_struct(type):
        found = "an object with one key twice" if type.num_fields else None
    elif is_text(type) or pa.types.is_fixed_size_binary(type):
        try:
            # By way of bytes: Arrow does not look at what it takes for text already.
            characters = pc.cast(pc.cast(leaf, pa.large_binary()), pa.large_string())
        except pa.ArrowInvalid:
            return "bytes that are not UTF-8 text"
        if format.delimited and pc.any(pc.match_substring(characters, "\0")).as_py():
            found = "a NUL character"
    elif pa.types.is_floating(type):
        if format.kind == "jsonl" and pc.any(pc.is_inf(leaf)).as_py():
            found = "an infinite number"
    elif pa.types.is_timestamp(type) or pa.types.is_date(type):
        # Beyond these Arrow writes things that are no times.
        if (
            leaf.null_count < len(leaf)
            and not _YEARS[0] <= _seconds(leaf, pc.min) <= _seconds(leaf, pc.max) < _YEARS[1]
        ):
            found = "a time outside the years 1 to 9999"
    else:
        try:
            texts(leaf.slice(0, 0))
        except pa.ArrowException:
            found = f"{type} values"
    return found


def _seconds(times: pa.Array, choose: Callable[[pa.Array], pa.Scalar]) -> int:
    """Return the one time that `choose` takes, in seconds since 1970."""
    type = times.type
    if pa.types.is_date32(type):
        return int(choose(times.view(pa.int32())).as_py()) * 86_400
    unit = "ms" if pa.types.is_date(type) else type.unit
    return int(choose(times.view(pa.int64())).as_py()) // PER_SECOND[unit]


def _leaves(column: pa.ChunkedArray | pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of simple values that a column is made of; of structs, those with no fields or unclear ones."""
    for chunk in column.chunks or [pa.nulls(0, column.type)] if isinstance(column, pa.ChunkedArray) else [column]:
        array = stored(chunk)
        type = array.type
        if pa.types.is_dictionary(type):
            yield from _leaves(array.dictionary_decode())
        elif pa.types.is_struct(type):
            if len({field.name for field in type}) != max(type.num_fields, 1):
                yield array
            for values in array.flatten():
                yield from _leaves(values)
        elif pa.types.is_nested(type):
            yield from _leaves(pc.list_flatten(array))
        else:
            yield array
