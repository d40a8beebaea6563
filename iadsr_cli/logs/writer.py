"""Give rows back: the kept ones, in their order, exactly as they were; whole or not at all."""

import contextlib
import itertools
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iadsr_cli.errors import OutputError, UsageError
from iadsr_cli.logs.formats import BOM, DELIMITERS, Format, compressing, format_of, nameless
from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.records import DelimitedRecords, JsonRecords, TableRecords, TextRecords
from iadsr_cli.logs.values import is_text

_BLOCK = 1 << 16  # rows turned into text at a time
_YEARS = (-62_135_596_800, 253_402_300_800)  # seconds since 1970 of the years 1 and 10000


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
        probe = _beside(path.resolve())
        probe.touch(exist_ok=False)
        probe.unlink()
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


def write_rows(
    log: Log,
    target: str,
    rows: np.ndarray,
    *,
    extra: Mapping[str, pa.Array | np.ndarray] | None = None,
    force: bool = False,
    format_override: str = "auto",
) -> None:
    """Write some rows of a log, in the log's order, to a file or to standard output ("-").

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
    if target == "-":
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        with replacing(target) as file:
            write(file)
    except BrokenPipeError:
        raise
    except (UnicodeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise OutputError(
            f"{target} cannot hold these rows as {format}: {error}.",
            "Choose another format with the extension.",
        ) from error
    except OSError as error:
        raise OutputError(
            f"{target} could not be written: {error.strerror or error}.",
            "What was there before is unchanged. Make room or name another place.",
        ) from error


@contextlib.contextmanager
def replacing(target: str) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `target` when the block ends well, and is gone when it does not.

    A target that is there keeps its permissions; a link keeps pointing where it does.
    """
    if nameless(target):
        with Path(target).open("wb") as file:
            yield file
        return
    path = Path(target).resolve()
    beside = _beside(path)
    try:
        # Mode "x" makes it with the permissions of any new file; tempfile would make it 0600.
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:  # an interrupt too leaves nothing behind
        beside.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.part")


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
        table = _table(log)
        _check_held(table, log, format)
        table = _selected(table, keep)
        for name, column in extra.items():
            table = table.append_column(name, column)
        if format.kind == "parquet":
            codec = records.codec if isinstance(records, TableRecords) else "zstd"
            return lambda file: pq.write_table(table, file, compression=codec)
        pieces = _json_pieces(table) if format.kind == "jsonl" else _delimited_pieces(table, DELIMITERS[format.kind])

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


def _table(log: Log) -> pa.Table:
    """Return all rows as a table: types depend on all of them, so that kept and removed rows agree."""
    records = log.records
    if isinstance(records, TableRecords):
        return records.table
    names = records.column_names
    if isinstance(records, JsonRecords):
        records.load(names)
        for name in names:
            if name in records.halves or not _is_text(name):
                raise _unheld(_readable(name), log, "half of a surrogate pair", "Parquet, CSV and TSV", ".jsonl")
    columns = [records.column(name) for name in names]
    if isinstance(records, DelimitedRecords):
        ids = (log.roles.user, log.roles.item)
        columns = [
            # Ids are whole numbers or strings: "1.5" and "true" have to stay ids.
            _narrowed(column, (pa.int64(),) if name in ids else (pa.int64(), pa.float64(), pa.bool_()))
            for name, column in zip(names, columns, strict=True)
        ]
    return pa.table(columns, names=names)


def _selected(table: pa.Table, keep: np.ndarray) -> pa.Table:
    try:
        return table.filter(pa.array(keep))
    except pa.ArrowNotImplementedError:  # it cannot filter string views
        edges = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).tolist()
        runs = [table.slice(start, stop - start) for start, stop in edges]
        return pa.concat_tables(runs or [table.slice(0, 0)]).combine_chunks()


def _check_held(table: pa.Table, log: Log, format: Format) -> None:
    """Check that a format can hold all values of the log's, before a file is opened.

    Raises:
        OutputError: it cannot.
    """
    if format.kind == "parquet":
        for name, column in zip(table.column_names, table.columns, strict=True):
            if any(pa.types.is_struct(leaf.type) and not leaf.type.num_fields for leaf in _leaves(column)):
                raise _unheld(name, log, "an object without a key", "Parquet", ".jsonl")
        return
    formats, others = ("JSON", ".parquet") if format.kind == "jsonl" else ("CSV and TSV", ".parquet or .jsonl")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if format.delimited and "\0" in name:
            raise _unheld(_readable(name), log, "a NUL character in its name", formats, others)
        if format.delimited and pa.types.is_nested(column.type):
            raise _unheld(name, log, f"{column.type} values", formats, others)
        for leaf in _leaves(column):
            found = _unspeakable(leaf, format)
            if found:
                raise _unheld(name, log, found, formats, ".parquet" if "NUL" not in found else others)


def _unheld(name: str, log: Log, found: str, formats: str, others: str) -> OutputError:
    return OutputError(
        f'Column "{name}" of {log.name} holds {found}, which {formats} cannot hold.', f"Write to a {others} file."
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
            texts = pc.cast(pc.cast(leaf, pa.large_binary()), pa.large_string())
        except pa.ArrowInvalid:
            return "bytes that are not UTF-8 text"
        if format.delimited and pc.any(pc.match_substring(texts, "\0")).as_py():
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
            _texts(leaf.slice(0, 0))
        except pa.ArrowException:
            found = f"{type} values"
    return found


def _seconds(times: pa.Array, choose: Callable[[pa.Array], pa.Scalar]) -> int:
    """Return the one time that `choose` takes, in seconds since 1970."""
    type = times.type
    if pa.types.is_date32(type):
        return int(choose(times.view(pa.int32())).as_py()) * 86_400
    unit = "ms" if pa.types.is_date(type) else type.unit
    return int(choose(times.view(pa.int64())).as_py()) // {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]


def _leaves(column: pa.ChunkedArray | pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of simple values that a column is made of; of structs, those with no fields or unclear ones."""
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        array = _stored(chunk)
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


def _stored(array: pa.Array) -> pa.Array:
    """Return an array as lists, structs and simple values: maps are lists of pairs, UUIDs are text."""
    type = array.type
    if isinstance(type, pa.BaseExtensionType):
        if type.extension_name == "arrow.uuid":
            return pa.array([value and str(value) for value in array.to_pylist()], pa.large_string())
        return _stored(array.storage)
    if pa.types.is_map(type):
        return array.cast(pa.list_(pa.struct([("key", type.key_type), ("value", type.item_type)])))
    return array


def _is_text(name: str) -> bool:
    """Return whether all of a name is characters: JSON can escape halves of them."""
    return _readable(name) == name


def _readable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _narrowed(strings: pa.ChunkedArray, types: Sequence[pa.DataType]) -> pa.ChunkedArray:
    """Return strings as the first of `types` that gives every one of them back exactly; as they are if none does.

    Empty strings become null beside numbers and booleans (and null is written as an empty field).
    """
    filled = pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.large_string()), strings)
    if filled.null_count == len(filled):
        return strings
    for type in types:
        try:
            typed = pc.cast(filled, type)
        except pa.ArrowInvalid:
            continue
        # Not every format has infinity.
        if _texts(typed).equals(filled) and not (pa.types.is_floating(type) and pc.any(pc.is_inf(typed)).as_py()):
            return typed
    return strings


def _texts(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return a column as the strings that stand for its values in delimited text; null and NaN are null.

    Raises:
        pa.ArrowException: its values have no such form.
    """
    type = column.type
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([_texts(chunk) for chunk in column.chunks], pa.large_string())
    if pa.types.is_dictionary(type):
        return _texts(column.dictionary_decode())
    if isinstance(type, pa.BaseExtensionType):
        return _texts(_stored(column))
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


def _cells(column: pa.ChunkedArray | pa.Array) -> list[str]:
    cells: list[str] = pc.fill_null(_texts(column), "").to_pylist()
    return cells


def _quoted(cell: str, delimiter: str) -> str:
    # The first cell of a file must not begin with what readers take for a byte order mark.
    if any(character in cell for character in (delimiter, '"', "\r", "\n")) or cell.startswith("\ufeff"):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _delimited_pieces(table: pa.Table, delimiter: str) -> Iterator[bytes]:
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


def _json_values(column: pa.Array) -> list[Any]:
    """Return a column as JSON has it: null for NaN, times in ISO 8601, decimals as strings (they are exact)."""
    type = column.type
    column = _stored(column)
    if pa.types.is_dictionary(type):
        values = _json_values(column.dictionary_decode())
    elif pa.types.is_struct(type):
        fields = [_json_values(field) for field in column.flatten()]
        rows = zip(*fields, strict=True) if fields else [()] * len(column)
        names = [field.name for field in type]
        values = [
            dict(zip(names, row, strict=True)) if there else None
            for row, there in zip(rows, column.is_valid().to_pylist(), strict=True)
        ]
    elif pa.types.is_nested(type):
        inner = _json_values(pc.list_flatten(column))
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
        values = _texts(column).to_pylist()
    return values
