"""Give rows back: the kept ones, in their order, exactly as they were; whole or not at all."""

import contextlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iadsr_cli.drafts import draft_file, try_writing
from iadsr_cli.errors import OutputError, UsageError, reason
from iadsr_cli.logs.formats import BOM, DELIMITERS, Format, compressing, format_of, nameless
from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.records import DelimitedRecords, JsonRecords, TableRecords, TextRecords

_BLOCK = 1 << 16  # rows turned into text at a time


def check_target(target: str, force: bool) -> None:
    """Check, before any work is done, that `target` can be written.

    A device or a pipe (/dev/null) is written as it is and needs no `force`.

    Raises:
        OutputError: it exists and `force` is false, it is a folder, or its folder is missing or not writable.
    """
    if target == "-":
        return
    path = Path(target)
    try:
        if path.is_dir():
            raise OutputError(f"{target} is a folder.", f"Name a file, such as {path / 'clean.parquet'}.")
        if nameless(target):
            return
        if path.exists() and not force:
            raise OutputError(f"{target} exists already.", "Pass --force to replace it, or name another file.")
        folder = path.resolve().parent
        if not folder.exists():
            raise OutputError(f"The folder {folder} does not exist.", f"Create it: mkdir -p {folder}")
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file, not a folder.", "Name another place for the output.")
        # Permissions alone do not tell: root passes them all, and a file system may be read-only.
        try_writing(path.resolve())
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror}.", "Name another place for the output."
        ) from error


def check_extra_names(log: Log, names: Iterable[str]) -> None:
    """Check that columns can be added to the log's.

    Raises:
        UsageError: the log has a column of that name already.
    """
    for name in names:
        if name in log.column_names:
            raise UsageError(
                f'{log.name} already has a column "{name}", which the output would add.',
                "Rename the log's column first.",
            )


def check_rows(log: Log, target: str, extra: Iterable[str] = (), format_override: str = "auto") -> None:
    """Check, before any work is done, that `target`'s format can hold the log's columns and those of `extra`.

    Raises:
        OutputError: its format cannot hold a column.
        UsageError: the log has a column of an extra one's name, or the format cannot be told.
    """
    check_extra_names(log, extra)
    _writer(log, target_format(log, target, format_override), np.zeros(log.num_rows, dtype=bool), {})


def target_format(log: Log, target: str, format_override: str = "auto") -> Format:
    """Return the format that `target` will have: by its extension, else the log's own.

    Raises:
        UsageError: the extension is not known and is not the log's.
    """
    if target == "-" or nameless(target):
        if format_override in {"auto", log.format.kind}:
            return log.format
        return format_of("-." + format_override)
    if format_override == "auto" and Path(target).suffixes == Path(log.name).suffixes:
        return log.format
    return format_of(target, format_override, option="--output-format")


@contextlib.contextmanager
def drafted_rows(
    log: Log,
    target: str,
    rows: np.ndarray,
    *,
    extra: Mapping[str, pa.Array | np.ndarray] | None = None,
    force: bool = False,
    format_override: str = "auto",
) -> Iterator[None]:
    """Write some rows of a log, in the log's order, beside a file that they replace when the block ends well.

    So of several files either all are replaced or, where one cannot be written, none. To standard output ("-") they
    are written at once.

    In the log's own format the rows are exactly as they were: the same bytes for text, the same types, values
    and schema metadata for Parquet. Another format gets typed columns only where every value comes back the
    same from them. A file appears whole or not at all; the same rows give the same bytes.

    Args:
        log: what `read_log` returned.
        target: a file name, or "-".
        rows: which rows: bool [log.num_rows], or their numbers in increasing order (int64).
        extra: columns to put after the log's own, one value per selected row: numbers, booleans or strings.
        force: whether an existing file is replaced.
        format_override: the format's kind, or "auto" to go by the extension.

    Raises:
        OutputError: the target cannot be written (see `check_target`), or its format cannot hold a column.
        UsageError: the log has a column of an extra one's name, or the format cannot be told.
    """
    keep = _mask(rows, log.num_rows)
    columns = {name: _extra_column(name, values, int(keep.sum())) for name, values in (extra or {}).items()}
    check_extra_names(log, columns)
    format = target_format(log, target, format_override)
    check_target(target, force)
    write = _writer(log, format, keep, columns)
    try:
        if target == "-":
            write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            yield
        else:
            with replacing(target) as file:
                write(file)
                file.flush()
                yield
    except BrokenPipeError:
        raise
    except (UnicodeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise OutputError(
            f"{target} cannot hold these rows as {format}: {error}.",
            "Choose another format with the extension.",
        ) from error
    except OSError as error:
        raise OutputError(
            f"{'Standard output' if target == '-' else target} could not be written: {reason(error)}.",
            "What was there before is unchanged. Make room or name another place.",
        ) from error


def write_rows(log: Log, target: str, rows: np.ndarray, **options: Any) -> None:
    """Write some rows of a log to one file: `drafted_rows`, with its options, and no other file to wait for."""
    with drafted_rows(log, target, rows, **options):
        pass


@contextlib.contextmanager
def replacing(target: str) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `target` when the block ends well, and is gone when it does not.

    A target that is there keeps its permissions; a link keeps pointing where it does.
    """
    if nameless(target):
        with Path(target).open("wb") as file:
            yield file
        return
    with draft_file(Path(target).resolve()) as file:
        yield file


def _mask(rows: np.ndarray, size: int) -> np.ndarray:
    """Return the selection as bool [size]."""
    if rows.dtype == bool:
        if rows.shape != (size,):
            raise ValueError(f"the selection has shape {rows.shape}, the log has {size} rows")
        return rows
    if len(rows) and (rows[0] < 0 or rows[-1] >= size or (np.diff(rows) <= 0).any()):
        raise ValueError(f"row numbers have to increase and be less than {size}")
    keep = np.zeros(size, dtype=bool)
    keep[rows] = True
    return keep


def _extra_column(name: str, values: pa.Array | np.ndarray, size: int) -> pa.Array:
    column = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    if len(column) != size:
        raise ValueError(f"extra column {name} has {len(column)} values for {size} rows")
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _writer(log: Log, format: Format, keep: np.ndarray, extra: dict[str, pa.Array]) -> Callable[[IO[bytes]], None]:
    """Return what writes the rows into an open file; what cannot work is found out before it is opened."""
    records = log.records
    pieces: Iterable[bytes | memoryview]
    if isinstance(records, TextRecords) and _same_text(records, log.format, format):
        pieces = _raw_pieces(records, keep, extra)
    else:
        table = _table(log, keep)
        for name, column in extra.items():
            table = table.append_column(name, column)
        if format.kind == "parquet":
            codec = records.codec if isinstance(records, TableRecords) else "zstd"
            return lambda file: pq.write_table(table, file, compression=codec)
        if format.kind == "jsonl":
            pieces = _json_pieces(table)
        else:
            pieces = _delimited_pieces(table, DELIMITERS[format.kind], log.name)

    def write(file: IO[bytes]) -> None:
        with compressing(file, format.compression) as stream:
            for piece in pieces:
                stream.write(piece)

    return write


def _same_text(records: TextRecords, source: Format, target: Format) -> bool:
    if isinstance(records, DelimitedRecords) and target.delimited:
        return source.kind == target.kind or records.delimiter == DELIMITERS[target.kind]
    return source.kind == target.kind


# The log's own text, unchanged.


def _raw_pieces(records: TextRecords, keep: np.ndarray, extra: dict[str, pa.Array]) -> Iterator[bytes | memoryview]:
    pieces: Iterable[bytes | memoryview]
    if not extra:
        pieces = itertools.chain([records.header], records.runs(keep))
    elif isinstance(records, DelimitedRecords):
        pieces = _with_cells(records, keep, extra)
    else:
        pieces = _with_keys(records, keep, extra)
    return map(records.encoded, pieces)


def _with_cells(records: DelimitedRecords, keep: np.ndarray, extra: dict[str, pa.Array]) -> Iterator[bytes]:
    """Yield the header and each record, with the extra fields before its line ending."""

    def extended(text: bytes, cells: Iterable[str]) -> bytes:
        body = text.rstrip(b"\r\n")
        fields = "".join(records.delimiter + _quoted(cell, records.delimiter) for cell in cells)
        return body + fields.encode() + text[len(body) :]

    header = records.header
    has_names = header.removeprefix(BOM).strip(b"\r\n")
    yield extended(header, extra) if has_names else header
    columns = [_cells(column) for column in extra.values()]
    for row, cells in zip(np.flatnonzero(keep).tolist(), zip(*columns, strict=True), strict=True):
        yield extended(records.record(row), cells)


def _with_keys(records: TextRecords, keep: np.ndarray, extra: dict[str, pa.Array]) -> Iterator[bytes]:
    """Yield what stands before the objects, and each object with the extra keys before its closing brace."""
    yield records.header
    columns = [_json_values(column) for column in extra.values()]
    for row, values in zip(np.flatnonzero(keep).tolist(), zip(*columns, strict=True), strict=True):
        text = records.record(row)
        body = text.rstrip()[:-1]
        members = json.dumps(dict(zip(extra, values, strict=True)), ensure_ascii=False)[1:-1].encode()
        comma = b"" if body.rstrip().endswith(b"{") else b", "
        yield body + comma + members + text[len(body) :]


# Another format than the log's.


def _table(log: Log, keep: np.ndarray) -> pa.Table:
    """Return the selected rows as a table; types depend on all rows, so kept and removed rows agree."""
    records = log.records
    mask = pa.array(keep)
    if isinstance(records, TableRecords):
        return records.table.filter(mask)
    if isinstance(records, JsonRecords):
        records.load(records.column_names)
    columns = [records.column(name) for name in records.column_names]
    if isinstance(records, DelimitedRecords):
        columns = [_narrowed(column) for column in columns]
    return pa.table([column.filter(mask) for column in columns], names=records.column_names)


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


def _cells(column: pa.ChunkedArray | pa.Array) -> list[str]:
    cells: list[str] = pc.fill_null(_texts(column), "").to_pylist()
    return cells


def _quoted(cell: str, delimiter: str) -> str:
    if any(character in cell for character in (delimiter, '"', "\r", "\n")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _delimited_pieces(table: pa.Table, delimiter: str, name: str) -> Iterator[bytes]:
    for field in table.schema:
        try:
            _texts(pa.array([], field.type) if not pa.types.is_nested(field.type) else table.column(field.name))
        except pa.ArrowException as error:
            raise OutputError(
                f'Column "{field.name}" of {name} holds {field.type} values, which CSV and TSV cannot hold.',
                "Write to a .parquet or .jsonl file.",
            ) from error

    def line(cells: Sequence[str]) -> str:
        return delimiter.join(_quoted(cell, delimiter) for cell in cells) + "\n"

    def pieces() -> Iterator[bytes]:
        yield line(table.column_names).encode()
        for batch in table.to_batches(_BLOCK):
            yield "".join(map(line, zip(*map(_cells, batch.columns), strict=True))).encode()

    return pieces()


def _json_pieces(table: pa.Table) -> Iterator[bytes]:
    names = table.column_names
    for batch in table.to_batches(_BLOCK):
        for values in zip(*map(_json_values, batch.columns), strict=True):
            yield (json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False) + "\n").encode()


def _json_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    type = column.type
    if pa.types.is_dictionary(type):
        return _json_values(pc.cast(column, type.value_type))
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
