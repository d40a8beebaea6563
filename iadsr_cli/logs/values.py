"""What a column's values mean: ids that join across files, times that can be compared."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError
from iadsr_cli.logs.records import Records

_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Epoch times from 1973 on: 1e8 s, 1e11 ms, ... Smaller numbers are taken for positions in an order.
_MAGNITUDES = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))


def plain(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array: dictionaries decoded, strings (and bytes in UTF-8) as large_string."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if is_text(column.type):
        # By way of bytes: Arrow does not look at what a file says is text.
        column = pc.cast(pc.cast(column, pa.large_binary()), pa.large_string())
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # what an older Arrow returns
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array


def is_text(type: pa.DataType) -> bool:
    """Whether values are strings, or bytes that old writers use for them."""
    tests: tuple[Callable[[pa.DataType], bool], ...] = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
    )
    return any(test(type) for test in tests)


def without(texts: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Return strings (large_string), null where they are one of those that stand for a missing value."""
    return pc.if_else(pc.is_in(texts, pa.array(missing, texts.type)), pa.scalar(None, texts.type), texts)


def canonical_ids(records: Records, column: str, role: str, null_ids: str, missing: Sequence[str] = ("",)) -> pa.Array:
    """Return a column's ids as strings (large_string [rows]) that are the same whatever the file's format.

    Whole numbers are written as integers (22 and 22.0 both as "22"), strings stay as they stand.
    A null, a NaN or a missing string is null.

    Args:
        records: the file's rows.
        column: the column's name.
        role: "user" or "item", for messages.
        null_ids: "error", or "keep" to allow nulls.
        missing: strings that are null.

    Raises:
        InputError: values that are no ids (numbers with a fraction, booleans, lists ...), or nulls.
    """
    array = _plain_or_error(records, column, f"{role} ids")
    ids = _id_strings(records, column, role, array, missing)
    if ids.null_count and null_ids != "keep":
        first = _first(pc.is_null(ids))
        have = "have" if ids.null_count > 1 else "has"
        raise InputError(
            f"{ids.null_count} of {records.num_rows} rows {have} no {role} id "
            f'in column "{column}" of {records.name}, the first is {records.place(first)}.',
            "Fill them in, or pass --null-ids keep: such rows are kept and not scored.",
        )
    return ids


def _id_strings(records: Records, column: str, role: str, array: pa.Array, missing: Sequence[str]) -> pa.Array:
    type = array.type
    if pa.types.is_null(type):
        return pc.cast(array, pa.large_string())
    if pa.types.is_large_string(type):
        mixed = records.kinds(column) - {str, int, float}
        if mixed:
            raise _unusable(records, column, f"{role} ids", f"{min(kind.__name__ for kind in mixed)} values")
        return without(array, missing)
    if pa.types.is_integer(type):
        return pc.cast(array, pa.large_string())
    if pa.types.is_decimal(type):
        array = _without_fraction(records, column, role, array, pc.equal(pc.round(array), array))
        return pc.replace_substring_regex(pc.cast(array, pa.large_string()), r"\.0*$", "")
    if pa.types.is_floating(type):
        array = pc.cast(array, pa.float64())
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
        # Beyond 2^63 a float is a made-up id at best; it is refused like a fraction.
        whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), 2.0**63))
        array = _without_fraction(records, column, role, array, whole)
        return pc.cast(pc.cast(array, pa.int64()), pa.large_string())
    if str(type) in {"extension<arrow.uuid>", "uuid"}:
        return pa.array((None if v is None else str(v) for v in array.to_pylist()), pa.large_string())
    raise _unusable(records, column, f"{role} ids", f"{type} values")


def _without_fraction(records: Records, column: str, role: str, array: pa.Array, whole: pa.Array) -> pa.Array:
    wrong = pc.fill_null(pc.invert(whole), False)
    if pc.any(wrong).as_py():
        row = _first(wrong)
        raise InputError(
            f'{records.name}, {records.place(row)}: {array[row].as_py()} in column "{column}" is not a '
            f"usable {role} id.",
            f"Ids are strings or whole numbers; name another column with --{role}-column.",
        )
    return array


class Times(NamedTuple):
    """When each row happened.

    Attributes:
        order: int64 [rows], only to be compared with each other: greater is later.
        description: how the column was read.
        seconds: returns the times in seconds, float64 [rows]; None where their unit is not known.
    """

    order: np.ndarray
    description: str
    seconds: Callable[[], np.ndarray] | None


def times(records: Records, column: str, unit: str, missing: Sequence[str] = ("",)) -> Times:
    """Return when each row happened, and how the column was read.

    Integers and instants (since 1970, UTC where no zone is given) stand for themselves in its order, floats for their
    order, decimals for their rank.

    Args:
        records: the file's rows.
        column: the column's name.
        unit: "s", "ms", "us", "ns", or "auto" to guess it from a number's size.
        missing: strings that are no time.

    Raises:
        InputError: a missing time, or one that cannot be read as a time.
    """
    array = _plain_or_error(records, column, "times")
    type = array.type
    if pa.types.is_large_string(type):
        return _string_times(records, column, unit, without(pc.utf8_trim_whitespace(array), missing))
    _check_present(records, column, array)
    if pa.types.is_timestamp(type):
        numbers = _numpy(pc.cast(array, pa.int64()))
        return Times(numbers, f"{column} (timestamps, {type.tz or 'UTC'})", lambda: numbers / _PER_SECOND[type.unit])
    if pa.types.is_date(type):
        days = pc.cast(array, pa.date32())
        numbers = _numpy(pc.cast(pc.cast(days, pa.int32()), pa.int64()))
        return Times(numbers, f"{column} (dates)", lambda: numbers * 86_400.0)
    if pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type):
        return _number_times(column, unit, array)
    raise _unusable(records, column, "times", f"{type} values")


def with_points(records: Records, texts: pa.Array) -> pa.Array:
    """Return texts that may be numbers as other programs write them, with a point before the fraction."""
    return texts if records.decimal == "." else pc.replace_substring(texts, records.decimal, ".")


def _number_times(column: str, unit: str, array: pa.Array) -> Times:
    largest = abs(pc.max(pc.cast(pc.abs(array), pa.float64(), safe=False)).as_py())
    if unit == "auto":
        unit = next((unit for floor, unit in _MAGNITUDES if largest >= floor), "")
    description = f"{column} (unix {_UNITS[unit]})" if unit else f"{column} (order)"

    def seconds() -> np.ndarray:
        floats = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.asarray(floats / _PER_SECOND[unit])

    return Times(_number_order(array), description, seconds if unit else None)


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


def _string_times(records: Records, column: str, unit: str, array: pa.Array) -> Times:
    _check_present(records, column, array)
    digits = with_points(records, array)
    for number in (pa.int64(), pa.float64()):
        try:
            numbers = pc.cast(digits, number)
        except pa.ArrowInvalid:
            continue
        _check_present(records, column, numbers)
        return _number_times(column, unit, numbers)
    return _calendar_times(records, column, array)


def _calendar_times(records: Records, column: str, array: pa.Array) -> Times:
    """Read dates and times: ISO 8601 with or without offsets, else the one format that fits all rows."""
    import pandas as pd
    from pandas.tseries.api import guess_datetime_format

    strings = pd.Series(array.to_pylist(), dtype=object)

    def parsed(format: str) -> Any:
        return pd.to_datetime(strings, utc=True, format=format, errors="coerce")

    format, result = "ISO8601", parsed("ISO8601")
    unread = np.asarray(result.isna())
    # A first "01/02/2020" is in January or February: where the guess fails, the row it fails at may tell.
    # Rows are never read each in a format of its own: that could put them in a wrong order without a word.
    for _ in range(2):
        if not unread.any():
            break
        row = int(unread.argmax())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas warns where a day above 12 settles day and month
            guess = guess_datetime_format(strings[row])
        if guess is None:
            break
        attempt = parsed(guess)
        if attempt.isna().sum() >= unread.sum():
            break
        format, result, unread = guess, attempt, np.asarray(attempt.isna())
    if unread.any():
        row = int(unread.argmax())
        reading = "" if format == "ISO8601" else f" like the others ({format})"
        raise InputError(
            f'{records.name}, {records.place(row)}: "{strings[row]}" in column "{column}" is not a time{reading}.',
            "Write times as 2024-01-31T12:00:00Z or unix seconds, or pass --time-column none for file order.",
        )
    try:
        instants = result.dt.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:  # outside 1677 to 2262
        instants = result.dt.as_unit("us")
    numbers = instants.dt.tz_localize(None).to_numpy().astype(np.int64)
    description = f"{column} ({'ISO 8601' if format == 'ISO8601' else format}, UTC where no zone is given)"
    return Times(numbers, description, lambda: numbers / _PER_SECOND[instants.dt.unit])


def _check_present(records: Records, column: str, array: pa.Array) -> None:
    """Check that every time is there and finite."""
    absent = pc.is_null(array)
    if pa.types.is_floating(array.type):
        absent = pc.or_(absent, pc.invert(pc.fill_null(pc.is_finite(array), False)))
    count = pc.sum(absent).as_py() or 0
    if count:
        row = _first(absent)
        raise InputError(
            f"{count} of {records.num_rows} rows {'have' if count > 1 else 'has'} no time in column "
            f'"{column}" of {records.name}, the first is {records.place(row)}.',
            "Fill them in, or pass --time-column none to take the rows in file order.",
        )


def _plain_or_error(records: Records, column: str, use: str) -> pa.Array:
    values = records.column(column)
    try:
        return plain(values)
    except pa.ArrowException as error:
        found = "text that is not UTF-8" if is_text(values.type) else f"{values.type} values"
        raise _unusable(records, column, use, found) from error


def _unusable(records: Records, column: str, use: str, found: str) -> InputError:
    role = use.removesuffix(" ids") if use.endswith(" ids") else "time"
    return InputError(
        f'Column "{column}" of {records.name} holds {found}, which cannot be {use}.',
        f"Name another column with --{role}-column"
        + (" (none for file order)." if role == "time" else "; ids are strings or whole numbers."),
    )


def _first(mask: pa.Array) -> int:
    return int(pc.index(mask, True).as_py())


def _numpy(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)
