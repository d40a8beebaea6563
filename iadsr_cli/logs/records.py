"""The rows of a file as they stand in it, whatever its format."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from iadsr_cli.errors import InputError


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


def check_names(columns: Sequence[str], name: str) -> None:
    """Check that no two columns of the file `name` are called the same.

    Raises:
        InputError: naming the column.
    """
    for column, count in Counter(columns).items():
        if count > 1:
            raise InputError(
                f'{name} has {count} columns named "{column}".',
                "Rename all but one: columns are found by their names.",
            )
