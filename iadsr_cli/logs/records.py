"""The rows of a file as they stand in it: a Parquet table, or raw text records with their parsed fields.

Text is held once, as UTF-8 bytes with one offset per record. A record's bytes run up to the next record's, so
that its line ending, its quoting and blank lines after it belong to it: writing the records of the kept rows
gives back exactly what was there.
"""

import codecs
import csv
import json
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.formats import BOM, DELIMITERS, Format

_BLOCK = 1 << 16  # records parsed before their fields become Arrow arrays
_JSON_SPACE = " \t\r\n"


@dataclass(frozen=True, eq=False)
class Records(ABC):
    """The rows of one file, in its order. `name` is the file as messages show it."""

    name: str

    @property
    @abstractmethod
    def column_names(self) -> list[str]:
        """The columns, in the file's order."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows]."""

    def place(self, row: int) -> str:
        """Return where row `row` (from 0) is, for people: they count from 1."""
        return f"row {row + 1}"


@dataclass(frozen=True, eq=False)
class TableRecords(Records):
    """Rows of a Parquet file, with its own types and schema metadata; `codec` is the file's compression."""

    table: pa.Table
    codec: str

    @classmethod
    def read(cls, name: str, content: bytes) -> "TableRecords":
        """Read a Parquet file's bytes.

        Raises:
            InputError: it is not whole, not Parquet, has no rows, or has two columns of one name.
        """
        try:
            # Not read_table: that would make columns out of folder names such as "day=1/".
            file = pq.ParquetFile(pa.BufferReader(content))
            table = _unwrapped(file.read(), file, content)
            names = table.column_names  # which need not be text
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{name} is not a readable Parquet file: {_first_line(error)}",
                "It may be cut off or be another format: copy it again, or say what it is with --format.",
            ) from error
        _check_names(names, name)
        if not table.num_rows:
            raise _no_rows(name)
        codec = file.metadata.row_group(0).column(0).compression if table.num_columns else "UNCOMPRESSED"
        return cls(name, table, {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}.get(codec, codec.lower()))

    @property
    def column_names(self) -> list[str]:
        """The columns, in the file's order."""
        return list(self.table.column_names)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows] with the type it has in the file."""
        return self.table.column(name)


def _unwrapped(table: pa.Table, file: pq.ParquetFile, content: bytes) -> pa.Table:
    """Return a table with its old 96-bit times as they are: beyond the year 2262 Arrow wraps their nanoseconds."""
    leaves = [file.schema.column(index) for index in range(len(file.schema))]
    names = [leaf.path for leaf in leaves if leaf.physical_type == "INT96" and leaf.path in table.column_names]
    if not names:
        return table
    wide = pq.ParquetFile(pa.BufferReader(content), coerce_int96_timestamp_unit="us").read(columns=names)
    for name in names:
        micros = pc.cast(wide.column(name), pa.int64())
        if (pc.max(pc.abs(micros)).as_py() or 0) > (2**63 - 1) // 1000:
            index = table.column_names.index(name)
            table = table.set_column(index, table.field(index).with_type(wide.field(name).type), wide.column(name))
    return table


@dataclass(frozen=True, eq=False)
class TextRecords(Records):
    """Rows of a text file.

    `text[offsets[i]:offsets[i + 1]]` is record i, in UTF-8 (offsets: int64 [rows + 1]); what stands before
    the first is the header. `encoding` is the file's.
    """

    text: bytes
    offsets: np.ndarray
    encoding: str

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.offsets) - 1

    @property
    def header(self) -> bytes:
        """What stands before the first record: byte order mark, column names, blank lines."""
        return self.text[: self.offsets[0]]

    def record(self, row: int) -> bytes:
        """Return the text of one record, with its line ending."""
        return self.text[self.offsets[row] : self.offsets[row + 1]]

    def runs(self, keep: np.ndarray) -> Iterator[memoryview]:
        """Yield the text of the records where `keep` (bool [rows]) is true, neighbours in one piece."""
        edges = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0))
        view = memoryview(self.text)
        for start, stop in self.offsets[edges].reshape(-1, 2).tolist():
            yield view[start:stop]

    def encoded(self, text: bytes | memoryview) -> bytes | memoryview:
        """Return UTF-8 `text` in the encoding of the file."""
        return text if self.encoding == "utf-8" else str(text, "utf-8").encode(self.encoding)

    def place(self, row: int) -> str:
        """Return where row `row` (from 0) is: its number and its line, both counted from 1."""
        return f"row {row + 1} (line {_line_number(self.text, self.offsets[row])})"


@dataclass(frozen=True, eq=False)
class DelimitedRecords(TextRecords):
    """Rows of a CSV or TSV file; its columns are strings as they stand, without their quotes."""

    delimiter: str
    table: pa.Table

    @classmethod
    def read(cls, name: str, content: bytes, format: Format, settings: LogSettings) -> "DelimitedRecords":
        """Read a delimited file's (decompressed) bytes.

        Raises:
            InputError: bytes that are not text in the encoding, NUL bytes, a record with too few or too many
                fields, broken quoting, two columns of one name, no rows.
            UsageError: an unusable delimiter or encoding, or column names that do not fit the file.
        """
        delimiter = _delimiter(format, settings)
        text, encoding = _decoded(name, content, settings.encoding)
        columns, lines = _header(_Lines(name, text, _line_offsets(text), delimiter), settings)
        offsets, table = _split_plain(lines, columns) or _split_quoted(lines, columns)
        if not table.num_rows:
            raise _no_rows(name)
        return cls(name, text, offsets, encoding, delimiter, table)

    @property
    def column_names(self) -> list[str]:
        """The columns, in the file's order."""
        return list(self.table.column_names)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows] of strings (large_string); an empty field is an empty string."""
        return self.table.column(name)


@dataclass(frozen=True, eq=False)
class JsonRecords(TextRecords):
    """Rows of a JSON Lines file: one object per line; `keys` are all their keys, in order of appearance.

    `halves` are the loaded columns with an escaped half of a surrogate pair, which is no character.
    """

    keys: tuple[str, ...]
    halves: set[str] = field(default_factory=set)
    _columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    _kinds: dict[str, set[type]] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str, content: bytes, settings: LogSettings) -> "JsonRecords":
        """Read a JSON Lines file's (decompressed) bytes.

        Raises:
            InputError: bytes that are not text in the encoding, NUL bytes, a line that is not a JSON object,
                an object with a key twice, no rows.
            UsageError: an unusable encoding.
        """
        text, encoding = _decoded(name, content, settings.encoding)
        keys: dict[str, None] = {}
        starts = []
        for start, line in _Lines(name, text, _line_offsets(text, lone_returns=False)):
            if line.strip(_JSON_SPACE):
                starts.append(start)
                keys.update(dict.fromkeys(_object(name, text, start, line)))
        if not starts:
            raise _no_rows(name)
        return cls(name, text, np.array([*starts, len(text)], np.int64), encoding, tuple(keys))

    @property
    def column_names(self) -> list[str]:
        """The columns: all keys, in order of appearance."""
        return list(self.keys)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows], null where an object lacks the key.

        Its type is int64, float64, bool, large_string or, for lists and objects, what Arrow makes of them.
        A column that mixes types, or whose numbers no machine type holds exactly, is large_string: strings as
        they stand, everything else as JSON text.
        """
        self.load([name])
        return self._columns[name]

    def kinds(self, name: str) -> set[type]:
        """Return the Python types that a column's values have, null left out."""
        self.load([name])
        return self._kinds[name]

    def load(self, names: Iterable[str]) -> None:
        """Parse several columns in one pass over the text, for `column` to return."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._columns]
        if not wanted:
            return
        blocks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
        kinds: dict[str, set[type]] = {name: set() for name in wanted}
        objects = (json.loads(self.record(row).decode()) for row in range(self.num_rows))
        while block := list(islice(objects, _BLOCK)):
            for name in wanted:
                values = [record.get(name) for record in block]
                kinds[name].update(map(type, values))
                texts, whole = _strings([_json_text(value) for value in values])
                blocks[name].append(texts)
                if not whole:
                    self.halves.add(name)
        for name in wanted:
            self._kinds[name] = kinds[name] - {type(None)}
            self._columns[name] = _typed(pa.chunked_array(blocks[name]), self._kinds[name])


# Text: encoding and lines.


def _decoded(name: str, content: bytes, encoding: str) -> tuple[bytes, str]:
    """Return `content` as UTF-8 bytes, and the name of the encoding that turns them back."""
    codec = _codec(content, encoding)
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        other = "latin-1" if codec == "utf-8" else "utf-8"
        raise InputError(
            f"{name}, line {_line_number(content, error.start)}: "
            f"byte 0x{content[error.start]:02x} is not {encoding} text.",
            f"Say which encoding the file has, such as --encoding {other}.",
        ) from error
    plain = content
    if codec != "utf-8":
        if text.encode(codec, "replace") != content:
            raise InputError(
                f"{name} cannot be turned from {encoding} to text and back without a change.",
                "Convert it to UTF-8 first.",
            )
        plain = text.encode()
    nul = plain.find(b"\0")
    if nul >= 0:
        raise InputError(
            f"{name}, line {_line_number(plain, nul)}: there is a NUL byte.",
            "Remove it; if the file is UTF-16, say --encoding utf-16.",
        )
    return plain, codec


def _codec(content: bytes, encoding: str) -> str:
    """Return the codec that keeps a byte order mark as a character: it has to come back."""
    try:
        "".encode(encoding)
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        raise UsageError(
            f'--encoding "{encoding}" is not known.',
            "Common ones: utf-8, latin-1, cp1252, utf-16, shift_jis.",
        ) from error
    if codec == "utf-8-sig":
        return "utf-8"
    if codec in {"utf-16", "utf-32"}:
        big = content.startswith((b"\xfe\xff", b"\x00\x00\xfe\xff"))
        return f"{codec}-be" if big else f"{codec}-le"
    return codec


def _line_number(text: bytes, offset: int) -> int:
    """Return the number, from 1, of the line that holds the byte at `offset`."""
    return text.count(b"\n", 0, offset) + text.count(b"\r", 0, offset) - text.count(b"\r\n", 0, offset) + 1


def _line_offsets(text: bytes, lone_returns: bool = True) -> np.ndarray:
    """Return where lines start and, last, where the text ends (int64 [lines + 1]).

    Lines end at LF or CR LF, with `lone_returns` also at a CR alone, and nowhere else.
    """
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    if lone_returns and text.count(b"\r") != text.count(b"\r\n"):
        returns = np.flatnonzero(codes == ord("\r"))
        followed = np.append(codes, 0)[returns + 1] == ord("\n")
        ends = np.sort(np.concatenate([ends, returns[~followed]]))
    offsets = np.concatenate([np.zeros(1, np.int64), ends + 1])
    return offsets if offsets[-1] == len(text) else np.append(offsets, len(text))


@dataclass(frozen=True)
class _Lines:
    """Lines of a text, from some line on; iterating gives where each starts, and the line.

    The first one starts after a byte order mark. `offsets` (int64 [lines + 1]) are where they start, and where
    the text ends.
    """

    name: str
    text: bytes
    offsets: np.ndarray
    delimiter: str = ","

    @property
    def start(self) -> int:
        """Where the first line starts."""
        first = int(self.offsets[0])
        return len(BOM) if first == 0 and self.text.startswith(BOM) else first

    def __iter__(self) -> Iterator[tuple[int, str]]:
        start = self.start
        for stop in self.offsets[1:].tolist():
            yield start, self.text[start:stop].decode()
            start = stop

    def reader(self) -> Any:
        """Return a csv.reader over the lines."""
        # Strict: an opening quote that is never closed would otherwise swallow the rest of the file.
        return csv.reader((line for _, line in self), delimiter=self.delimiter, strict=True)

    def number(self, index: int) -> int:
        """Return the number in the file, from 1, of the line at `index`."""
        return _line_number(self.text, int(self.offsets[index]))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."


def _check_names(columns: Sequence[str], name: str) -> None:
    for column, count in Counter(columns).items():
        if count > 1:
            raise InputError(
                f'{name} has {count} columns named "{column}".',
                "Rename all but one: columns are found by their names.",
            )


def _no_rows(name: str) -> InputError:
    return InputError(f"{name} has no rows.", "Give a log with at least one interaction.")


# Delimited text.


def _delimiter(format: Format, settings: LogSettings) -> str:
    delimiter = settings.delimiter
    if delimiter is None:
        return DELIMITERS[format.kind]
    if delimiter == r"\t":
        return "\t"
    if len(delimiter) != 1:
        raise UsageError(
            f'--delimiter "{delimiter}" has {len(delimiter)} characters.',
            r"Give a single one such as ';'; replace longer ones in the file first: sed 's/::/\t/g'.",
        )
    if delimiter in '"\r\n\0':
        raise UsageError(f"--delimiter {delimiter!r} cannot separate fields.", "Give one such as ';' or '|'.")
    return delimiter


def _header(lines: _Lines, settings: LogSettings) -> tuple[list[str], _Lines]:
    """Return the column names, and the lines after them."""
    reader = lines.reader()
    try:
        first: list[str] = next((fields for fields in reader if fields), [])
    except csv.Error as error:
        raise _broken(lines, 0, error) from error
    if not first:
        raise InputError(f"{lines.name} is empty.", "Give a file with a header and at least one row.")
    if not settings.header:
        return _given_names(lines.name, first, settings), lines
    if settings.columns is not None:
        raise UsageError(
            "--columns names the columns of a file without a header, but a header is expected.",
            "Add --no-header, or leave --columns out.",
        )
    if len(first) == 1:
        _check_single_column(lines, first[0])
    _check_names(first, lines.name)
    return first, replace(lines, offsets=lines.offsets[reader.line_num :])


def _given_names(name: str, first: list[str], settings: LogSettings) -> list[str]:
    if settings.columns is None:
        raise UsageError(
            f"--no-header leaves the {len(first)} columns of {name} without names.",
            "Name them, as in --columns user_id,item_id,rating,timestamp.",
        )
    columns = [column.strip() for column in settings.columns.split(",")]
    if len(columns) != len(first):
        raise UsageError(
            f"--columns gives {len(columns)} names, but the first record of {name} has {len(first)} fields.",
            "Give one name for each field, separated by commas.",
        )
    _check_names(columns, "--columns")
    return columns


def _check_single_column(lines: _Lines, header: str) -> None:
    other = max(",;|\t", key=header.count)
    if header.count(other) and other != lines.delimiter:
        readable = header.replace("\t", r"\t")
        raise UsageError(
            f'{lines.name} has a single column, "{readable}".',
            "If it holds several, say what separates them: --delimiter "
            + (r"'\t'." if other == "\t" else f"'{other}'."),
        )


def _split_plain(lines: _Lines, columns: list[str]) -> tuple[np.ndarray, pa.Table] | None:
    """Split text without any quote: a line is a record. Return None where there is one, or any doubt.

    It gives what `_split_quoted` gives, several times faster, and leaves every error to it.
    """
    text, start = lines.text, lines.start
    lone_returns = text.count(b"\r") != text.count(b"\r\n")
    # Arrow would drop a byte order mark at the start of a record, where it is a character.
    if text.find(b'"', start) >= 0 or lone_returns or text.startswith(BOM, start):
        return None
    if start == len(text) or not lines.delimiter.isascii():
        return None
    starts = lines.offsets[:-1].copy()
    starts[0] = start
    heads = np.frombuffer(text, np.uint8)[starts]
    filled = starts[(heads != ord("\n")) & (heads != ord("\r"))]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(memoryview(text)[start:])),
            pyarrow.csv.ReadOptions(column_names=columns, block_size=1 << 24),
            pyarrow.csv.ParseOptions(delimiter=lines.delimiter, quote_char=False, double_quote=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != len(filled):
        return None
    return np.append(filled, len(text)), table


def _split_quoted(lines: _Lines, columns: list[str]) -> tuple[np.ndarray, pa.Table]:
    """Split text into records as the standard library's CSV reader does.

    Blank lines go with the record before them.
    """
    reader = lines.reader()
    firsts: list[int] = []  # each record's first line
    blocks: list[pa.Table] = []
    rows: list[list[str]] = []
    begun = 0  # lines before the record being read
    # A field may be of any length; the limit is the process's, so it is put back.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        for fields in reader:
            if fields:
                if len(fields) != len(columns):
                    raise _ragged(lines, begun, len(columns), len(fields))
                firsts.append(begun)
                rows.append(fields)
                if len(rows) == _BLOCK:
                    blocks.append(_block(rows, columns))
                    rows = []
            begun = reader.line_num
    except csv.Error as error:
        raise _broken(lines, begun, error) from error
    finally:
        csv.field_size_limit(limit)
    blocks.append(_block(rows, columns))
    offsets = lines.offsets[[*firsts, -1]]
    if firsts and not firsts[0]:
        offsets[0] = lines.start
    return offsets, pa.concat_tables(blocks)


def _block(rows: list[list[str]], columns: list[str]) -> pa.Table:
    fields: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pa.table([pa.array(values, pa.large_string()) for values in fields], names=columns)


def _ragged(lines: _Lines, index: int, expected: int, found: int) -> InputError:
    separator = {"\t": "a tab", " ": "a space"}.get(lines.delimiter, f'"{lines.delimiter}"')
    return InputError(
        f"{lines.name}, line {lines.number(index)}: expected {expected} fields, found {found}.",
        f"Mend the line: a field that holds {separator} or a quote has to be in quotes.",
    )


def _broken(lines: _Lines, index: int, error: csv.Error) -> InputError:
    place = f"{lines.name}, line {lines.number(index)}"
    if "unexpected end of data" in str(error):
        return InputError(
            f"{place}: a quoted field begins here and never ends.",
            'Close its quote; a quote that belongs to the text is written twice, in quotes: "6"" pipe".',
        )
    return InputError(
        f"{place}: the quoting is broken ({error}).",
        'A quoted field ends right before a delimiter; a quote inside is written twice: "6"" pipe".',
    )


# JSON Lines.


def _object(name: str, text: bytes, start: int, line: str) -> dict[str, Any]:
    try:
        value = _JSON.decode(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}, line {_line_number(text, start)}: this is not valid JSON ({error}).",
            "Give one JSON object per line; say --format if the file is something else.",
        ) from error
    if not isinstance(value, dict):
        found = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
        raise InputError(
            f"{name}, line {_line_number(text, start)}: expected a JSON object, "
            f"found {found.get(type(value), 'a number')}.",
            'Give one object per line, such as {"user_id": 1, "item_id": 2}.',
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f'an object has the key "{twice}" twice')
    return record


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _strings(values: list[str | None]) -> tuple[pa.Array, bool]:
    """Return strings as an array, and whether they are whole."""
    try:
        return pa.array(values, pa.large_string()), True
    except UnicodeEncodeError:
        # JSON can escape half of a surrogate pair, which is no character: it stays an escape.
        escaped = [value and value.encode("utf-8", "backslashreplace").decode() for value in values]
        return pa.array(escaped, pa.large_string()), False


def _typed(texts: pa.ChunkedArray, kinds: set[type]) -> pa.ChunkedArray:
    """Return `texts` as the one type that holds all of them exactly; as they are where there is none."""
    try:
        if kinds == {int}:
            return pc.cast(texts, pa.int64())
        if kinds == {bool}:
            return pc.cast(texts, pa.bool_())
        if kinds in ({float}, {int, float}):
            numbers = pc.cast(texts, pa.float64())
            # An int beyond 2^53 beside a float would be rounded, 2^53 + 1 to 2^53 itself.
            if kinds == {float} or (pc.max(pc.abs(numbers)).as_py() or 0) < 2**53:
                return numbers
        if kinds in ({list}, {dict}):
            values = [None if text is None else json.loads(text) for text in texts.to_pylist()]
            return pa.chunked_array([pa.array(values)])
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        pass  # in lists, a number beyond 64 bits is an OverflowError
    return texts
