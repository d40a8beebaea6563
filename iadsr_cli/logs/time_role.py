"""Which column holds the times, where its name alone does not tell: then its values do."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import pyarrow.compute as pc

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError
from iadsr_cli.logs.schema import Roles, is_time, like_times, perhaps_times, several
from iadsr_cli.logs.times import Reading, TimeColumn, reading_of, says_when

# Goes through the stretches of a column, anew each time.
Stretches = Callable[[str], Iterable[TimeColumn]]


def find_times(
    roles: Roles, columns: Sequence[str], settings: LogSettings, source: str, stretches: Stretches
) -> tuple[Roles, Reading | None]:
    """Return the roles with the column of times, and how that is read; None without times.

    Where no column is named as the time or has a usual name of one, that counts which has a less usual one and holds
    nothing but dates, or numbers in a known unit.

    Args:
        roles: what the names of `columns` tell.
        columns: all columns.
        settings: how the log is read.
        source: the log, for messages.
        stretches: the rows of a column that may hold times.

    Raises:
        InputError: a time is missing or cannot be read, in a column that is named or has a usual name.
        UsageError: several columns with less usual names hold times; or one does, and beside it numbers in no known
            unit are called `time`.
    """
    unit, null_times = settings.time_unit, settings.null_times

    def others() -> dict[str, Reading]:
        names = perhaps_times(columns, roles) if settings.time_column is None else []
        return {name: reading for name in names if (reading := _dated(partial(stretches, name), unit, null_times))}

    if roles.time is None:
        found = others()
        if len(found) > 1:
            raise several("time", list(found), source)
        return next(((replace(roles, time=name), reading) for name, reading in found.items()), (roles, None))
    column = partial(stretches, roles.time)
    try:
        reading = reading_of(column, unit, null_times)
    except InputError as error:
        found = others()
        if not found:
            raise
        other = shlex.quote(next(iter(found)))
        hint = f"Pass --time-column {other}, which can be read as times. Otherwise: {error.hint}"
        raise InputError(error.message, hint) from error
    # Numbers such as 1302 are no order of rows: there may be a date to these times of day.
    if is_time(roles.time) and not says_when(next(iter(column())), reading) and (found := others()):
        raise several("time", [*found, roles.time], source)
    return roles, reading


def likely_time(roles: Roles, columns: Sequence[str], rows: Callable[[str], TimeColumn]) -> str | None:
    """Return the first column that sounds like times and, as far as some rows tell, holds different ones; or None.

    Args:
        roles: which columns are taken.
        columns: all columns.
        rows: some rows of a column, or all.
    """

    def holds_times(name: str) -> bool:
        sample = rows(name).sample()
        return _dated(lambda: [sample], "auto", "error") is not None and len(pc.unique(sample.array)) > 1

    return next(filter(holds_times, like_times(columns, roles)), None)


def _dated(stretches: Callable[[], Iterable[TimeColumn]], unit: str, null_times: str) -> Reading | None:
    """Return how a column is read, or None if some of its values are no dates and no numbers in a known unit."""
    try:
        reading = reading_of(stretches, unit, null_times)
    except InputError:
        return None
    return reading if says_when(next(iter(stretches())), reading) else None
