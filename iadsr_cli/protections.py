"""Which rows of a log stay by the user's wish, whatever their score."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.config import ProtectionSettings
from iadsr_cli.errors import UsageError
from iadsr_cli.logs.conditions import rows_where
from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.schema import find_column
from iadsr_cli.logs.values import canonical_ids
from iadsr_cli.sequences import Sequences, positions

_VALUES_SHOWN = 10


@dataclass(frozen=True)
class Protections:
    """Which rows stay by the user's wish.

    Attributes:
        names: what rows were protected with, as it was typed.
        by: which of `names` protects a row, the first if several do, int8 [rows]; -1 where none does.
        judged: False where a row's event is not among those that may be removed, bool [rows].
    """

    names: tuple[str, ...]
    by: np.ndarray
    judged: np.ndarray

    @property
    def protected(self) -> np.ndarray:
        """Which rows are to be judged but not removed, bool [rows]."""
        return self.by >= 0

    def take(self, rows: np.ndarray) -> "Protections":
        """Return the protections of some rows, in that order."""
        return replace(self, by=self.by[rows], judged=self.judged[rows])


def find_protections(log: Log, sequences: Sequences, settings: ProtectionSettings) -> Protections:
    """Return which rows of a log stay by the user's wish.

    Args:
        log: the log.
        sequences: of the log, with all its items.
        settings: the wishes.

    Raises:
        UsageError: a column or an event is not in the log, a condition is none, or events are not named.
        InputError: a value cannot be compared as the condition does.
    """
    wishes = []
    if settings.protect_last:
        from_end = sequences.lengths[sequences.user_index] - positions(sequences.lengths)
        last = np.zeros(log.num_rows, dtype=bool)
        last[sequences.row_ids[from_end <= settings.protect_last]] = True
        wishes.append((f"--protect-last {settings.protect_last}", last))
    if settings.protect is not None:
        wishes.append((f"--protect '{settings.protect}'", rows_where(log, settings.protect, "--protect")))
    by = np.full(log.num_rows, -1, dtype=np.int8)
    for number, (_, rows) in reversed(list(enumerate(wishes))):
        by[rows] = number
    return Protections(tuple(name for name, _ in wishes), by, _judged(log, settings))


def _judged(log: Log, settings: ProtectionSettings) -> np.ndarray:
    """Return which rows have one of the events that may be removed, bool [rows]; all, where none is named."""
    if settings.event_column is None:
        return np.ones(log.num_rows, dtype=bool)
    column = find_column(settings.event_column, log.column_names, log.name)
    values = canonical_ids(log.records, column, "event", null_ids="keep")
    if settings.events is None:
        raise UsageError(
            f"--event-column {settings.event_column} was given without the events that may be removed.",
            f"Name some with --events; {_commonest(column, values)}",
        )
    events = [event.strip() for event in settings.events.split(",")]
    there = set(pc.unique(values).drop_null().to_pylist())
    for event in events:
        if event not in there:
            raise UsageError(
                f'--events names "{event}", which column "{column}" of {log.name} does not hold.',
                f"Name others, separated by commas; {_commonest(column, values)}",
            )
    found = pc.is_in(values, value_set=pa.array(events, values.type))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _commonest(column: str, values: pa.Array) -> str:
    """Return a sentence with the values of a column, the commonest first."""
    counts = Counter(values.drop_null().to_pylist()).most_common()
    shown = ", ".join(
        f'"{value}" ({count:,} row{"" if count == 1 else "s"})' for value, count in counts[:_VALUES_SHOWN]
    )
    more = f" and {len(counts) - _VALUES_SHOWN:,} more" if len(counts) > _VALUES_SHOWN else ""
    return f'"{column}" holds {shown}{more}.'
