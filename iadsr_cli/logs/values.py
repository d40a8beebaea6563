"""What a column's values mean: ids that join across files; `logs.times` reads times."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError
from iadsr_cli.logs.records import Records


def plain(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array: dictionaries decoded, strings (and bytes in UTF-8) as large_string.

    Decimals have 128 bits at least: of shorter ones Arrow neither tells the distinct ones nor rounds them.

    Raises:
        pa.ArrowException: strings are not UTF-8, or a dictionary cannot be decoded; see `told`.
    """
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if is_text(column.type):
        # By way of bytes: Arrow does not look at what a file says is text.
        column = pc.cast(pc.cast(column, pa.large_binary()), pa.large_string())
    elif pa.types.is_decimal(column.type) and column.type.bit_width < 128:
        column = pc.cast(column, pa.decimal128(column.type.precision, column.type.scale))
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
        pa.types.is_binary_view,
    )
    return any(test(type) for test in tests)


def without(texts: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Return strings (large_string), null where they are one of those that stand for a missing value."""
    return pc.if_else(pc.is_in(texts, pa.array(missing, texts.type)), pa.scalar(None, texts.type), texts)


def with_points(records: Records, texts: pa.Array) -> pa.Array:
    """Return texts that may be numbers as other programs write them, with a point before the fraction."""
    return texts if records.decimal == "." else pc.replace_substring(texts, records.decimal, ".")


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
    array = plain_or_error(records, column, f"{role} ids")
    ids = _id_strings(records, column, role, array, missing)
    if ids.null_count and null_ids != "keep":
        place = records.place(first(pc.is_null(ids)))
        raise missing_ids(ids.null_count, records.num_rows, role, column, records.name, place)
    return ids


def numbered(ids: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return values as their places among the distinct ones, int64 [n], -1 where null; and these, as they appear."""
    encoded = pc.dictionary_encode(ids)
    return pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def without_times(users: pa.Array, items: pa.Array, missing: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Return the items, null in rows that have both ids and are `missing` a time (bool [rows]), and which these are.

    Such rows take no part, as those without an item do.
    """
    there = pc.and_(users.is_valid(), items.is_valid()).to_numpy(zero_copy_only=False)
    timeless = missing & there
    if not timeless.any():
        return items, timeless
    return pc.if_else(pa.array(timeless), pa.scalar(None, items.type), items), timeless


def missing_ids(count: int, rows: int, role: str, column: str, name: str, place: str) -> InputError:
    """Return the error of a log of that name in which `count` of the rows have no id, the first at `place`."""
    return InputError(
        f"{count} of {rows} rows {'have' if count > 1 else 'has'} no {role} id "
        f'in column "{column}" of {name}, the first is {place}.',
        "Fill them in, or pass --null-ids keep: such rows are kept and not scored.",
    )


def _id_strings(records: Records, column: str, role: str, array: pa.Array, missing: Sequence[str]) -> pa.Array:
    type = array.type
    if pa.types.is_null(type):
        return pc.cast(array, pa.large_string())
    if pa.types.is_large_string(type):
        mixed = records.kinds(column) - {str, int, float}
        if mixed:
            raise unusable(records, column, f"{role} ids", f"{min(kind.__name__ for kind in mixed)} values")
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
    raise unusable(records, column, f"{role} ids", f"{type} values")


def _without_fraction(records: Records, column: str, role: str, array: pa.Array, whole: pa.Array) -> pa.Array:
    wrong = pc.fill_null(pc.invert(whole), False)
    if pc.any(wrong).as_py():
        row = first(wrong)
        raise InputError(
            f'{records.name}, {records.place(row)}: {array[row].as_py()} in column "{column}" is not a '
            f"usable {role} id.",
            f"Ids are strings or whole numbers; name another column with --{role}-column.",
        )
    return array


def plain_or_error(records: Records, column: str, use: str) -> pa.Array:
    """Return a column as `plain` does, for a `use` such as "times".

    Raises:
        InputError: it holds what cannot be used so.
    """
    values = records.column(column)
    try:
        return plain(values)
    except pa.ArrowException as error:
        raise unusable(records, column, use, told(values.type)) from error


def told(type: pa.DataType) -> str:
    """Return what a column of a type holds that cannot be read, as messages say it."""
    return "text that is not UTF-8" if is_text(type) else f"{type} values"


def unusable(records: Records, column: str, use: str, found: str) -> InputError:
    """Return the error of a column that holds what cannot be used as ids or "times"."""
    role = use.removesuffix(" ids") if use.endswith(" ids") else "time"
    return InputError(
        f'Column "{column}" of {records.name} holds {found}, which cannot be {use}.',
        ("Make a row of each element of the lists first, or name" if "list" in found else "Name")
        + f" another column with --{role}-column"
        + (" (none for file order)." if role == "time" else "; ids are strings or whole numbers."),
    )


def comma_hint(text: str) -> str | None:
    """Return what to do about a text that is a number if a comma stands before its fraction; None if it is none."""
    if re.fullmatch(r"[+-]?\d+,\d+", text) is None:
        return None
    return "Say that a comma stands before fractions with --decimal ',' or mend it."


def first(mask: pa.Array) -> int:
    """Return the place of the first true value."""
    return int(pc.index(mask, True).as_py())
