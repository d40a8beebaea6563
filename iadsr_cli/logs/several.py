"""The rows of several files of one format and schema, one file after the other."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError
from iadsr_cli.logs.files import partition_values
from iadsr_cli.logs.nulls import nulls
from iadsr_cli.logs.records import Records

_REMEDY = "Files of one log have the same columns: mend the file, or choose files with a quoted pattern such as '{}'."
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")


@dataclass(frozen=True, eq=False)
class SeveralRecords(Records):
    """Rows of several files. What folders say of them (`day=2024-01-01/`) is a column of its own, after the files'.

    `records` are the files' own rows, at least one; `paths` are the files' names below the log's folder.
    """

    records: tuple[Records, ...]
    paths: tuple[PurePath, ...]
    _partitions: dict[str, list[pa.Scalar]]
    _schema: pa.Schema | None = None

    @classmethod
    def of(cls, name: str, base: Path, records: Sequence[Records]) -> "SeveralRecords":
        """Put the rows of files below the folder `base` together.

        Raises:
            InputError: a file's partitions are not those of the first, or its columns are not (of text with a header),
                or no type holds the values of a column of all.
        """
        first = records[0]
        paths = [Path(one.name) for one in records]
        for one in records:
            check_columns(one.name, one.fixed, first.name, first.fixed)
        partitions = partition_columns(paths, base, [one.column_names for one in records])
        within = tuple(path.relative_to(base) for path in paths)
        return cls(name, first.format, tuple(records), within, partitions, type(first).joint_schema(records))

    @property
    def column_names(self) -> list[str]:
        """The columns: the files', in order of appearance, and the partitions."""
        return [*dict.fromkeys(column for one in self.records for column in one.column_names), *self._partitions]

    @property
    def decimal(self) -> str:
        """That of the files."""
        return self.records[0].decimal

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self._edges[-1]

    @property
    def partitions(self) -> list[str]:
        """The columns that stand in the names of folders and in no file."""
        return list(self._partitions)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows]; a partition's values are whole numbers if all look so, else text (large_string)."""
        if name not in self._partitions:
            if self._schema is None:
                return type(self.records[0]).joined(self.records, name)
            kind = self._schema.field(name).type
            columns = (_of_type(one, name, kind) for one in self.records)
            return pa.chunked_array([chunk for column in columns for chunk in column.chunks], kind)
        values = self._partitions[name]
        chunks = [pa.repeat(value, one.num_rows) for value, one in zip(values, self.records, strict=True)]
        return pa.chunked_array(chunks, values[0].type)

    @property
    def schema(self) -> pa.Schema | None:
        """The columns' types, where they have any: such as hold the values of all files."""
        if self._schema is None:
            return None
        partitions = [pa.field(name, values[0].type) for name, values in self._partitions.items()]
        return pa.schema([*self._schema, *partitions], self._schema.metadata)

    def kinds(self, name: str) -> set[type]:
        """Return the Python types of a column's values where the format leaves them open, null left out."""
        return set() if name in self._partitions else set().union(*(one.kinds(name) for one in self.records))

    def load(self, names: Iterable[str]) -> None:
        """Make several columns ready at once, for `column` to return."""
        own = [name for name in names if name not in self._partitions]
        for one in self.records:
            one.load(own)

    def files(self) -> Iterator[tuple[Records, slice]]:
        """Yield the records of each file, with the numbers that its rows have here."""
        for one, (start, stop) in zip(self.records, pairwise(self._edges), strict=True):
            yield one, slice(start, stop)

    def place(self, row: int) -> str:
        """Return where row `row` (from 0) is: its place in its file, and which that is."""
        for (one, rows), path in zip(self.files(), self.paths, strict=True):
            if row < rows.stop:
                return f"{one.place(row - rows.start)} of {path}"
        raise IndexError(row)

    @cached_property
    def _edges(self) -> list[int]:
        """The number of each file's first row, and last that of all rows."""
        return list(accumulate((one.num_rows for one in self.records), initial=0))


def _of_type(records: Records, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column in another type that holds its values; nulls where the file has no such column."""
    if name not in records.column_names:
        return nulls(records.num_rows, kind)
    return pc.cast(records.column(name), kind)


def _keys(values: dict[str, str | None]) -> str:
    return "/".join(f"{key}=" for key in values) or "no partition"


def partition_columns(paths: Sequence[Path], base: Path, own: Sequence[Collection[str]]) -> dict[str, list[pa.Scalar]]:
    """Return what the folders say that files below the folder `base` lie in: of each file, by column.

    A column of the files' own, of each file one collection, is left out: they are the better witness.

    Raises:
        InputError: a file does not lie in folders for the same columns as the first, or has no such column, which
            another has as its own.
    """
    folders = [partition_values(path, base) for path in paths]
    for path, values in zip(paths, folders, strict=True):
        _check_partitions(path, values, paths[0], folders[0], base)
    outside = []
    for name in folders[0]:
        having = [path for path, columns in zip(paths, own, strict=True) if name in columns]
        lacking = [path for path, columns in zip(paths, own, strict=True) if columns and name not in columns]
        if having and lacking:
            raise mismatch(str(lacking[0]), f'has no column "{name}", which {having[0]} has beside its folder\'s')
        if not having:
            outside.append(name)
    return {name: _typed([values[name] for values in folders]) for name in outside}


def _typed(values: Sequence[str | None]) -> list[pa.Scalar]:
    """Return one column's values: whole numbers if all look so, else text (large_string)."""
    numbers = all(value is None or _WHOLE_NUMBER.fullmatch(value) for value in values)
    kind, make = (pa.int64(), int) if numbers and any(values) else (pa.large_string(), str)
    return [pa.scalar(None if value is None else make(value), kind) for value in values]


def _check_partitions(
    path: Path, values: dict[str, str | None], first: Path, expected: dict[str, str | None], base: Path
) -> None:
    if list(values) != list(expected):
        raise InputError(
            f"{path} lies in {_keys(values)}, {first} in {_keys(expected)}.",
            _REMEDY.format(base / "*=*" / f"*{path.suffix}"),
        )


def check_columns(name: str, columns: Sequence[str], first: str, expected: Sequence[str]) -> None:
    """Check that a file has the columns of the first one, in their order.

    Raises:
        InputError: if it has not.
    """
    missing = next((column for column in expected if column not in columns), None)
    added = next((column for column in columns if column not in expected), None)
    if missing is not None:
        raise mismatch(name, f'has no column "{missing}", which {first} has')
    if added is not None:
        raise mismatch(name, f'has a column "{added}", which {first} has not')
    for column, place in zip(columns, expected, strict=True):
        if column != place:
            raise mismatch(name, f'has column "{column}" where {first} has "{place}"')


def mismatch(name: str, wrong: str) -> InputError:
    """Return the error of a file of that name, of which something is `wrong` beside the others."""
    return InputError(f"{name} {wrong}.", _REMEDY.format("logs/2024-*" + Path(name).suffix))
