"""Give rows back: the kept ones, in their order, exactly as they were; whole or not at all."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from iadsr_cli.drafts import draft_file, followed, is_there, try_writing
from iadsr_cli.errors import OutputError, UsageError, reason
from iadsr_cli.logs.conversion import CODECS_OF_TEXT, Rows, delimited_pieces, json_pieces, selected
from iadsr_cli.logs.folders import replacing_log
from iadsr_cli.logs.formats import DELIMITERS, Format, compressing, extension, format_of, nameless, unknown_format
from iadsr_cli.logs.own_text import OwnText, same_text, with_partitions
from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.schema import without_type
from iadsr_cli.logs.several import SeveralRecords
from iadsr_cli.logs.tables import TableRecords, table_sink
from iadsr_cli.logs.texts import TextRecords


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
        if is_there(path) and not force:
            raise _exists(target)
        folder = followed(path).parent
        if not folder.exists():
            raise OutputError(f"The folder {folder} does not exist.", f"Create it: mkdir -p {folder}")
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file, not a folder.", "Name another place for the output.")
        # Permissions alone do not tell: root passes them all, and a file system may be read-only.
        try_writing(followed(path))
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror}.", "Name another place for the output."
        ) from error


def _exists(target: str) -> OutputError:
    return OutputError(f"{target} exists already.", "Pass --force to replace it, or name another file.")


def check_extra_names(log: str, columns: Iterable[str], extra: Iterable[str]) -> None:
    """Check that columns of the names `extra` can be added to those of the log of that name.

    Raises:
        UsageError: the log has a column of such a name already.
    """
    added = set(extra)
    for column in columns:
        if column in added or without_type(column) in added:
            raise UsageError(
                f'{log} already has a column "{column}", which the output would add.',
                "Rename the log's column first.",
            )


def check_rows(log: Log, target: str, extra: Iterable[str] = (), format_override: str = "auto") -> None:
    """Check, before any work is done, that `target`'s format can hold the log's columns and those of `extra`.

    Raises:
        OutputError: its format cannot hold a column.
        UsageError: the log has a column of an extra one's name, or the format cannot be told.
    """
    check_extra_names(log.name, log.column_names, extra)
    _writer(log, log.records, _format(log, target, format_override), np.zeros(log.num_rows, dtype=bool), {})


def target_format(own: Format, file: str, target: str, format_override: str = "auto") -> Format:
    """Return the format that `target` will have: by its extension, else the log's own; `file` is the log's first.

    Raises:
        UsageError: the extension is not known and is not the log's.
    """
    if target == "-" or nameless(target):
        return own if format_override in {"auto", own.kind} else format_of("-." + format_override)
    if format_override == "auto" and extension(target) == extension(file):
        return own
    format = format_of(target, format_override, option="--output-format")
    if format.kind == "dat" and own.kind != "dat":
        raise unknown_format(target, "--output-format")
    return format


def _format(log: Log, target: str, format_override: str) -> Format:
    first, _ = next(log.records.files())
    return target_format(log.format, first.name, target, format_override)


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
    keep, columns = _checked(log, rows, extra)
    format = _format(log, target, format_override)
    check_target(target, force)
    write = _writer(log, log.records, format, keep, columns)
    with explained(target, format):
        if target == "-":
            write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            yield
        else:
            with replacing(target, force) as file:
                write(file)
                file.flush()
                yield


@contextlib.contextmanager
def drafted_folder(
    log: Log,
    target: str,
    rows: np.ndarray,
    *,
    extra: Mapping[str, pa.Array | np.ndarray] | None = None,
    force: bool = False,
) -> Iterator[None]:
    """Write some rows of a log of several files to a folder: of each file its rows, under its name and in its format.

    A file of which no row is selected has none then. When the block ends well, the folder appears whole, and takes the
    place of one that is there (`folders.check_folder_target` says which). `rows`, `extra` and `force` are
    those of `drafted_rows`.

    Raises:
        OutputError: the folder cannot be written.
        UsageError: the log has a column of an extra one's name.
    """
    keep, columns = _checked(log, rows, extra)
    assert isinstance(log.records, SeveralRecords)
    with explained(target, log.format), replacing_log(target, force=force) as folder:
        done = 0
        for (file, own), path in zip(log.records.files(), log.records.paths, strict=True):
            size = int(keep[own].sum())
            added = {name: column.slice(done, size) for name, column in columns.items()}
            done += size
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            write = _writer(log, file, file.format, keep[own], added)
            with place.open("xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        yield


@contextlib.contextmanager
def explained(target: str, format: Format) -> Iterator[None]:
    """Say what went wrong in writing rows to `target`.

    Raises:
        OutputError: if something did.
    """
    try:
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


@contextlib.contextmanager
def replacing(target: str, force: bool) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `target` when the block ends well, and is gone when it does not.

    A target that is there keeps its permissions; a link keeps pointing where it does.

    Raises:
        OutputError: without `force`, if a file is there by then.
    """
    if nameless(target):
        with Path(target).open("wb") as file:
            yield file
        return
    try:
        with draft_file(followed(target), force=force) as file:
            yield file
    except FileExistsError:
        raise _exists(target) from None


def _checked(
    log: Log, rows: np.ndarray, extra: Mapping[str, pa.Array | np.ndarray] | None
) -> tuple[np.ndarray, dict[str, pa.Array]]:
    """Return the selection as bool [rows] and the columns to add, after checking that they fit the log."""
    keep = _mask(rows, log.num_rows)
    columns = {name: _extra_column(name, values, int(keep.sum())) for name, values in (extra or {}).items()}
    check_extra_names(log.name, log.column_names, columns)
    return keep, columns


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


def _writer(
    log: Log, records: Records, format: Format, keep: np.ndarray, extra: Mapping[str, pa.Array]
) -> Callable[[IO[bytes]], None]:
    """Return what writes rows of the log, as `records` has them, into an open file.

    What cannot work is found out before it is opened.
    """
    pieces: Iterable[bytes | memoryview]
    first, _ = next(records.files())
    if isinstance(first, TextRecords) and same_text(first, format):
        pieces = _own_pieces(records, keep, extra)
    else:
        rows = selected(records, keep, extra, format, (log.roles.user, log.roles.item))
        if format.kind == "parquet":
            tables = [file for file, _ in records.files() if isinstance(file, TableRecords)]
            # A file without rows has no codecs.
            codecs = next((file.codecs for file in tables if file.codecs), ()) if tables else CODECS_OF_TEXT
            return lambda file: _write_tables(file, rows, codecs)
        pieces = json_pieces(rows) if format.kind == "jsonl" else delimited_pieces(rows, DELIMITERS[format.kind])

    def write(file: IO[bytes]) -> None:
        with compressing(file, format.compression) as stream:
            for piece in pieces:
                stream.write(piece)

    return write


def _write_tables(file: IO[bytes], rows: Rows, codecs: Sequence[str]) -> None:
    with table_sink(file, rows.schema, codecs) as write:
        for table in rows.tables:
            write(table)


def _own_pieces(records: Records, keep: np.ndarray, extra: Mapping[str, pa.Array]) -> Iterator[bytes | memoryview]:
    """Yield the text of records as it stands: the header of the first file, and the records of all."""
    first, _ = next(records.files())
    assert isinstance(first, TextRecords)
    added = with_partitions(records, keep, extra)
    text = OwnText(first, {name: column.type for name, column in added.items()})
    yield text.header
    done = 0
    for file, rows in records.files():
        assert isinstance(file, TextRecords)
        chosen = keep[rows]
        size = int(chosen.sum())
        line_end = b"\r\n" if b"\r\n" in file.text else b"\n"
        yield from text.of(file, chosen, {name: column.slice(done, size) for name, column in added.items()}, line_end)
        done += size
