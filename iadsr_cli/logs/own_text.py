"""Rows of text in the log's own format: the text of the kept records, unchanged."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from iadsr_cli.logs.delimited import DelimitedRecords
from iadsr_cli.logs.formats import BOM, DELIMITERS, Format
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.schema import with_types
from iadsr_cli.logs.spelling import cells, json_values, quoted
from iadsr_cli.logs.texts import TextRecords


def same_text(records: TextRecords, target: Format) -> bool:
    """Return whether records can stand in a file of a format as they are."""
    if isinstance(records, DelimitedRecords) and target.delimited:
        usual = records.quote == '"' and records.delimiter == DELIMITERS.get(target.kind)
        return usual or records.format.kind == target.kind
    return records.format.kind == target.kind


def with_partitions(records: Records, keep: np.ndarray, extra: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Return the columns that are added to the selected records: what folders say of them, and `extra`."""
    chosen = pa.array(keep)
    partitions = {name: records.column(name).filter(chosen).combine_chunks() for name in records.partitions}
    return {**partitions, **extra}


class OwnText:
    """The text of one file's or several files' records, each ended where the next one begins."""

    def __init__(self, first: TextRecords, added: Mapping[str, pa.DataType]) -> None:
        """Begin with the header of the first file's first records, and the names of added columns."""
        header = _header(first, with_types(added, first.column_names))
        self._first = first
        self._last: bytes | memoryview = header.removeprefix(BOM)
        self.header = first.encoded(header)

    def of(
        self, records: TextRecords, keep: np.ndarray, added: Mapping[str, pa.Array], line_end: bytes
    ) -> Iterator[bytes | memoryview]:
        """Yield the text of the records where `keep` (bool [rows]) is true.

        Args:
            records: those of the next file, or the next ones of the same.
            keep: which of them.
            added: columns that are added, a value for each selected record.
            line_end: what ends a record that is the last of its file and not ended.
        """
        if keep.any() and self._last and bytes(self._last[-1:]) not in b"\r\n":
            yield self._first.encoded(line_end)
        for self._last in _chosen(records, keep, added):
            yield self._first.encoded(self._last)


def _header(records: TextRecords, names: Sequence[str]) -> bytes:
    """Return what stands before the first record, with the names of extra fields if it names any."""
    header = records.header
    if isinstance(records, DelimitedRecords) and header.removeprefix(BOM).strip(b"\r\n"):
        return _with_cells(header, names, records)
    return header


def _chosen(records: TextRecords, keep: np.ndarray, extra: Mapping[str, pa.Array]) -> Iterator[bytes | memoryview]:
    if not extra:
        yield from records.runs(keep)
        return
    delimited = isinstance(records, DelimitedRecords)
    columns = [cells(column) if delimited else json_values(column) for column in extra.values()]
    for row, values in zip(np.flatnonzero(keep).tolist(), zip(*columns, strict=True), strict=True):
        text = records.record(row)
        if isinstance(records, DelimitedRecords):
            yield _with_cells(text, values, records)
        else:
            yield _with_keys(text, dict(zip(extra, values, strict=True)))


def _with_cells(text: bytes, values: Iterable[str], records: DelimitedRecords) -> bytes:
    """Return a delimited record with more fields before its line ending."""
    body = text.rstrip(b"\r\n")
    fields = "".join(records.delimiter + quoted(value, records.delimiter, records.quote) for value in values)
    return body + fields.encode() + text[len(body) :]


def _with_keys(text: bytes, values: dict[str, Any]) -> bytes:
    """Return a JSON object with more keys before its closing brace."""
    body = text.rstrip()[:-1]
    members = json.dumps(values, ensure_ascii=False)[1:-1].encode()
    comma = b"" if body.rstrip().endswith(b"{") else b", "
    return body + comma + members + text[len(body) :]
