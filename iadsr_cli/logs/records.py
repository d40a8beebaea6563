"""The rows of a file as they stand in it, whatever its format."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from iadsr_cli.errors import InputError
from iadsr_cli.logs.formats import Format, headerless


@dataclass(frozen=True, eq=False)
class Records(ABC):
    """The rows of a log, in its order. `name` is the file as messages show it, `format` is the file's."""

    name: str
    format: Format

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

    @property
    def fixed(self) -> list[str]:
        """The columns that every file of a log has to have, in their order."""
        return []

    @property
    def schema(self) -> pa.Schema | None:
        """The columns' types, where they have any."""
        return None

    @property
    def decimal(self) -> str:
        """What stands between the whole and the fraction of a number that is written as text."""
        return "."

    @property
    def halves(self) -> set[str]:
        """The loaded columns with an escaped half of a surrogate pair, which is no character; only JSON has them."""
        return set()

    def kinds(self, name: str) -> set[type]:
        """Return the Python types of a column's values where the format leaves them open, null left out."""
        return set()

    def mistakable(self, name: str) -> int | None:
        """Return the first row of a column whose string reads as a value of another kind; only JSON tells the two."""
        return None

    def load(self, names: Iterable[str]) -> None:  # noqa: B027 (most formats parse all columns at once)
        """Make several columns ready at once, for `column` to return."""

    @classmethod
    def joint_schema(cls, files: "Sequence[Records]") -> pa.Schema | None:
        """Return the types of the columns of several files of this kind together, where they have any.

        Raises:
            InputError: there are none that hold the values of all.
        """
        return None

    @classmethod
    def joined(cls, files: "Sequence[Records]", name: str) -> pa.ChunkedArray:
        """Return one column of several files of this kind, one file's rows after the other's."""
        columns = [file.column(name) for file in files]
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)

    def files(self) -> "Iterator[tuple[Records, slice]]":
        """Yield the records of each file, with the numbers that its rows have here."""
        yield self, slice(0, self.num_rows)

    @property
    def partitions(self) -> list[str]:
        """The columns that stand in the names of folders and in no file."""
        return []

    def place(self, row: int) -> str:
        """Return where row `row` (from 0) is, for people: they count from 1."""
        return f"row {row + 1}"


def check_names(columns: Sequence[str], name: str, remedy: str | None = None) -> None:
    """Check that no two columns of the file `name` are called the same.

    Raises:
        InputError: naming the column, and what to do about it: the `remedy`, where one is known.
    """
    for column, count in Counter(columns).items():
        if count > 1:
            raise InputError(
                f'{name} has {count} columns named "{column}".',
                remedy or headerless(columns, name) or "Rename all but one: columns are found by their names.",
            )
