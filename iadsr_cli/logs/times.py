"""What a column's values mean as times: numbers, instants, dates, texts of them; all read in one way."""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.values import comma_hint, first, plain_or_error, unusable, with_points, without

_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# The years 1980 to 2099 in seconds since 1970: a number that is in them in one unit is so in no other. Others are
# positions in an order, such as 20240131090000.
_YEARS = (315_532_800, 4_102_444_800)
_ISO = "ISO8601"
# Forms that are common and that pandas does not guess: of what Twitter, Goodreads and Foursquare give, and web servers.
_COMMON = ("%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z")
# Rows by which it is told what a column seems to hold.
_SAMPLE = 1000
_HOUR_OF_TWELVE = re.compile(r"\b\d{1,2}(:[\d:.]+ ?)[AP]M\b", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"%m(\W)%d(\W)(%[yY])")
_FIRST_DATES = 1000
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


class Times(NamedTuple):
    """When each row happened.

    Attributes:
        order: int64 [rows], only to be compared with each other: greater is later; the least where there is none.
        description: how the column was read.
        seconds: returns the times in seconds, float64 [rows], NaN where there is none; None where their unit is not
            known.
        missing: which rows have no time, bool [rows].
        doubt: what is to be said where it could have been read otherwise; None where not.
    """

    order: np.ndarray
    description: str
    seconds: Callable[[], np.ndarray] | None
    missing: np.ndarray
    doubt: str | None = None


@dataclass(frozen=True)
class Reading:
    """How the times of a column are read, which all of them tell together.

    Attributes:
        number: the type of texts that are numbers; None where they are dates, or no texts.
        format: that of texts that are dates: ISO 8601 or one that pandas understands; None where they are none.
        unit: of numbers, "" where it is not known; of texts that are dates, "ns" or "us".
        day_first: that in which all dates can be read as well, the day before the month; None where they cannot.
    """

    number: pa.DataType | None = None
    format: str | None = None
    unit: str = ""
    day_first: str | None = None

    def doubt(self, column: str) -> str | None:
        """Return what is to be said of a column that could be read otherwise; None where it could not."""
        if self.day_first is None:
            return None
        return (
            f'Column "{column}" is read as {self.format}, month first, but all its times fit {self.day_first} as well. '
            "If the day is first, rows are taken in a wrong order: write times as 2024-01-31 (ISO 8601)."
        )


@dataclass(frozen=True, eq=False)
class TimeColumn:
    """A column of times, or a stretch of it; `missing` are the texts that are no time.

    Of a sample, only every so-many-th row counts, as `step` says.
    """

    records: Records
    name: str
    missing: Sequence[str]
    step: int = 1
    _dates: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def array(self) -> pa.Array:
        """The values; of texts, null where they are missing."""
        array = plain_or_error(self.records, self.name, "times")
        if self.step > 1:
            array = array.take(pa.array(range(0, len(array), self.step)))
        return without(pc.utf8_trim_whitespace(array), self.missing) if pa.types.is_large_string(array.type) else array

    def sample(self) -> "TimeColumn":
        """Return about `_SAMPLE` of its rows, from first to last: they tell what they are, but not where."""
        return TimeColumn(self.records, self.name, self.missing, max(1, self.records.num_rows // _SAMPLE))

    @property
    def is_text(self) -> bool:
        """Whether they are texts."""
        return bool(pa.types.is_large_string(self.array.type))

    @property
    def is_number(self) -> bool:
        """Whether they are numbers."""
        type = self.array.type
        return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))

    @cached_property
    def _numbers(self) -> tuple[pa.DataType, pa.Array] | None:
        for type in (pa.int64(), pa.float64()):
            try:
                return type, pc.cast(with_points(self.records, self.array), type)
            except pa.ArrowInvalid:
                continue
        return None

    @property
    def number(self) -> pa.DataType | None:
        """The first type that all texts are numbers of: int64, float64 or none."""
        return self._numbers and self._numbers[0]

    def numbers(self, type: pa.DataType | None) -> pa.Array:
        """Return the numbers, of texts as a type that holds them."""
        if not self.is_text:
            return self.array
        assert self._numbers is not None
        return self._numbers[1] if self._numbers[0] == type else pc.cast(with_points(self.records, self.array), type)

    def dates(self, format: str) -> Any:
        """Return texts as instants, a series of pandas; null where they are none in the format."""
        if format not in self._dates:
            import pandas as pd

            strings = pd.Series(self.array.to_pylist(), dtype=object)
            self._dates.clear()
            self._dates[format] = pd.to_datetime(strings, utc=True, format=format, errors="coerce")
        return self._dates[format]

    def instants(self, format: str, unit: str) -> Any:
        """Return texts as instants in a unit."""
        return self.dates(format).dt.as_unit(unit)

    def fits(self, format: str, unit: str) -> bool:
        """Return whether all instants can be had in a unit: 1677 to 2262 in nanoseconds."""
        import pandas as pd

        try:
            self.instants(format, unit)
        except pd.errors.OutOfBoundsDatetime:
            return False
        return True


def reading_of(stretches: Callable[[], Iterable[TimeColumn]], unit: str, null_times: str = "error") -> Reading:
    """Return how a column of times is read.

    Args:
        stretches: goes through all its stretches, anew each time.
        unit: "s", "ms", "us", "ns", or "auto" for that in which numbers are dates of the years 1980 to 2099.
        null_times: "error", or "keep" to allow rows without a time.

    Raises:
        InputError: a missing time, unless `null_times` is "keep" and not all are missing, one that cannot be read as a
            time, or numbers in several units.
    """
    missing, unspeakable, units, column = _Absent(), _Absent(), _Units(), None
    found: dict[pa.DataType | None, None] = {}
    for column in stretches():
        rows, absent = column.records.num_rows, pc.is_null(column.array)
        if column.is_text:
            found[column.number] = None
        if column.is_number or (column.is_text and column.number is not None):
            floats = pc.cast(column.numbers(column.number), pa.float64(), safe=False)
            finite = pc.fill_null(pc.is_finite(floats), False)
            units.add(column, floats)
            if column.is_text:
                unspeakable.add(column, rows, pc.and_not(pc.invert(finite), absent))
            else:
                absent = pc.invert(finite)
        missing.add(column, rows, absent)
    assert column is not None
    missing.check(null_times)
    number = next(iter(found), None)
    if len(found) > 1:
        # What is read as a whole number alone, as "0x1" is, need not be one with a fraction.
        number = None if None in found or not all(map(_fractional, stretches())) else pa.float64()
    if column.is_text and number is None:
        return _reading_of_dates(stretches)
    unspeakable.check(null_times)
    type = column.array.type
    if not (column.is_text or column.is_number or pa.types.is_timestamp(type) or pa.types.is_date(type)):
        raise unusable(column.records, column.name, "times", f"{type} values")
    unit = units.unit(column, unit)
    return Reading(number if column.is_text else None, None, unit)


def says_when(column: TimeColumn, reading: Reading) -> bool:
    """Return whether times are known in seconds: not where they are numbers in no known unit."""
    return reading.format is not None or reading.unit != "" or not (column.is_text or column.is_number)


@dataclass
class _Units:
    """In which units the numbers that were looked at are times.

    Attributes:
        counts: how many of them are in `_YEARS`, by unit.
        firsts: the first of these, by unit: where it is, and what.
    """

    counts: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, column: TimeColumn, numbers: pa.Array) -> None:
        """Look at more rows: their numbers as float64."""
        values = numbers.to_numpy(zero_copy_only=False)  # null is NaN, and in no year
        for unit, scale in PER_SECOND.items():
            inside = (values >= _YEARS[0] * scale) & (values < _YEARS[1] * scale)
            count = int(np.count_nonzero(inside))
            if count and unit not in self.firsts:
                row = int(inside.argmax())
                self.firsts[unit] = column.records.place(row), str(column.array[row])
            if count:
                self.counts[unit] = self.counts.get(unit, 0) + count

    def unit(self, column: TimeColumn, said: str) -> str:
        """Return the unit: the one that was said or, for "auto", as the numbers tell; "" where they do not.

        Raises:
            InputError: some are in `_YEARS` in one unit, that which was said if any, and some in another.
        """
        if len(self.counts) > 1 and (said == "auto" or said in self.counts):
            # The rarest is odd; of two as frequent ones that which was not said, or comes later.
            odd = min(reversed(self.counts), key=lambda unit: (self.counts[unit], unit == said))
            usual = max(self.counts, key=lambda unit: (self.counts[unit], unit == said))
            (place, number), (place_there, example) = self.firsts[odd], self.firsts[usual]
            hint = "Write all of them in one unit, or pass --time-column none to take the rows in file order."
            if said == "auto":
                hint += " If they do not count from 1970, say their unit with --time-unit."
            raise InputError(
                f'{column.records.name}, {place}: {number} in column "{column.name}" is in {_UNITS[odd]}, but '
                f"{example} in {place_there} is in {_UNITS[usual]}, as {self.counts[usual]:,} of "
                f"{sum(self.counts.values()):,} times are.",
                hint,
            )
        if said != "auto":
            return said
        return next(iter(self.counts), "")


def _fractional(column: TimeColumn) -> bool:
    try:
        column.numbers(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


@dataclass
class _Absent:
    """How many of the rows that were looked at have no time, and the first of them."""

    count: int = 0
    rows: int = 0
    first: tuple[TimeColumn, int] | None = None

    def add(self, column: TimeColumn, rows: int, absent: pa.Array) -> None:
        """Look at more rows."""
        found = pc.sum(absent).as_py() or 0
        if found and self.first is None:
            self.first = column, first(absent)
        self.count += found
        self.rows += rows

    def check(self, null_times: str) -> None:
        """Check that there are none or, with "keep", that these are not all.

        Raises:
            InputError: there are some, or these are all.
        """
        kept = null_times == "keep" and self.count < self.rows
        if self.first is not None and not kept:
            column, row = self.first
            keep = "Pass --null-times keep: such rows are kept and not scored. Or fill them in, or"
            raise InputError(
                f"{self.count} of {self.rows} rows {'have' if self.count > 1 else 'has'} no time in column "
                f'"{column.name}" of {column.records.name}, the first is {column.records.place(row)}.',
                f"{keep if self.count < self.rows else 'Fill them in, or'} "
                "pass --time-column none to take the rows in file order.",
            )


def _reading_of_dates(stretches: Callable[[], Iterable[TimeColumn]]) -> Reading:
    """Tell how dates and times are written: ISO 8601 with or without offsets, else in the one format that fits all."""
    found = _read_as(stretches, _ISO)
    # A first "01/02/2020" is in January or February: where the guess fails, the row it fails at may tell.
    # Rows are never read each in a format of its own: that could put them in a wrong order without a word.
    for _ in range(2):
        if found.unread is None:
            break
        guess = _guess(found.text)
        if guess is None:
            break
        attempt = _read_as(stretches, guess)
        if attempt.count >= found.count:
            break
        found = attempt
    if found.unread is not None:
        _check_numbers(stretches)
        column, row = found.unread
        if _is_date(found.text, found.format):
            raise _too_wide(column)
        reading = "" if found.format == _ISO else f" like the others ({found.format})"
        raise InputError(
            f'{column.records.name}, {column.records.place(row)}: "{found.text}" in column "{column.name}" is not a '
            f"time{reading}.",
            comma_hint(found.text)
            or "Write times as 2024-01-31T12:00:00Z or unix seconds, or pass --time-column none for file order.",
        )
    return Reading(None, found.format, found.unit, _day_first(stretches, found.format))


def _day_first(stretches: Callable[[], Iterable[TimeColumn]], format: str) -> str | None:
    """Return the format with the day before the month, where all dates fit it and some are other days then; or None."""
    import pandas as pd

    other = _MONTH_FIRST.sub(r"%d\1%m\2\3", format)
    if other == format:
        return None
    differ = False
    for column in stretches():
        texts = pd.Series(pc.unique(column.array).drop_null().to_pylist(), dtype=object)
        # Most often a day above 12 is among the first.
        for some in (texts[:_FIRST_DATES], texts[_FIRST_DATES:]):
            dates = pd.to_datetime(some, utc=True, format=other, errors="coerce")
            if dates.isna().any():
                return None
            differ = differ or bool((dates != pd.to_datetime(some, utc=True, format=format)).any())
    return other if differ else None


def _guess(text: str) -> str | None:
    """Return the format that a time seems to be written in, or None."""
    from pandas.tseries.api import guess_datetime_format

    for format in _COMMON:
        with suppress(ValueError):
            datetime.strptime(text, format)
            return format
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns where a day above 12 settles day and month
        # An hour after noon, or the first one, is no hour to it.
        guess: str | None = guess_datetime_format(_HOUR_OF_TWELVE.sub(r"1\1AM", text))
    return guess


def _check_numbers(stretches: Callable[[], Iterable[TimeColumn]]) -> None:
    """Check that texts which are no dates are not numbers but for a few: it is these that are to be told of.

    Raises:
        InputError: they are.
    """
    odd, numbers, others = None, 0, 0
    for column in stretches():
        fits = pc.match_substring_regex(with_points(column.records, column.array), _NUMBER)
        numbers += pc.sum(fits).as_py() or 0
        others += pc.sum(pc.invert(fits)).as_py() or 0
        if odd is None and others:
            odd = column, first(pc.invert(fits))
    if odd is None or numbers <= others:
        return
    column, row = odd
    text = str(column.array[row])
    raise InputError(
        f'{column.records.name}, {column.records.place(row)}: "{text}" in column "{column.name}" is no number, as '
        f"{numbers:,} of {numbers + others:,} times are.",
        comma_hint(text) or "Mend it, or pass --time-column none to take the rows in file order.",
    )


@dataclass(frozen=True)
class _Attempt:
    """What came of reading texts in a format: how many are no times in it, and the first such; the unit of the rest."""

    format: str
    count: int
    unread: tuple[TimeColumn, int] | None
    unit: str

    @property
    def text(self) -> str:
        """The first text that is no time."""
        assert self.unread is not None
        column, row = self.unread
        return str(column.array[row])


def _read_as(stretches: Callable[[], Iterable[TimeColumn]], format: str) -> _Attempt:
    count, unread, all_fit, finest = 0, None, True, False
    for column in stretches():
        dates = column.dates(format)
        # What is no text is missing, which is told of elsewhere.
        missing = np.asarray(dates.isna()) & column.array.is_valid().to_numpy(zero_copy_only=False)
        if missing.any() and unread is None:
            unread = column, int(missing.argmax())
        count += int(missing.sum())
        finest |= dates.dt.unit == "ns" and bool(dates.notna().any())
        if not column.fits(format, "ns"):  # outside 1677 to 2262
            all_fit = False
    if finest and not all_fit and unread is None:
        assert column is not None
        raise _too_wide(column)
    return _Attempt(format, count, unread, "ns" if all_fit else "us")


def _is_date(text: str, format: str) -> bool:
    """Return whether a text alone is a time in a format, though it may not be beside nanoseconds."""
    import pandas as pd

    return not pd.isna(pd.to_datetime(text, utc=True, format=format, errors="coerce"))


def _too_wide(column: TimeColumn) -> InputError:
    return InputError(
        f'Column "{column.name}" of {column.records.name} holds both nanoseconds and times outside 1677 to 2262.',
        "Write fractions of a second with six digits, or pass --time-column none for file order.",
    )


def read_times(column: TimeColumn, reading: Reading) -> Times:
    """Return when each row happened, where the reading of the whole column is known.

    Integers and instants (since 1970, UTC where no zone is given) stand for themselves in its order, floats for their
    order, decimals for their rank.
    """
    name, type = column.name, column.array.type
    if reading.format is not None:
        instants = column.instants(reading.format, reading.unit)
        dates = instants.dt.tz_localize(None).to_numpy().astype(np.int64)
        written = "ISO 8601" if reading.format == _ISO else reading.format
        description = f"{name} ({written}, UTC where no zone is given)"
        missing = np.asarray(instants.isna())
        return _times(dates, missing, description, lambda: dates / PER_SECOND[reading.unit], reading.doubt(name))
    array, missing = _filled(_as_numbers(column.numbers(reading.number)))
    if pa.types.is_timestamp(type):
        numbers = _numpy(array)
        description = f"{name} (timestamps, {type.tz or 'UTC'})"
        return _times(numbers, missing, description, lambda: numbers / PER_SECOND[type.unit])
    if pa.types.is_date(type):
        days = _numpy(array)
        return _times(days, missing, f"{name} (dates)", lambda: days * 86_400.0)
    unit = reading.unit

    def seconds() -> np.ndarray:
        floats = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.asarray(floats / PER_SECOND[unit])

    description = f"{name} (unix {_UNITS[unit]})" if unit else f"{name} (order)"
    return _times(_number_order(array), missing, description, seconds if unit else None)


def _as_numbers(array: pa.Array) -> pa.Array:
    """Return instants in their unit, dates in days; numbers are returned as they are."""
    if pa.types.is_timestamp(array.type):
        return pc.cast(array, pa.int64())
    if pa.types.is_date(array.type):
        return pc.cast(pc.cast(pc.cast(array, pa.date32()), pa.int32()), pa.int64())
    return array


def _filled(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return numbers with 0 where there is none, and where that is, bool [n]."""
    there = array.is_valid()
    if pa.types.is_floating(array.type):
        there = pc.fill_null(pc.is_finite(pc.cast(array, pa.float64())), False)
    missing = pc.invert(there).to_numpy(zero_copy_only=False)
    return (pc.if_else(there, array, pa.scalar(0, array.type)) if missing.any() else array), missing


def _times(
    order: np.ndarray,
    missing: np.ndarray,
    description: str,
    seconds: Callable[[], np.ndarray] | None,
    doubt: str | None = None,
) -> Times:
    if not missing.any():
        return Times(order, description, seconds, missing, doubt)
    known = None if seconds is None else lambda: np.where(missing, np.nan, seconds())
    return Times(np.where(missing, np.iinfo(np.int64).min, order), description, known, missing, doubt)


def _number_order(array: pa.Array) -> np.ndarray:
    if pa.types.is_floating(array.type):
        return _comparable(np.asarray(pc.cast(array, pa.float64())))
    if pa.types.is_uint64(array.type):
        return (np.asarray(array) ^ np.uint64(2**63)).view(np.int64)
    try:
        return _numpy(pc.cast(array, pa.int64()))
    except pa.ArrowInvalid:  # fractions, or integers too large: their ranks compare the same
        ranks = np.unique(array.to_numpy(zero_copy_only=False), return_inverse=True)[1]
        return ranks.astype(np.int64)


def _comparable(numbers: np.ndarray) -> np.ndarray:
    """Return int64 [n] that compare as the float64 `numbers` do, whatever else the column holds."""
    bits = (numbers + 0.0).view(np.int64)  # -0.0 becomes 0.0
    return np.where(bits >= 0, bits, bits ^ np.int64(2**63 - 1))


def _numpy(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)
