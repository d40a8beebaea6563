"""The rows of a delimited text file: raw records with their parsed fields."""

import csv
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.csv

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.formats import BOM, DELIMITERS, Format
from iadsr_cli.logs.records import check_names
from iadsr_cli.logs.spans import NO_SPANS, Spans, spans_of
from iadsr_cli.logs.texts import WHOLE, Lines, Stretch, TextRecords, decoded, has_lone_returns, line_offsets

_BLOCK = 1 << 16  # records parsed before their fields become Arrow arrays
_OTHERS = "..."  # what a list of names ends with where it names the first fields alone
# Records by which it is told whether lines are rows: they are not where more than this part of them have other fields.
_LOOKED_AT, _ODD = 1000, 0.1


@dataclass(frozen=True, eq=False)
class DelimitedRecords(TextRecords):
    """Rows of a delimited file; its columns are strings as they stand, without their quotes.

    `delimiter` is the file's, of one or more characters; `quote` is None where it has no quoting. `names` are all its
    columns, `table` has those that were wanted. `spans` tells of those over several lines.
    """

    delimiter: str
    quote: str | None
    names: tuple[str, ...]
    table: pa.Table
    decimal_mark: str
    spans: Spans = field(kw_only=True, default=NO_SPANS)

    @classmethod
    def read(cls, name: str, content: bytes, format: Format, settings: LogSettings) -> "DelimitedRecords":
        """Read a delimited file's (decompressed) bytes.

        Raises:
            InputError: bytes that are not text in the encoding, NUL bytes, a record with too few or too many
                fields, broken quoting, two columns of one name.
            UsageError: an unusable delimiter or encoding, or column names that do not fit the file.
        """
        text, encoding = decoded(name, content, settings.encoding)
        return cls.of_text(name, text, encoding, format, settings)

    @classmethod
    def of_text(
        cls,
        name: str,
        text: bytes,
        encoding: str,
        format: Format,
        settings: LogSettings,
        stretch: Stretch = WHOLE,
        wanted: Sequence[str] | None = None,
    ) -> "DelimitedRecords":
        """Read the text of a delimited file, or a stretch of it, in UTF-8.

        Where no row is sure to be all there, there is none yet, and maybe no column either. Of the columns only those
        `wanted` are made ready, or all; without any, fields that nothing quotes are not counted.

        Raises:
            InputError: as `read` does.
            UsageError: as `read` does.
        """
        delimiter = _delimiter(name, text, format, settings)
        lines = Lines(
            name, text, line_offsets(text), delimiter, quote=_quote(settings, delimiter), before=stretch.lines
        )
        if len(delimiter) > 1:
            lines = replace(lines, delimiter=_stand_in(text), written=delimiter, quote=None)
        columns = list(stretch.columns or ())
        if stretch.columns is None:
            found = _header(lines, settings, stretch.more)
            if found is None:
                offsets, table = np.zeros(1, np.int64), pa.table({})
                return cls(name, format, text, offsets, encoding, delimiter, lines.quote, (), table, settings.decimal)
            columns, lines = found
        plain = _split_plain(lines, columns, stretch.more, wanted)
        offsets, table, spans = (*plain, NO_SPANS) if plain else _split_quoted(lines, columns, stretch.more)
        return cls(
            name,
            format,
            text,
            offsets,
            encoding,
            delimiter,
            lines.quote,
            tuple(columns),
            table,
            settings.decimal,
            spans=spans,
            stretch=stretch,
        )

    @property
    def decimal(self) -> str:
        """What stands between the whole and the fraction of a number."""
        return self.decimal_mark

    @property
    def column_names(self) -> list[str]:
        """The columns, in the file's order."""
        return list(self.names)

    @property
    def fixed(self) -> list[str]:
        """All columns: one header stands above the records of all files."""
        return self.column_names

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows] of strings (large_string); an empty field is an empty string."""
        return self.table.column(name)


def _delimiter(name: str, text: bytes, format: Format, settings: LogSettings) -> str:
    delimiter = settings.delimiter
    if delimiter is None and format.kind == "dat":
        first = text.partition(b"\n")[0].decode(errors="replace").strip()
        # Names and texts have blanks, too, so they count where nothing else separates.
        seen = _other_delimiter([first]) or ("' '" if " " in first else None)
        hint = f"{seen}, which its first line has" if seen else r"'::' or --delimiter '\t'"
        raise UsageError(
            f"What separates the fields of {name} cannot be told from its name.",
            f"Say it, as in --delimiter {hint}.",
        )
    if delimiter is None:
        return DELIMITERS[format.kind]
    delimiter = delimiter.replace(r"\t", "\t")
    if not delimiter or delimiter == settings.quote_char or any(character in delimiter for character in "\r\n\0"):
        raise UsageError(f"--delimiter {delimiter!r} cannot separate fields.", "Give one such as ';', '|' or '::'.")
    return delimiter


def _quote(settings: LogSettings, delimiter: str) -> str | None:
    if settings.quote_char == "none":
        return None
    no_character = len(settings.quote_char) != 1 or "\ud800" <= settings.quote_char <= "\udfff"  # bytes of no text
    if no_character or settings.quote_char in ("\r", "\n", "\0", delimiter):
        raise UsageError(
            f"--quote-char {settings.quote_char!r} cannot quote fields.", """Give one character such as "'", or none."""
        )
    return settings.quote_char


def _stand_in(text: bytes) -> str:
    """Return a character that `text` does not have, for parsers that know delimiters of one character alone."""
    # Separators and other control characters first, then characters for private use.
    candidates = map(chr, itertools.chain(range(0x1F, 0x0D, -1), range(0x01, 0x09), range(0xE000, 0xF900)))
    return next(character for character in candidates if character.encode() not in text)


def _header(lines: Lines, settings: LogSettings, more: bool) -> tuple[list[str], Lines] | None:
    """Return the column names, and the lines after them; None where `more` lines have to tell them."""
    reader = lines.reader()
    try:
        first: list[str] = next((fields for fields in reader if fields), [])
    except csv.Error as error:
        if more and _unended(error):
            return None
        raise _separated_otherwise(lines) or _broken(lines, 0, error) from error
    if not first and more:
        return None
    if not first and settings.header:
        raise InputError(f"{lines.name} is empty.", "Give a log with a header and at least one interaction.")
    if not settings.header:
        return _given_names(lines, first, settings), lines
    if settings.columns is not None:
        raise UsageError(
            "--columns names the columns of a file without a header, but a header is expected.",
            "Add --no-header, or leave --columns out.",
        )
    if other := _other_delimiter(first):
        raise _single(lines.name, first[0], other)
    check_names(first, lines.name, _not_by_row(lines, len(first)) if len(set(first)) < len(first) else None)
    return first, replace(lines, offsets=lines.offsets[reader.line_num :])


def _given_names(lines: Lines, first: list[str], settings: LogSettings) -> list[str]:
    name = lines.name
    if settings.columns is None:
        raise UsageError(
            f"--no-header leaves the {len(first)} columns of {name} without names.",
            _not_by_row(lines, len(first)) or "Name them, as in --columns user_id,item_id,rating,timestamp.",
        )
    columns = [column.strip() for column in settings.columns.split(",")]
    if columns[-1] == _OTHERS:
        if not first:
            raise UsageError(
                f'"{_OTHERS}" at the end of --columns stands for the other fields of a record, and {name} has none.',
                "Name all columns, or leave the file out.",
            )
        columns.pop()
        columns += [f"column_{number}" for number in range(len(columns) + 1, len(first) + 1)]
    if first and len(columns) != len(first):
        hint = ""
        if other := _other_delimiter(first):
            hint = f", or say what separates them: --delimiter {other}"
        elif len(columns) < len(first):
            hint = f', or let the list end with ",{_OTHERS}" for the others'
        raise UsageError(
            f"--columns gives {len(columns)} names, but the first record of {name} has {len(first)} fields.",
            _not_by_row(lines, len(first)) or f"Give one name for each field, separated by commas{hint}.",
        )
    check_names(columns, "--columns")
    return columns


def _single(name: str, column: str, other: str) -> UsageError:
    readable = column.replace("\t", r"\t")
    return UsageError(
        f'{name} has a single column, "{readable}".',
        f"If it holds several, say what separates them: --delimiter {other}.",
    )


def _separated_otherwise(lines: Lines) -> UsageError | None:
    """Return the error of a header whose quotes are only broken because something else separates its fields."""
    for other in ",;|\t":
        with suppress(csv.Error):
            fields: list[str] = next(replace(lines, delimiter=other, written=None).reader(), [])
            if len(fields) > 1:
                return _single(lines.name, other.join(fields), _typed(other))
    return None


def _typed(delimiter: str) -> str:
    return "'{}'".format(delimiter.replace("\t", r"\t"))


def _other_delimiter(fields: list[str]) -> str | None:
    """Return what may separate the fields of a record that was read as a single one, as it is typed."""
    if len(fields) != 1:
        return None
    other = max(("::", *",;|\t"), key=fields[0].count)
    return _typed(other) if other in fields[0] else None


def _split_plain(
    lines: Lines, columns: list[str], more: bool = False, wanted: Sequence[str] | None = None
) -> tuple[np.ndarray, pa.Table] | None:
    """Split text without any quote: a line is a record. Return None where there is one, or any doubt.

    It gives what `_split_quoted` gives, several times faster, and leaves every error to it.
    """
    text, start = lines.text, lines.start
    # Arrow would drop a byte order mark at the start of a record, where it is a character.
    quoted = lines.quote is not None and text.find(lines.quote.encode(), start) >= 0
    odd = quoted or has_lone_returns(text) or text.startswith(BOM, start)
    if odd or start == len(text) or not lines.delimiter.isascii():
        return None
    starts = lines.offsets[:-1].copy()
    starts[0] = start
    heads = np.frombuffer(text, np.uint8)[starts]
    filled, end = starts[(heads != ord("\n")) & (heads != ord("\r"))], len(text)
    if more and len(filled):
        # Blank lines that belong to the last record may follow.
        filled, end = filled[:-1], int(filled[-1])
    if not len(filled):
        return None
    if wanted is not None and not wanted:
        return np.append(filled, end), pa.table({})
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(lines.parsed(start, end) if lines.written else pa.py_buffer(memoryview(text)[start:end])),
            pyarrow.csv.ReadOptions(column_names=columns, block_size=1 << 24),
            pyarrow.csv.ParseOptions(delimiter=lines.delimiter, quote_char=False, double_quote=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()),
                strings_can_be_null=False,
                include_columns=list(wanted or ()),
            ),
        )
    except pa.ArrowException:
        return None
    return (np.append(filled, end), table) if table.num_rows == len(filled) else None


def _split_quoted(lines: Lines, columns: list[str], more: bool = False) -> tuple[np.ndarray, pa.Table, Spans]:
    """Split text into records as the standard library's CSV reader does, and tell which take up several lines.

    Blank lines go with the record before them. Where `more` lines follow, the last record is left out, as they may
    belong to it.
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
        end = len(lines.offsets) - 1
        if more and firsts:
            end = firsts.pop()
    except csv.Error as error:
        if not (more and _unended(error)):
            raise _broken(lines, begun, error) from error
        end = begun
    finally:
        csv.field_size_limit(limit)
    blocks.append(_block(rows, columns))
    offsets = lines.offsets[[*firsts, end]]
    if firsts and not firsts[0]:
        offsets[0] = lines.start
    return offsets, pa.concat_tables(blocks).slice(0, len(firsts)), spans_of(lines, firsts, end, len(columns))


def _block(rows: list[list[str]], columns: list[str]) -> pa.Table:
    fields: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pa.table([pa.array(values, pa.large_string()) for values in fields], names=columns)


def _ragged(lines: Lines, index: int, expected: int, found: int) -> InputError:
    delimiter = lines.written or lines.delimiter
    separator = {"\t": "a tab", " ": "a space"}.get(delimiter, f'"{delimiter}"')
    return InputError(
        f"{lines.name}, line {lines.number(index)}: expected {expected} fields, found {found}.",
        _not_by_row(lines, expected)
        or (
            f"Mend the line: a field that holds {separator} or a quote has to be in quotes."
            if lines.quote
            else f"Mend the line: no field can hold {separator}."
        ),
    )


def _not_by_row(lines: Lines, first: int) -> str | None:
    """Return what to do about a file whose lines are no rows, as the first ones differ in how many fields they have.

    `first` is how many the first record has. Nothing is said of a few odd lines: these are to be mended.
    """
    if lines.before:
        return None
    counts: Counter[int] = Counter()
    with suppress(csv.Error):
        counts.update(len(fields) for fields in itertools.islice(lines.reader(), _LOOKED_AT) if fields)
    others = counts.total() - max(counts.values(), default=0)
    if first == 1 and counts.total() - counts[1] > 1:
        return (
            f"A line of 1 field stands above others of {max(counts)}: if it heads them, write what it says into each: "
            "a log has a line for each interaction, with its user and its item; else take it out."
        )
    if others < 2 or others <= _ODD * counts.total():
        return None
    return (
        f"Its first lines have from {min(first, *counts)} to {max(first, *counts)} fields: a line does not seem to be "
        "one interaction. Write a line for each, with its user and its item, as in user_id,item_id,timestamp."
    )


def _unended(error: csv.Error) -> bool:
    """Return whether the lines ended in a quoted field."""
    return "unexpected end of data" in str(error)


def _broken(lines: Lines, index: int, error: csv.Error) -> InputError:
    place = f"{lines.name}, line {lines.number(index)}"
    if _unended(error):
        return InputError(
            f"{place}: a quoted field begins here and never ends.",
            'Close its quote; a quote that belongs to the text is written twice, in quotes: "6"" pipe". '
            "If quotes quote nothing in this file: --quote-char none.",
        )
    start, stop = lines.offsets[index : index + 2].tolist()
    hint = 'A quoted field ends right before a delimiter; a quote inside is written twice: "6"" pipe". '
    if lines.quote and f"\\{lines.quote}".encode() in lines.text[start:stop]:
        # As MySQL writes them, and old data sets have them.
        hint += (
            f"Here one is written \\{lines.quote} instead: sed 's/\\\\{lines.quote}/{lines.quote * 2}/g' mends that. "
        )
    return InputError(
        f"{place}: the quoting is broken ({error}).",
        f"{hint}If quotes quote nothing in this file: --quote-char none.",
    )
