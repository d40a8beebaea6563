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
from iadsr_cli.progress import Reporter
from iadsr_cli.sequences import Sequences, positions

_VALUES_SHOWN = 10


@dataclass(frozen=True)
class Protections:
    """Which rows stay by the user's wish.

    Attributes:
        names: what rows were protected with, as it was typed.
        by: which of `names` protects a row, the first if several do, int8 [rows]; -1 where none does.
        judged: False where a user's row has an event that is not among those that may be removed, bool [rows].
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


def find_protections(log: Log, sequences: Sequences, settings: ProtectionSettings, reporter: Reporter) -> Protections:
    """Return which rows of a log stay by the user's wish.

    Args:
        log: the log.
        sequences: of the log, with all its items.
        settings: the wishes.
        reporter: told of a condition that holds nowhere.

    Raises:
        UsageError: a column or an event is not in the log, a condition is none, or events are not named.
        InputError: a value cannot be compared as the condition does.
    """
    last = None
    if settings.protect_last:
        last = np.zeros(log.num_rows, dtype=bool)
        last[sequences.row_ids[last_of_users(sequences, settings)]] = True
    held = None if settings.protect is None else rows_where(log.records, settings.protect, "--protect")
    if held is not None:
        warn_of_none(bool(held.any()), settings, reporter)
    judged = np.ones(log.num_rows, dtype=bool)
    if settings.event_column is not None:
        column = find_column(settings.event_column, log.column_names, log.name)
        values = canonical_ids(log.records, column, "event", null_ids="keep")
        check_events(Counter(values.drop_null().to_pylist()), settings, column, log.name)
        # Of a row without a user that is what there is to say.
        judged = judged_events(values, settings) | log.user_ids().is_null().to_numpy(zero_copy_only=False)
    return Protections(wishes(settings), protected_by(log.num_rows, last, held), judged)


def warn_of_none(holds: bool, settings: ProtectionSettings, reporter: Reporter) -> None:
    """Warn of a condition that `holds` for no row: a value of it may be spelled otherwise in the log."""
    if not holds:
        reporter.warn(
            f"--protect '{settings.protect}' holds for no row of the log, so it protects none. Values in quotes are "
            "compared as text, letter by letter."
        )


def wishes(settings: ProtectionSettings) -> tuple[str, ...]:
    """Return what rows are protected with, as it was typed."""
    last, condition = settings.protect_last, settings.protect
    return (
        *([f"--protect-last {last}"] if last else []),
        *([f"--protect '{condition}'"] if condition is not None else []),
    )


def protected_by(rows: int, last: np.ndarray | None, held: np.ndarray | None) -> np.ndarray:
    """Return which of the `wishes` protects each row, int8 [rows]; -1 where none does.

    Args:
        rows: how many there are.
        last: which are the last of their users, bool [rows], or None where that is no wish.
        held: which the condition holds for, bool [rows], or None where there is none.
    """
    by = np.full(rows, -1, dtype=np.int8)
    given = [chosen for chosen in (last, held) if chosen is not None]
    for number in reversed(range(len(given))):
        by[given[number]] = number
    return by


def last_of_users(sequences: Sequences, settings: ProtectionSettings) -> np.ndarray:
    """Return which interactions are among the last of their users, as many as are wished; bool [N]."""
    from_end = sequences.lengths[sequences.user_index] - positions(sequences.lengths)
    found: np.ndarray = from_end <= settings.protect_last
    return found


def judged_events(values: pa.Array, settings: ProtectionSettings) -> np.ndarray:
    """Return which events (canonical ids [rows]) are among those that may be removed, bool [rows]."""
    found = pc.is_in(values, value_set=pa.array(_named(settings), values.type))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _named(settings: ProtectionSettings) -> list[str]:
    return [event.strip() for event in (settings.events or "").split(",")]


def check_events(counts: Counter[str], settings: ProtectionSettings, column: str, name: str) -> None:
    """Check that the events that may be removed are named, and in the log: `counts` of the column's values.

    Raises:
        UsageError: if they are not.
    """
    if settings.events is None:
        raise UsageError(
            f"--event-column {settings.event_column} was given without the events that may be removed.",
            f"Name some with --events; {_commonest(column, counts)}",
        )
    for event in _named(settings):
        if event not in counts:
            raise UsageError(
                f'--events names "{event}", which column "{column}" of {name} does not hold.',
                f"Name others, separated by commas; {_commonest(column, counts)}",
            )


def _commonest(column: str, values: Counter[str]) -> str:
    """Return a sentence with the values of a column, the commonest first."""
    counts = values.most_common()
    shown = ", ".join(
        f'"{value}" ({count:,} row{"" if count == 1 else "s"})' for value, count in counts[:_VALUES_SHOWN]
    )
    more = f" and {len(counts) - _VALUES_SHOWN:,} more" if len(counts) > _VALUES_SHOWN else ""
    return f'"{column}" holds {shown}{more}.'
