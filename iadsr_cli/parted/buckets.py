"""A log's interactions in buckets of whole users, one file each, so that each can be judged by itself.

A bucket holds every row of its users, whichever part of the log it comes from: the bucket of a user is a hash of the
id.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.artifacts import Manifest, write_artifact
from iadsr_cli.config import ProtectionSettings
from iadsr_cli.logs import parts
from iadsr_cli.logs.conditions import rows_where
from iadsr_cli.logs.parts import Part, PartedLog
from iadsr_cli.logs.schema import find_column
from iadsr_cli.logs.sessions import session_numbers
from iadsr_cli.logs.stand_ins import stand_ins
from iadsr_cli.logs.ties import Ties
from iadsr_cli.logs.values import canonical_ids, numbered
from iadsr_cli.progress import Reporter
from iadsr_cli.protections import check_events, judged_events
from iadsr_cli.sequences import Sequences, in_sequence

# Rows of a bucket, on average.
_BUCKET_ROWS = 1 << 20
_MOST_BUCKETS = 1024
_ITEMS = "items.arrow"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
_ROWS = pa.schema(
    {
        "row": pa.int64(),
        "user": pa.large_string(),
        "item": pa.large_string(),
        "time": pa.int64(),
        "seconds": pa.float64(),
        "held": pa.bool_(),
        "judged": pa.bool_(),
        "timeless": pa.bool_(),
    }
)
_NO_ITEMS = pa.schema({"item": pa.large_string(), "rows": pa.int64(), "userless": pa.int64()}).empty_table()


@dataclass(frozen=True)
class Bucket:
    """The interactions of some users.

    Attributes:
        rows: of the log, int64 [n], ascending.
        users: 0 to U - 1, int64 [n]; their sessions, where a gap between them is set.
        people: whose those are, 0 to P - 1, int64 [n].
        items: places among all items of the log, int64 [n]; -1 where it is missing.
        order: comparable times, int64 [n], or None.
        held: which rows the condition of --protect holds for, bool [n].
        judged: which rows have an event that may be removed, bool [n].
        timeless: which rows have no time, and so no item here, bool [n].
    """

    rows: np.ndarray
    users: np.ndarray
    people: np.ndarray
    items: np.ndarray
    order: np.ndarray | None
    held: np.ndarray
    judged: np.ndarray
    timeless: np.ndarray

    def sequences(self, vocabulary: pa.Array, codes: np.ndarray | None = None) -> Sequences:
        """Return the histories; their `row_ids` are places in this bucket.

        Args:
            vocabulary: item ids.
            codes: code in it of each item of the log, 0 where it has none, int64 [V]; None if it is that of the log.
        """
        found = self.items + 1 if codes is None else np.where(self.items < 0, 0, codes[self.items])
        known = np.flatnonzero(found)
        order = None if self.order is None else self.order[known]
        # Numbered as in memory, by their rows that have an item: who teaches whom goes by these numbers.
        users, people = (numbered(pa.array(of_rows[known]))[0] for of_rows in (self.users, self.people))
        return in_sequence(users, found[known], known, order, vocabulary, people)

    def take(self, rows: np.ndarray) -> "Bucket":
        """Return the interactions of some users, whose rows are marked, bool [n]."""
        order = None if self.order is None else self.order[rows]
        users, people = (np.unique(of_rows[rows], return_inverse=True)[1] for of_rows in (self.users, self.people))
        return Bucket(
            self.rows[rows],
            users,
            people,
            self.items[rows],
            order,
            self.held[rows],
            self.judged[rows],
            self.timeless[rows],
        )


def joined(several: Sequence[Bucket]) -> Bucket:
    """Return the rows of several buckets one after the other, as one."""

    def numbered_on(numbers: list[np.ndarray]) -> np.ndarray:
        firsts = np.cumsum([0, *(int(each.max(initial=-1)) + 1 for each in numbers[:-1])])
        return np.concatenate([each + first for each, first in zip(numbers, firsts, strict=True)])

    orders = [bucket.order for bucket in several if bucket.order is not None]
    return Bucket(
        np.concatenate([bucket.rows for bucket in several]),
        numbered_on([bucket.users for bucket in several]),
        numbered_on([bucket.people for bucket in several]),
        np.concatenate([bucket.items for bucket in several]),
        np.concatenate(orders) if orders else None,
        np.concatenate([bucket.held for bucket in several]),
        np.concatenate([bucket.judged for bucket in several]),
        np.concatenate([bucket.timeless for bucket in several]),
    )


@dataclass(frozen=True)
class Split:
    """A log in buckets.

    Attributes:
        folder: the `buckets` artifact.
        name: of the log, as messages show it.
        count: how many buckets there are.
        gap: seconds of a pause between sessions, or None where users are not split into them.
        ties: where the order of rows says nothing.
    """

    folder: Path
    name: str
    count: int
    gap: float | None
    ties: Ties = field(default_factory=Ties)

    @cached_property
    def _items(self) -> pa.Table:
        with pa.OSFile(str(self.folder / _ITEMS)) as file:
            return pa.ipc.open_file(file).read_all().combine_chunks()

    @cached_property
    def items(self) -> pa.Array:
        """The item ids of the log, V strings."""
        return pa.concat_arrays([pa.array([], pa.large_string()), *self._items.column("item").chunks])

    def __getstate__(self) -> dict[str, Any]:
        """Return what it takes to judge a bucket: another process has no use for the table of items."""
        taken = {"items": self.items, "item_rows": self.item_rows}
        return {name: value for name, value in vars(self).items() if name != "_items"} | taken

    @cached_property
    def item_rows(self) -> np.ndarray:
        """How many rows each item has, int64 [V]."""
        return np.asarray(self._items.column("rows").to_numpy())

    @property
    def userless(self) -> np.ndarray:
        """How many of them have no user, int64 [V]."""
        return np.asarray(self._items.column("userless").to_numpy())

    @property
    def owned(self) -> pa.Array:
        """The ids of the items that users have, in the order of these rows: the first of all items."""
        return self.items[: int(np.count_nonzero(self.item_rows > self.userless))]

    def bucket(self, number: int) -> Bucket:
        """Read one bucket."""
        table = _read(self.folder, number)
        users = people = numbered(table.column("user").combine_chunks())[0]
        order = table.column("time")
        if self.gap is not None:
            numbers = session_numbers(people, order.to_numpy(), table.column("seconds").to_numpy(), self.gap)
            # Sessions count in the order of their first rows, as in memory.
            users = numbered(pa.array(people * (numbers.max(initial=0) + 1) + numbers))[0]
        rows, times = table.column("row").to_numpy(), _times(table)
        return Bucket(
            rows,
            users,
            people,
            pc.fill_null(pc.index_in(table.column("item"), value_set=self.items), -1).to_numpy().astype(np.int64),
            self.ties.broken(times, rows),
            table.column("held").to_numpy(),
            table.column("judged").to_numpy(),
            table.column("timeless").to_numpy(),
        )


def count(rows: int) -> int:
    """Return how many buckets a log of so many rows is split into, whose files can all be open at once."""
    wanted = min(_MOST_BUCKETS, max(1, -(-rows // _BUCKET_ROWS)))
    if sys.platform == "win32":  # which lets a process have thousands
        return wanted
    import resource

    # As many other files may be open. What a shell allows is often less than what the system does.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2 * wanted if hard == resource.RLIM_INFINITY else min(2 * wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return min(wanted, most // 2)


def path(folder: Path, number: int) -> Path:
    """Return the file of a bucket."""
    return folder / f"bucket-{number:04}.arrow"


def _read(folder: Path, number: int) -> pa.Table:
    with pa.OSFile(str(path(folder, number))) as file:
        return pa.ipc.open_file(file).read_all()


def _times(table: pa.Table) -> np.ndarray | None:
    """Return the comparable times of a bucket, int64 [n]; None where the log has none."""
    times = table.column("time")
    return None if times.null_count == len(times) else times.to_numpy()


def _ties(table: pa.Table, named: bool) -> Ties:
    """Return what is to be said of a bucket; `named` is whether somebody has said which column holds the times."""
    users, items = (table.column(name).combine_chunks() for name in ("user", "item"))
    return Ties.found(users, items, _times(table), named)


def split(
    log: PartedLog,
    protection: ProtectionSettings,
    buckets: int,
    inputs: dict[str, str],
    folder: Path,
    reporter: Reporter,
) -> Manifest:
    """Write the `buckets` artifact: the rows of a log, in buckets, and its items.

    Rows without a user are in no bucket. Memory is that of a batch of rows and of all item ids.
    """
    facts: dict[str, Any] = {}
    column = protection.event_column and find_column(protection.event_column, log.column_names, log.name)
    if column is not None:
        check_events(log.values(column, "event"), protection, column, log.name)

    def fill(draft: Path) -> None:
        owned, alone, held = _Counted(), _Counted(), False
        odd: dict[str, Counter[str]] = {"user": Counter(), "item": Counter()}
        with ExitStack() as stack, reporter.stage("split", log.num_rows, "rows") as stage:
            sinks = [
                stack.enter_context(pa.ipc.new_file(path(draft, number), _ROWS, options=_OPTIONS))
                for number in range(buckets)
            ]
            all_parts = log.parts(with_columns=protection.protect is not None or column is not None)
            for table in _gathered(_rows(part, protection, column) for part in all_parts):
                odd["user"] += stand_ins(table.column("user"))
                odd["item"] += stand_ins(table.column("item"))
                userless = pc.is_null(table.column("user"))
                alone.add(table.column("item").filter(userless), 1)
                rows = table.filter(pc.invert(userless))
                owned.add(rows.column("item"), 0)
                held = held or pc.any(rows.column("held")).as_py() is True
                hashed = _hashes(rows.column("user")) % buckets
                place = np.argsort(hashed, kind="stable")
                rows = rows.take(pa.array(place))
                ends = np.searchsorted(hashed[place], np.arange(buckets), side="right")
                for number, (first, end) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
                    if end > first:
                        sinks[number].write_table(rows.slice(first, end - first))
                stage.advance(table.num_rows)
        items = _together([owned.table(), alone.table()])
        with pa.ipc.new_file(draft / _ITEMS, items.schema) as sink:
            sink.write_table(items)
        facts.update(
            buckets=buckets,
            items=items.num_rows,
            held=held,
            stand_ins={role: dict(ids) for role, ids in odd.items()},
            # Its users tell of all.
            ties=asdict(_ties(_read(draft, 0), log.settings.time_column is not None)),
        )

    return write_artifact(folder, "buckets", fill, config={}, inputs=inputs, facts=facts)


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of small tables, as those of small row groups are, in tables of a batch or more."""
    gathered: list[pa.Table] = []
    rows = 0
    for table in tables:
        gathered.append(table)
        rows += table.num_rows
        if rows >= parts.BATCH:
            yield pa.concat_tables(gathered).combine_chunks()
            gathered, rows = [], 0
    if gathered:
        yield pa.concat_tables(gathered).combine_chunks()


def _rows(part: Part, protection: ProtectionSettings, column: str | None) -> pa.Table:
    """Return the rows of a part, some of which may have no user."""
    rows = np.arange(part.first, part.first + len(part.users))
    order = pa.nulls(len(rows), pa.int64()) if part.order is None else pa.array(part.order)
    held, judged = np.zeros(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
    if protection.protect is not None:
        held = rows_where(part.records, protection.protect, "--protect")
    if column is not None:
        judged = judged_events(canonical_ids(part.records, column, "event", null_ids="keep"), protection)
    seconds = pa.nulls(len(rows), pa.float64()) if part.seconds is None else pa.array(part.seconds)
    marks = map(pa.array, (held, judged, part.timeless))
    columns = [pa.array(rows), part.users, part.items, order, seconds, *marks]
    return pa.table(columns, schema=_ROWS)


def _hashes(users: pa.ChunkedArray) -> np.ndarray:
    """Return a number of each user id that is the same in every run, uint64 [n]."""
    import pandas as pd

    encoded = pc.dictionary_encode(users.combine_chunks())
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False), categorize=False)
    found: np.ndarray = hashes[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


class _Counted:
    """The items of the rows that were seen: how many rows each has, and how many of these without a user."""

    def __init__(self) -> None:
        """Know none."""
        self._known, self._new, self._rows = _NO_ITEMS, list[pa.Table](), 0

    def add(self, items: pa.ChunkedArray, userless: int) -> None:
        """Look at the items of more rows, which are counted `userless` times as rows without a user."""
        counts = pc.value_counts(items.combine_chunks().drop_null())
        rows = counts.field("counts")
        self._new.append(pa.table([counts.field("values"), rows, pc.multiply(rows, userless)], schema=_NO_ITEMS.schema))
        self._rows += len(rows)
        # All that are known are gone through when as many have come: twice a row, however many rows there are.
        if self._rows > self._known.num_rows:
            self.table()

    def table(self) -> pa.Table:
        """Return them, in order of appearance."""
        self._known = _together([self._known, *self._new])
        self._new, self._rows = [], 0
        return self._known


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    """Return items, in order of appearance, with their rows of all tables."""
    sums = (
        pa.concat_tables(tables).group_by("item", use_threads=False).aggregate([("rows", "sum"), ("userless", "sum")])
    )
    return sums.rename_columns({"rows_sum": "rows", "userless_sum": "userless"})
