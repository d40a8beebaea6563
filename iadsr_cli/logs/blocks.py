"""The records of a text file that is never whole in memory: block after block of its text, cut between records."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.delimited import DelimitedRecords
from iadsr_cli.logs.formats import Format, check_content, decompressing
from iadsr_cli.logs.jsonlines import JsonRecords
from iadsr_cli.logs.source import readable
from iadsr_cli.logs.texts import Stretch, TextRecords, codec_of, decoded, line_number

# Bytes read at once, and those of the longest record.
BLOCK = 1 << 24
_LONGEST = 1 << 28
# What bytes mean in these depends on those before them, or a line end is none: text cannot be cut.
_UNCUT = ("iso2022", "hz", "utf7", "unicodeescape", "rawunicodeescape")


@dataclass(frozen=True)
class TextFile:
    """A text file, read in blocks.

    Attributes:
        path: the file.
        format: what it is.
        settings: how it is read.
    """

    path: Path
    format: Format
    settings: LogSettings

    def blocks(
        self, columns: tuple[str, ...] | None = None, wanted: Sequence[str] | None = None
    ) -> Iterator[TextRecords]:
        """Yield the file's records, as many at once as are in about `BLOCK` bytes; without any, its header alone.

        Args:
            columns: the names of the columns, where the file was read before; it is then checked less.
            wanted: of delimited text, the columns that are made ready; None for all.

        Raises:
            InputError: the file or a record cannot be read.
            UsageError: a setting does not fit the file.
        """
        stretch = Stretch(columns=columns if self.format.kind == "jsonl" else None)
        rest = b""
        with _lines(self) as lines:
            while True:
                text = rest + lines.read(max(BLOCK, len(rest)))
                stretch = Stretch(stretch.rows, stretch.lines, stretch.columns, lines.more)
                records = self._records(text, lines.codec, stretch, wanted)
                rest = text
                if records.num_rows or not stretch.more:
                    yield records
                    if not stretch.more:
                        return
                    end = int(records.offsets[-1])
                    stretch = Stretch(
                        stretch.rows + records.num_rows,
                        stretch.lines + line_number(text, end) - 1,
                        tuple(records.column_names) if self.format.delimited else columns,
                    )
                    rest = text[end:]
                elif len(text) > _LONGEST:
                    raise self._unended(text, lines.codec, stretch)

    def _records(
        self, text: bytes, encoding: str, stretch: Stretch, wanted: Sequence[str] | None = None
    ) -> TextRecords:
        name = str(self.path)
        if self.format.kind == "jsonl":
            return JsonRecords.of_text(name, text, encoding, self.format, stretch)
        return DelimitedRecords.of_text(name, text, encoding, self.format, self.settings, stretch, wanted)

    def _unended(self, text: bytes, encoding: str, stretch: Stretch) -> InputError:
        """Return the error of a record that is not whole in so much text: most often its quote is never closed."""
        try:
            self._records(text, encoding, Stretch(stretch.rows, stretch.lines, stretch.columns))
        except InputError as error:
            return error
        return _too_long(str(self.path), stretch.lines + 1)


def _too_long(name: str, line: int) -> InputError:
    return InputError(
        f"{name}, line {line}: a record, with the blank lines after it, is longer than {_LONGEST >> 20} MiB.",
        "Mend the file; if it is as it should be, take it into memory whole: --in-parts never.",
    )


class _Lines:
    """The lines of a file, decompressed and in UTF-8, read from the start to the end."""

    def __init__(self, file: TextFile, stream: pa.NativeFile) -> None:
        """Begin; `stream` are the file's bytes."""
        self._file, self._stream, self._rest = file, stream, b""
        self._codec: str | None = None
        self._before = 0
        self.more = True

    @property
    def codec(self) -> str:
        """The encoding, as it turned out at the start."""
        assert self._codec is not None
        return self._codec

    def read(self, size: int) -> bytes:
        """Return about `size` bytes more, or what there is: whole lines; `more` says whether any may follow."""
        name, encoding = str(self._file.path), self._file.settings.encoding
        content, end = self._rest, 0
        while self.more and not end:
            piece = self._stream(max(size - len(content), size // 2, 1))
            self.more = bool(piece)
            content += piece
            if self._codec is None and (len(content) >= 8 or not self.more):
                check_content(name, self._file.format, content)
                self._codec = codec_of(content, encoding)
                _check_cut(name, encoding, self._codec)
            if self._codec is not None and self.more:
                end = _last_line_end(content, self._codec, returns=self._file.format.delimited)
            size = len(content)
            if self.more and not end and size > _LONGEST:
                raise _too_long(name, self._before + 1)
        end = end if self.more else len(content)
        text, self._codec = decoded(name, content[:end], encoding, self.codec, self._before)
        self._rest = content[end:]
        self._before += line_number(text, len(text)) - 1
        return text


@contextlib.contextmanager
def _lines(file: TextFile) -> Iterator[_Lines]:
    name = str(file.path)
    with readable(name), file.path.open("rb") as raw, decompressing(raw, file.format.compression, name) as read:
        yield _Lines(file, read)


def _check_cut(name: str, encoding: str, codec: str) -> None:
    if codec.replace("_", "").replace("-", "").startswith(_UNCUT):
        raise UsageError(
            f"{name} is cleaned in parts, and text in {encoding} cannot be cut into parts.",
            f"Convert it first: iconv -f {encoding} -t utf-8. Or take it into memory whole: --in-parts never.",
        )


def _last_line_end(content: bytes, codec: str, *, returns: bool) -> int:
    """Return where the last line ends that surely ends in `content`; 0 if none does. With `returns`, CR may end one."""
    end = _after_last(content, "\n".encode(codec))
    if not end and returns:
        # Where there is no LF at all, one may follow the very last CR.
        mark = "\r".encode(codec)
        end = _after_last(content[: -len(mark)], mark)
    return end


def _after_last(content: bytes, mark: bytes) -> int:
    width, at = len(mark), content.rfind(mark)
    while at >= 0 and at % width:
        at = content.rfind(mark, 0, at + width - 1)
    return at + width if at >= 0 else 0
