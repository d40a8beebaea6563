"""The rows of a text file: raw records, in UTF-8.

Text is held once, as UTF-8 bytes with one offset per record. A record's bytes run up to the next record's, so
that its line ending, its quoting and blank lines after it belong to it: writing the records of the kept rows
gives back exactly what was there.
"""

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.formats import BOM, marked_encoding
from iadsr_cli.logs.records import Records


@dataclass(frozen=True)
class Stretch:
    """Which part of its file a text is: whole lines of it, from the start of a record on.

    Attributes:
        rows: how many rows of the file are before it.
        lines: how many lines of the file are before it.
        columns: the names of the file's columns, None where the text has to tell them.
        more: whether the file goes on after it: its last record may then not be all there, and is left out.
    """

    rows: int = 0
    lines: int = 0
    columns: tuple[str, ...] | None = None
    more: bool = False


WHOLE = Stretch()
# Encodings of Python's for names of hosts, not for files.
_OF_NAMES = {"idna", "punycode"}


@dataclass(frozen=True, eq=False)
class TextRecords(Records):
    """Rows of a text file, or of a stretch of it.

    `text[offsets[i]:offsets[i + 1]]` is record i, in UTF-8 (offsets: int64 [rows + 1]); what stands before
    the first is the header, and what stands after the last is left to the next stretch. `encoding` is the file's.
    """

    text: bytes
    offsets: np.ndarray
    encoding: str
    stretch: Stretch = field(kw_only=True, default=WHOLE)

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
        line = self.stretch.lines + line_number(self.text, self.offsets[row])
        return f"row {self.stretch.rows + row + 1} (line {line})"


def decoded(
    name: str, content: bytes, encoding: str, codec: str | None = None, lines_before: int = 0
) -> tuple[bytes, str]:
    """Return `content` as UTF-8 bytes, and the name of the encoding that turns them back.

    Args:
        name: the file.
        content: its bytes, or whole lines of them.
        encoding: as it was named.
        codec: the encoding as it turned out at the file's start; None if `content` is the start.
        lines_before: how many lines of the file are before `content`.

    Raises:
        InputError: it is not text in the encoding, would not come back from it, or has a NUL byte.
        UsageError: the encoding is not known.
    """
    codec = codec or codec_of(content, encoding)
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        marked = None if lines_before or codec.startswith("utf-16") else marked_encoding(content)
        other = marked or ("latin-1" if codec == "utf-8" else "utf-8")
        raise InputError(
            f"{name}, line {lines_before + line_number(content, error.start)}: "
            f"byte 0x{content[error.start]:02x} is not {encoding} text.",
            f"Say which encoding the file has, such as --encoding {other}.",
        ) from error
    plain = content
    if codec.startswith(("utf-16", "utf-32")) and content and b"\0" not in content:  # which ends no line there
        raise InputError(
            f"{name} is not {encoding} text.", "Say which encoding the file has, such as --encoding utf-8."
        )
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
            f"{name}, line {lines_before + line_number(plain, nul)}: there is a NUL byte.",
            "Remove it; if the file is UTF-16, say --encoding utf-16.",
        )
    return plain, codec


def codec_of(content: bytes, encoding: str) -> str:
    """Return the codec that keeps a byte order mark as a character, by the first bytes: the mark has to come back.

    Raises:
        UsageError: the encoding is not known, or none of files.
    """
    try:
        "".encode(encoding)
        codec: str | None = codecs.lookup(encoding).name
    except (LookupError, ValueError):  # the latter of "undefined", and of a NUL
        codec = None
    if codec is None or codec in _OF_NAMES:
        raise UsageError(
            f'--encoding "{encoding}" is no known encoding of files.',
            "Common ones: utf-8, latin-1, cp1252, utf-16, shift_jis.",
        )
    if codec == "utf-8-sig":
        return "utf-8"
    if codec in {"utf-16", "utf-32"}:
        # Without a mark, the zeros of a plain letter tell.
        big = content.startswith((b"\xfe\xff", b"\0"))
        return f"{codec}-be" if big else f"{codec}-le"
    return codec


def line_number(text: bytes, offset: int) -> int:
    """Return the number, from 1, of the line that holds the byte at `offset`."""
    # NumPy counts what is as frequent as line ends faster than bytes do.
    feeds = int(np.count_nonzero(np.frombuffer(text, np.uint8, offset) == ord("\n"))) if offset else 0
    if text.find(b"\r", 0, offset) < 0:
        return feeds + 1
    return feeds + text.count(b"\r", 0, offset) - text.count(b"\r\n", 0, offset) + 1


def has_lone_returns(text: bytes) -> bool:
    """Return whether a CR stands anywhere without an LF after it."""
    return b"\r" in text and text.count(b"\r") != text.count(b"\r\n")


def line_offsets(text: bytes, lone_returns: bool = True) -> np.ndarray:
    """Return where lines start and, last, where the text ends (int64 [lines + 1]).

    Lines end at LF or CR LF, with `lone_returns` also at a CR alone, and nowhere else.
    """
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    if lone_returns and has_lone_returns(text):
        returns = np.flatnonzero(codes == ord("\r"))
        followed = np.append(codes, 0)[returns + 1] == ord("\n")
        ends = np.sort(np.concatenate([ends, returns[~followed]]))
    offsets = np.concatenate([np.zeros(1, np.int64), ends + 1])
    return offsets if offsets[-1] == len(text) else np.append(offsets, len(text))


@dataclass(frozen=True)
class Lines:
    """Lines of a text, from some line on; iterating gives where each starts, and the line.

    The first one of a file starts after a byte order mark; `before` lines of the file are before the text.
    `offsets` (int64 [lines + 1]) are where they start, and where the text ends. Fields are separated by `delimiter`,
    one character; where the text has a longer one instead, `written`, lines are given with `delimiter` in its place.
    Without a `quote`, fields are as they stand.
    """

    name: str
    text: bytes
    offsets: np.ndarray
    delimiter: str = ","
    written: str | None = None
    quote: str | None = '"'
    before: int = 0

    @property
    def start(self) -> int:
        """Where the first line starts."""
        first = int(self.offsets[0])
        return len(BOM) if first == 0 and not self.before and self.text.startswith(BOM) else first

    def __iter__(self) -> Iterator[tuple[int, str]]:
        start = self.start
        for stop in self.offsets[1:].tolist():
            yield start, self.parsed(start, stop).decode()
            start = stop

    def parsed(self, start: int, stop: int | None = None) -> bytes:
        """Return a piece of the text with the delimiter that parsers know."""
        piece = self.text[start:stop]
        return piece.replace(self.written.encode(), self.delimiter.encode()) if self.written else piece

    def reader(self) -> Any:
        """Return a csv.reader over the lines."""
        lines = (line for _, line in self)
        if self.quote is None:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        # Strict: an opening quote that is never closed would otherwise swallow the rest of the file.
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, strict=True)

    def number(self, index: int) -> int:
        """Return the number in the file, from 1, of the line at `index`."""
        return self.before + line_number(self.text, int(self.offsets[index]))
