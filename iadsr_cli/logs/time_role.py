"""Which column holds the times, where its name alone does not tell: then its values do."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError
from iadsr_cli.logs.schema import Roles, perhaps_times, several
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
        UsageError: several columns with less usual names hold times.
    """
    if roles.time is not None:
        return roles, reading_of(partial(stretches, roles.time), settings.time_unit)
    if settings.time_column is not None:
        return roles, None
    found = _dated(roles, columns, settings, stretches)
    if len(found) > 1:
        raise several("time", list(found), source)
    for name, reading in found.items():
        return replace(roles, time=name), reading
    return roles, None


def _dated(roles: Roles, columns: Sequence[str], settings: LogSettings, stretches: Stretches) -> dict[str, Reading]:
    """Return the columns with less usual names of times that hold times, and how these are read."""
    found = {}
    for name in perhaps_times(columns):
        if name in (roles.user, roles.item):
            continue
        try:
            reading = reading_of(partial(stretches, name), settings.time_unit)
        except InputError:
            continue
        if says_when(next(iter(stretches(name))), reading):
            found[name] = reading
    return found
