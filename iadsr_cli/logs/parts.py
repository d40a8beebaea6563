"""A log that is never whole in memory: a file, or those of a folder, read part by part."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError
from iadsr_cli.logs.files import base_folder, is_several
from iadsr_cli.logs.formats import Format
from iadsr_cli.logs.listed import warning_of_histories, warning_of_lists
from iadsr_cli.logs.reader import ItemTexts, texts_of
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.schema import Roles
from iadsr_cli.logs.sessions import check_gap, seconds_of
from iadsr_cli.logs.several import SeveralRecords, partition_columns
from iadsr_cli.logs.source import Source
from iadsr_cli.logs.time_role import find_times, likely_time
from iadsr_cli.logs.times import Reading, TimeColumn, read_times
from iadsr_cli.logs.values import canonical_ids, first, missing_ids, without_times
from iadsr_cli.progress import Reporter

# Rows read, scored and written at once.
BATCH = 1 << 20
# Rows by which it is told whether a column describes items.
_HEAD = 1 << 16


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a log.

    Attributes:
        first: number of the first one.
        users: canonical ids, large_string [n], null where missing.
        items: the same, and null where the time is missing.
        order: comparable times, int64 [n], or None: then the order is the file's.
        seconds: the times in seconds, float64 [n], where sessions are to be told by them, else None.
        timeless: which rows have both ids and no time, bool [n].
        records: the rows, with the columns that were asked for.
    """

    first: int
    users: pa.Array
    items: pa.Array
    order: np.ndarray | None
    seconds: np.ndarray | None
    timeless: np.ndarray
    records: Records


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file of a log, as they are to be given back.

    Attributes:
        file: number of the file.
        first: number of the first row in the log.
        records: the rows.
    """

    file: int
    first: int
    records: Records


@dataclass(frozen=True)
class PartedLog(ABC):
    """A log, read in parts.

    Attributes:
        source: the log, as it was named.
        roles: which column is what.
        settings: how it is read.
        reading: how its times are read, which all of them tell together; None without times.
    """

    source: str
    roles: Roles
    settings: LogSettings
    reading: Reading | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Check that there are rows, and read all times to tell which column they are in, and how they are read.

        Raises:
            InputError: there are no rows, or a time is missing or cannot be read.
            UsageError: several columns could be the time, or sessions are wanted, and there are no times.
        """
        if not self.num_rows:
            raise InputError(f"{self.source} has no rows.", "Give a log with at least one interaction.")
        roles, reading = find_times(self.roles, self.column_names, self.settings, self.source, self._times)
        object.__setattr__(self, "roles", roles)
        object.__setattr__(self, "reading", reading)
        if self.settings.gap is not None:
            check_gap(roles.time, self.source)

    @property
    def name(self) -> str:
        """The log, as messages show it."""
        return self.source

    @property
    @abstractmethod
    def format(self) -> Format:
        """The format of its files."""

    @property
    @abstractmethod
    def paths(self) -> list[tuple[Path, Path | None]]:
        """Its files in order, at least one, each with its name below the log's folder; None if it is the log."""

    @property
    @abstractmethod
    def partitions(self) -> list[str]:
        """The columns that stand in the names of folders and in no file."""

    @property
    @abstractmethod
    def column_names(self) -> list[str]:
        """The column names: the files' own in their order, and the partitions."""

    @property
    def num_files(self) -> int:
        """How many files there are."""
        return len(self.paths)

    @property
    def time_description(self) -> str | None:
        """How the times are read, for people; None without times."""
        if self.reading is None:
            return None
        return read_times(next(self._times(str(self.roles.time))), self.reading).description

    def likely_time(self) -> str | None:
        """Return the column that the times seem to be in by its first rows, if any: for people, where none is used."""

        def first_rows(name: str) -> TimeColumn:
            return next(each for each in self._times(name) if each.records.num_rows)

        return likely_time(self.roles, self.column_names, first_rows)

    def warnings(self) -> list[str]:
        """Return what may not be as the user believes."""
        doubt = None if self.reading is None else self.reading.doubt(str(self.roles.time))
        lists = None
        with suppress(InputError):  # of ids that cannot be used, which is said where they are
            lists = warning_of_lists(self.roles.item, self._first_items())
        before = warning_of_histories(self.column_names, self.roles)
        return [warning for warning in (doubt, lists, before) if warning]

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def sources(self) -> list[Source]:
        """Return the files, by their bytes."""

    @abstractmethod
    def key(self) -> list[Any]:
        """Return what the rows depend on besides the files' bytes."""

    @abstractmethod
    def pieces(self, with_columns: bool = False) -> Iterator[Piece]:
        """Yield all rows in the log's order, to be given back as they stand or, `with_columns`, in another format."""

    @abstractmethod
    def records(self, columns: Sequence[str] | None) -> Iterator[tuple[int, Records]]:
        """Yield the number of the first row, and rows with some columns, or all."""

    def item_texts(self, reporter: Reporter) -> ItemTexts:
        """Return the texts of all items, as `Log.item_texts` does; what guessed columns are, the first rows tell.

        Raises:
            InputError: an item id cannot be used, or a text column holds values that are not text.
        """
        columns, rejected = self.roles.text, None
        if columns and not self.settings.text_column:
            head, items = self._head(columns)
            guessed = texts_of(head, columns, items, self.settings.missing, check=True)
            columns, rejected = guessed.columns, guessed.rejected
        found: dict[str, str | None] = {}
        several: set[str] = set()
        with reporter.stage("texts" if columns else "items", self.num_rows, "rows") as stage:
            for _, records in self._with_items(columns):
                texts = texts_of(records, columns, self._ids(records, "item"), self.settings.missing)
                several |= texts.several
                for item, text in zip(texts.ids, texts.texts, strict=True):
                    known = found.get(item)
                    if known is None:
                        found[item] = text
                    elif text not in {None, known}:
                        several.add(item)
                stage.advance(records.num_rows)
        return ItemTexts(list(found), list(found.values()), columns, frozenset(several), rejected)

    def _with_items(self, columns: Sequence[str]) -> Iterator[tuple[int, Records]]:
        return self.records([self.roles.item, *columns])

    def _head(self, columns: Sequence[str]) -> tuple[Records, pa.Array]:
        """Return the first rows, `_HEAD` or more if there are so many, in whatever parts they come; and their items."""
        parts: list[Records] = []
        ids: list[pa.Array] = []
        for start, records in self._with_items(columns):
            parts.append(records)
            ids.append(self._ids(records, "item"))
            if start + records.num_rows >= _HEAD:
                break
        return SeveralRecords(self.name, self.format, tuple(parts), (), {}), pa.concat_arrays(ids)

    def _first_items(self) -> pa.Array:
        """Return the items of the first rows, as `_head` does, and null where they are missing."""
        ids: list[pa.Array] = []
        for start, records in self._with_items([]):
            ids.append(canonical_ids(records, self.roles.item, "item", "keep", self.settings.missing))
            if start + records.num_rows >= _HEAD:
                break
        return pa.concat_arrays(ids)

    def values(self, column: str, role: str) -> Counter[str]:
        """Return how often each value of a column occurs, as canonical ids of a role."""
        found: Counter[str] = Counter()
        for _, records in self.records([column]):
            counts = pc.value_counts(canonical_ids(records, column, role, null_ids="keep").drop_null())
            found.update(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
        return found

    def parts(self, with_columns: bool = False) -> Iterator[Part]:
        """Yield all rows in the log's order; `with_columns`, with all columns.

        Raises:
            InputError: a value in it cannot be used, or it cannot be read.
        """
        roles = self.roles
        columns = roles.keys
        for start, records in self.records(None if with_columns else columns):
            records.load(columns)
            users, items = self._ids(records, "user"), self._ids(records, "item")
            order, seconds, timeless = None, None, np.zeros(records.num_rows, dtype=bool)
            if roles.time is not None and self.reading is not None:
                found = read_times(TimeColumn(records, roles.time, self.settings.missing), self.reading)
                order = found.order
                items, timeless = without_times(users, items, found.missing)
                seconds = seconds_of(found, roles.time, self.name) if self.settings.gap else None
            yield Part(start, users, items, order, seconds, timeless, records)

    def _ids(self, records: Records, role: str) -> pa.Array:
        """Return canonical ids of some rows.

        Raises:
            InputError: they cannot be used, or some are missing: how many of all rows, is counted then.
        """
        column = self.roles.user if role == "user" else self.roles.item
        ids = canonical_ids(records, column, role, "keep", self.settings.missing)
        if ids.null_count and self.settings.null_ids != "keep":
            place = records.place(first(pc.is_null(ids)))
            every = self.records([column])
            missing = sum(
                canonical_ids(each, column, role, "keep", self.settings.missing).null_count for _, each in every
            )
            raise missing_ids(missing, self.num_rows, role, column, self.name, place)
        return ids

    def _times(self, column: str) -> Iterator[TimeColumn]:
        return (TimeColumn(records, column, self.settings.missing) for _, records in self.records([column]))


def partitions_of(source: str, paths: Sequence[Path], own: Sequence[Collection[str]]) -> list[dict[str, pa.Scalar]]:
    """Return what folders say of each file of a log, typed, by column; those that files have themselves are left out.

    Raises:
        InputError: a file does not lie in folders for the same columns as the first.
    """
    if not is_several(source):
        return [{}]
    typed = partition_columns(paths, base_folder(source), own)
    return [{name: values[number] for name, values in typed.items()} for number in range(len(paths))]


def within(source: str, path: Path) -> Path | None:
    """Return the name of a log's file below the log's folder; None if it is the log."""
    return path.relative_to(base_folder(source)) if is_several(source) else None
