"""Records over several lines of delimited text: texts with line breaks, or rows that stray quotes hold together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from iadsr_cli.logs.texts import Lines

# Of the lines of a record, so many have all fields where they are rows; of the records over several lines, so many are
# such where quotes quote nothing.
_NEARLY_ALL, _MOST = 0.75, 0.5


@dataclass(frozen=True)
class Spans:
    """The records of a text that take up several lines.

    Attributes:
        records: how many there are.
        glued: how many of them are of lines that each have all fields.
        hidden: how many of those lines do not begin a record.
        first: number in the file, from 1, of the line in which the first of those records begins; 0 where none does.
    """

    records: int = 0
    glued: int = 0
    hidden: int = 0
    first: int = 0


NO_SPANS = Spans()


def spans_of(lines: Lines, firsts: Sequence[int], end: int, fields: int) -> Spans:
    """Return which records take up several lines, blank ones aside.

    Args:
        lines: of the text.
        firsts: the first line of each record.
        end: how many lines the records and what is before them take up.
        fields: how many a record has.
    """
    if not firsts or end - firsts[0] == len(firsts):
        return NO_SPANS
    starts = np.array([*firsts, end])
    heads = np.frombuffer(lines.text, np.uint8)[lines.offsets[:end]]
    filled = (heads != ord("\n")) & (heads != ord("\r"))
    taken = np.add.reduceat(filled[starts[0] :], starts[:-1] - starts[0], dtype=np.int64)
    several = np.flatnonzero(taken > 1)
    glued = hidden = first = 0
    for record in several.tolist():
        edges = lines.offsets[starts[record] : starts[record + 1] + 1].tolist()
        if _are_rows(lines.text, edges, int(taken[record]), lines.delimiter.encode(), fields):
            glued, hidden = glued + 1, hidden + int(taken[record]) - 1
            first = first or lines.number(firsts[record])
    return Spans(len(several), glued, hidden, first)


def _are_rows(text: bytes, edges: list[int], taken: int, delimiter: bytes, fields: int) -> bool:
    """Return whether the lines between `edges`, `taken` of them not blank, look like rows though they are one."""
    others = (1 - _NEARLY_ALL) * taken
    blanks_first = None
    for start, stop in pairwise(edges):
        line = text[start:stop]
        if line[:1] in b"\r\n":
            continue
        # Ids have no blanks, as a rule, but what stands before the first comma of a sentence has.
        blanks = b" " in line.partition(delimiter)[0]
        blanks_first = blanks if blanks_first is None else blanks_first
        if line.count(delimiter) != fields - 1 or blanks > blanks_first:
            others -= 1
            if others < 0:
                return False
    return fields > 1


class Gluing:
    """Counts records of a log that may be rows glued together, file by file or piece by piece."""

    def __init__(self) -> None:
        """Begin with none."""
        self._records = self._glued = self._hidden = 0
        self._first: tuple[str, int, int] | None = None

    def add(self, name: str, spans: Spans, fields: int) -> None:
        """Look at more records, of the file `name`, with so many fields."""
        self._records += spans.records
        self._glued += spans.glued
        self._hidden += spans.hidden
        if spans.first and self._first is None:
            self._first = name, spans.first, fields

    def warning(self) -> str | None:
        """Return what is to be said of them; None where most records over several lines are as they should be."""
        if self._first is None or self._glued <= _MOST * self._records:
            return None
        name, line, fields = self._first
        records = "This record hides" if self._glued == 1 else f"{self._glued:,} such records hide"
        rows = "a row" if self._hidden == 1 else f"{self._hidden:,} rows"
        return (
            f"{name}, line {line}: a quote begins here and ends in a later line, but each of these lines has all "
            f"{fields} fields by itself. {records} {rows}: if quotes quote nothing here, add --quote-char none."
        )
