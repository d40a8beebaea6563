"""Which format a file has, by its name or by its first bytes; and the compression around it."""

import codecs
import contextlib
import gzip
import io
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

import pyarrow as pa

from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.source import readable

Kind = Literal["csv", "tsv", "dat", "parquet", "jsonl"]
Compression = Literal["none", "gzip", "zstd"]

DELIMITERS: dict[str, str] = {"csv": ",", "tsv": "\t"}

# RecBole's atomic files are tab-separated text. "dat" is delimited text whose delimiter no extension tells.
_KIND_OF: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".inter": "tsv",
    ".item": "tsv",
    ".dat": "dat",
    ".data": "dat",
    ".txt": "dat",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",  # what Amazon's reviews are called
}
_COMPRESSION_OF: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_PARQUET_MAGIC = b"PAR1"
BOM = b"\xef\xbb\xbf"
# Byte order marks of other encodings; that of UTF-32 begins with that of UTF-16.
_MARKS = {"utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)}
# What stands before the first character of text: marks, blanks, and the zeros of wide characters.
_BLANK = BOM + codecs.BOM_UTF16 + b" \t\r\n\0"
# An object, or a list of some, which cannot be read either.
_JSON = re.compile(rb"\{|\[[\s\0]*[\[{]")
# What no column is called: a number, a date, whatever has a time of day in it, a UUID, a long number in hexadecimal.
_VALUE = re.compile(
    r"""[+-]? \d+ ([.,]\d+)?
    | \d{4} ([-/.]) \d\d? \2 \d\d? ([T\ ].*)?
    | \d\d? ([-/.]) \d\d? \4 (\d\d | \d{4}) (\ .*)?
    | (.*[T\ :])? \d\d?:\d\d (:\d\d)? (\D.*)?
    | \{? [\da-f]{8} (-[\da-f]{4}){3} -[\da-f]{12} \}?
    | (?=\D*\d) [\da-f]{16,}""",
    re.IGNORECASE | re.VERBOSE,
)
# What cannot be read, by its first bytes, and what unpacks a file of it and what comes through a pipe.
_ARCHIVES = (
    (re.compile(rb"PK\x03\x04"), "a zip archive", "unzip", "unzip -p"),
    (re.compile(rb"BZh[1-9](1AY&|\x17rE8)"), "compressed by bzip2", "bunzip2", "bzip2 -dc"),
    (re.compile(rb"\xfd7zXZ\0"), "compressed by xz", "unxz", "xz -dc"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive", "7z x", "7z x -so"),
    (re.compile(rb".{257}ustar[ \0]", re.DOTALL), "a tar archive", "tar -xf", "tar -xO"),
)
_SHEET = re.compile(
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1|PK\x03\x04.{26}(\[Content_Types\]|_rels/|xl/|mimetype)", re.DOTALL
)
# Bytes that tell all of these.
_HEAD = 512
# Bytes decompressed at once.
_PIECE = 1 << 26


@dataclass(frozen=True)
class Format:
    """The format of a file: what is in it, and what is around it (a Parquet file compresses itself)."""

    kind: Kind
    compression: Compression = "none"

    @property
    def delimited(self) -> bool:
        """Whether records are fields with a delimiter between them."""
        return self.kind == "dat" or self.kind in DELIMITERS

    def __str__(self) -> str:
        """Return the format as messages show it."""
        return self.kind if self.compression == "none" else f"{self.kind} in {self.compression}"


def shown(source: str) -> str:
    """Return the name of a source as messages show it."""
    return "standard input" if source == "-" else source


def nameless(path: str) -> bool:
    """Return whether `path` is something that is there and no ordinary file: a device, a pipe or a folder."""
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False


def format_of(source: str, override: str = "auto", content: bytes | None = None, option: str = "--format") -> Format:
    """Return the format of the file `source`.

    The extension decides; `override` (a kind, or "auto") takes the place of the kind. Where there is no name
    to go by (standard input, a pipe) hand the bytes as `content`: they are looked at instead. `option` is what
    would have said it, for the message.

    Raises:
        InputError: by the bytes it is something that cannot be read.
        UsageError: the extension is not known and `override` is "auto".
    """
    if content is not None:
        return _sniff(source, override, content)
    format = named_format(source, override)
    if format is None:
        raise unknown_format(source, option)
    return _checked(source, format)


def format_of_file(path: Path, override: str = "auto") -> Format:
    """Return the format of a file of this machine that is to be read, as `format_of` does, after a look into it.

    Raises:
        InputError: it is not there, or something that cannot be read, whatever its name says.
        UsageError: the extension is not known and `override` is "auto".
    """
    with readable(str(path)), path.open("rb") as file:
        head = file.read(_HEAD)
        compression = compression_of(head)
        check_foreign(str(path), head)
        if compression != "none" and named_format(path.name, override) is None:
            file.seek(0)
            with decompressing(file, compression, str(path)) as read:
                check_foreign(str(path), read(_HEAD))
    return format_of(str(path), override)


def unknown_format(source: str, option: str) -> UsageError:
    """Return the error for a file whose name does not tell its format; `option` is what would have."""
    known = ", ".join(extension for extension, kind in _KIND_OF.items() if kind != "dat")
    return UsageError(
        f"The format of {source} cannot be told from its name.",
        f"Known extensions: {known} (text also with .gz or .zst). "
        f"Otherwise say it with {option} csv, tsv, parquet or jsonl.",
    )


def named_format(source: str, override: str = "auto") -> Format | None:
    """Return the format that a file's name tells, with the kind `override` unless "auto"; None if it tells none."""
    suffixes = [suffix.lower() for suffix in Path(source).suffixes]
    compression: Compression = "none"
    if suffixes and suffixes[-1] in _COMPRESSION_OF:
        compression = _COMPRESSION_OF[suffixes.pop()]
    kind = _kind(override) or _KIND_OF.get(suffixes[-1] if suffixes else "")
    return None if kind is None else Format(kind, compression)


def has_names(source: str) -> bool:
    """Return whether a file's name says that its columns have names whatever it holds: Parquet and JSON."""
    known = named_format(source)
    return known is not None and known.kind in {"parquet", "jsonl"}


def check_nameless(format: Format, name: str, columns: str | None) -> None:
    """Check that columns are given names by --columns only where they may have none.

    Raises:
        UsageError: they are, and the file is Parquet or JSON.
    """
    if columns is not None and not format.delimited:
        raise UsageError(
            f"--columns names the columns of delimited text, but {name} is {format}.",
            "Leave it out: columns have names there.",
        )


def headerless(columns: Iterable[str], source: str) -> str | None:
    """Return what to do where the names of columns look like a record's values, as some do; else None."""
    if has_names(source) or not any(_VALUE.fullmatch(name.strip()) for name in columns):
        return None
    return (
        "The first line looks like a record, not like names: give it and its fields some with --no-header --columns, "
        "as in user_id,item_id,..."
    )


def extension(name: str) -> str:
    """Return the extension of a file's name, with that of the compression around it: ".csv.gz"; "" for none."""
    path = Path(name)
    return Path(path.stem).suffix + path.suffix if path.suffix.lower() in _COMPRESSION_OF else path.suffix


def _kind(override: str) -> Kind | None:
    return next((kind for kind in get_args(Kind) if kind == override), None)


def _checked(source: str, format: Format) -> Format:
    if format.kind == "parquet" and format.compression != "none":
        raise UsageError(
            f"{shown(source)} is Parquet inside {format.compression}, which is not read or written.",
            "Parquet compresses itself: use a plain .parquet file.",
        )
    return format


def compression_of(content: bytes) -> Compression:
    """Return the compression that the first bytes of a file announce."""
    return next((name for magic, name in _MAGIC.items() if content.startswith(magic)), "none")


def marked_encoding(content: bytes) -> str | None:
    """Return the encoding that a byte order mark other than that of UTF-8 tells, or None."""
    return next((encoding for encoding, marks in _MARKS.items() if content.startswith(marks)), None)


def _sniff(source: str, override: str, content: bytes) -> Format:
    check_foreign(source, content)
    compression = compression_of(content)
    kind = _kind(override)
    if kind is None and content.startswith(_PARQUET_MAGIC):
        kind = "parquet"
    if kind is None:
        plain = decompressed(content, compression, source)
        check_foreign(source, plain)
        head = plain.lstrip(_BLANK)
        header = head.partition(b"\n")[0]
        kind = "jsonl" if _JSON.match(head) else "tsv" if b"\t" in header else "csv"
    return _checked(source, Format(kind, compression))


def check_foreign(source: str, content: bytes) -> None:
    """Check that a file, by its first bytes, is nothing that has to be unpacked or exported before it can be read.

    Raises:
        InputError: it is; with what does that.
    """
    if _SHEET.match(content):
        raise InputError(f"{shown(source)} is a spreadsheet, which is not read.", "Export its sheet as CSV first.")
    for magic, kind, of_file, of_pipe in _ARCHIVES:
        if magic.match(content):
            if source == "-" or nameless(source):
                how = f"before the pipe: {of_pipe} FILE"
            else:
                how = f"first: {of_file} {shlex.quote(Path(source).name)}"
            raise InputError(f"{shown(source)} is {kind}, which is not read.", f"Unpack it {how}.")


def check_content(source: str, format: Format, content: bytes) -> None:
    """Check that a text file is not something else under a text file's name.

    Raises:
        InputError: the bytes are compressed where the name says plain text, or are Parquet or what is not read at all.
    """
    check_foreign(source, content)
    found = "Parquet" if content.startswith(_PARQUET_MAGIC) else compression_of(content)
    if found == "none":
        return
    remedy = {"gzip": "Give it the extension .gz.", "zstd": "Give it the extension .zst."}
    raise InputError(
        f"{shown(source)} was taken for {format}, but what is in it is {found}.",
        remedy.get(found, "Give it the extension .parquet or say --format parquet."),
    )


def decompressed(content: bytes, compression: Compression, source: str) -> bytes:
    """Return `content` without the compression around it.

    Raises:
        InputError: the compressed data is broken or ends too early, or is more than text can be in memory.
    """
    if compression == "none":
        return content
    plain, most = io.BytesIO(), half_the_memory()
    with decompressing(pa.BufferReader(content), compression, source) as read:
        while plain.tell() <= most and (piece := read(_PIECE)):
            plain.write(piece)
    if plain.tell() > most:
        raise too_much_text(source, " when decompressed")
    return plain.getvalue()


@contextlib.contextmanager
def decompressing(
    file: pa.NativeFile | IO[bytes], compression: Compression, source: str
) -> Iterator[Callable[[int], bytes]]:
    """Yield what reads so many bytes more, or as many as there are, of the file without the compression around it.

    Raises:
        InputError: the compressed data is broken or ends too early.
    """
    if compression == "none":
        yield file.read
        return

    def read(size: int) -> bytes:
        try:
            # A `read` that fails would never give its memory back.
            content: bytes = stream.read_buffer(size).to_pybytes()
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{shown(source)} cannot be decompressed: its {compression} data is broken or cut off.",
                "Copy or download it again; a good copy is needed.",
            ) from error
        return content

    # Arrow's streams, unlike zstandard's, say so when the data ends in the middle of a frame.
    with pa.CompressedInputStream(file, compression) as stream:
        yield read


def too_much_text(source: str, when: str = "") -> InputError:
    """Return the error of a text log that is too large."""
    return InputError(
        f"{shown(source)} is more than {half_the_memory() / 2**30:,.1f} GiB{when}, half of this machine's memory, "
        "where text has to fit.",
        "Take a part of it; iadsr denoise cleans files of any size in parts: --in-parts always.",
    )


def half_the_memory() -> int:
    """Return how many bytes are half of this machine's memory: more of a log are not taken into it.

    Where the system does not tell (Windows), any number is.
    """
    if sys.platform == "win32":
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@contextlib.contextmanager
def compressing(file: IO[bytes], compression: Compression) -> Iterator[IO[bytes]]:
    """Yield a file whose bytes go into `file` compressed; the same bytes in give the same bytes out."""
    if compression == "gzip":
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as stream:
            yield stream  # type: ignore[misc]
    elif compression == "zstd":
        import zstandard

        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as stream:
            yield stream
    else:
        yield file
