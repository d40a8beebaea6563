"""Open a log to be read in parts, and tell whether it has to be."""

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import UsageError
from iadsr_cli.logs.files import is_several, log_files
from iadsr_cli.logs.formats import (
    Format,
    check_nameless,
    decompressing,
    format_of,
    format_of_file,
    half_the_memory,
    nameless,
    shown,
)
from iadsr_cli.logs.parts import PartedLog
from iadsr_cli.logs.source import readable
from iadsr_cli.logs.table_parts import TableParts, table_memory
from iadsr_cli.logs.text_parts import TextParts
from iadsr_cli.progress import Reporter

# Text decompressed at once, and bytes in memory for each of text: as it stands, and as fields.
_PIECE, _BYTES_PER_BYTE = 1 << 24, 2
# Ids, order, evidence and decisions of a row in memory, by rough measure.
_BYTES_PER_ROW = 1500


def open_parts(source: str, settings: LogSettings, reporter: Reporter) -> PartedLog:
    """Open a log to be read in parts.

    Raises:
        InputError: its files cannot be read or do not fit together, or its times cannot be used.
        UsageError: it is no file, or files, of this machine; or a setting does not fit it.
    """
    if not _has_files(source):
        raise UsageError(
            f"Only files of this machine can be cleaned in parts, and {shown(source)} is none.",
            "Save it to a file first, or take it into memory whole: --in-parts never, without --engine ray.",
        )
    format = _first_format(source, settings)
    check_nameless(format, source, settings.columns)
    if format.kind == "parquet":
        return TableParts.open(source, settings)
    return TextParts.open(source, settings, reporter)


def fills_memory(source: str, settings: LogSettings) -> bool:
    """Return whether a log, and what denoising makes of it, would fill half of this machine's memory; a rough guess.

    Text is read, and decompressed, until that is clear.

    Raises:
        InputError: a file cannot be read.
        UsageError: its format is not known.
    """
    if not _has_files(source):
        return False
    most = half_the_memory()
    paths = log_files(source, settings.format)
    if _first_format(source, settings).kind == "parquet":
        return sum(table_memory(path, _BYTES_PER_ROW) for path in paths) > most
    needed = 0
    for path in paths:
        format = format_of(str(path), settings.format)
        with readable(str(path)), path.open("rb") as file, decompressing(file, format.compression, str(path)) as read:
            while piece := read(_PIECE):
                rows = piece.count(b"\n") or piece.count(b"\r")
                needed += _BYTES_PER_BYTE * len(piece) + _BYTES_PER_ROW * rows
                if needed > most:
                    return True
    return False


def _has_files(source: str) -> bool:
    return source != "-" and (is_several(source) or not nameless(source))


def _first_format(source: str, settings: LogSettings) -> Format:
    return format_of_file(log_files(source, settings.format)[0], settings.format)
