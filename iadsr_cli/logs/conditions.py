"""Conditions on a log's rows, such as `event == "buy" and price < 10`: comparisons of columns with values.

They are read by Python's own parser and never run: only comparisons, `in`, and/or/not, column names and plain values
are understood. A column whose name is no identifier stands in backticks, as in pandas' `query`.
"""

import ast
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.schema import find_column
from iadsr_cli.logs.values import comma_hint, plain, told, with_points

Value = str | float | bool

_COMPARISONS: dict[type[ast.cmpop], Callable[..., pa.Array]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
# A backtick in a string quotes nothing, so strings are matched too.
_QUOTED = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`([^`]+)`""")
_HALVES = re.compile(r"[\ud800-\udfff]")  # of characters
_LONGEST = 1024  # bits of whole numbers that floats come near
_EXAMPLES = """'event == "buy"' or '`unit price` < 10 and rating in (4, 5)'"""


def rows_where(records: Records, condition: str, option: str) -> np.ndarray:
    """Return which rows a condition holds for, bool [rows].

    No comparison with a missing value holds, and neither does its opposite. See `holding`.
    """
    held = pc.fill_null(holding(records, condition, option), False)
    return np.asarray(held.to_numpy(zero_copy_only=False), dtype=bool)


def holding(records: Records, condition: str, option: str) -> pa.Array:
    """Return where a condition holds, bool [rows]; null where that depends on a missing value.

    Text columns, which all columns of CSV and TSV are, are compared as numbers where the value is a number; an empty
    field is then a missing value.

    Args:
        records: the rows of a log.
        condition: as typed.
        option: what it was given to, for messages.

    Raises:
        UsageError: it is no condition, names a column that the log lacks, or a column cannot be compared with a value.
        InputError: a text column holds something else than the numbers, or true and false, that it is compared with.
    """
    reader = _Reader(records, " ".join(condition.strip().splitlines()), option)
    return reader.where(reader.parsed())


@dataclass(frozen=True)
class _Reader:
    """One condition, as it was given to `option`, and the log that it is about."""

    records: Records
    condition: str
    option: str

    @cached_property
    def python(self) -> str:
        """The condition with an identifier of the same length in place of each name in backticks."""
        return _QUOTED.sub(lambda match: "_" * len(match[0]) if match[1] else match[0], self.condition)

    def parsed(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes in strings
                return ast.parse(self.python, mode="eval").body
        except SyntaxError as error:
            reason = f"{error.msg.partition(';')[0]} at character {error.offset or len(self.condition) + 1}"
        except (ValueError, RecursionError, MemoryError):
            reason = "it holds what is no text, or is nested too deeply"
        raise UsageError(
            f"{self.option} cannot be '{self.condition}': {reason}.",
            f"Write it as in {_EXAMPLES}: equal is ==, text stands in quotes.",
        )

    def where(self, node: ast.expr) -> pa.Array:
        """Return where a part of the condition holds, bool [rows], null where that depends on a missing value."""
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return reduce(pc.and_kleene, map(self.where, parts))
            case ast.BoolOp(values=parts):
                return reduce(pc.or_kleene, map(self.where, parts))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return pc.invert(self.where(part))
            case ast.Compare(left=left, ops=ops, comparators=others):
                pairs = zip(pairwise([left, *others]), ops, strict=True)
                return reduce(pc.and_kleene, [self._compared(one, op, other) for (one, other), op in pairs])
        raise self._not_understood(node)

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pa.Array:
        if isinstance(op, (ast.In, ast.NotIn)):
            listed = right.elts if isinstance(right, (ast.Tuple, ast.List, ast.Set)) else [right]
            if not listed:
                raise self._not_understood(right)
            column = self._column(left)
            found = reduce(pc.or_kleene, [self._holds(column, ast.Eq, self._value(each)) for each in listed])
            return found if isinstance(op, ast.In) else pc.invert(found)
        kind = type(op)
        if kind not in _COMPARISONS:  # "is"
            raise self._not_understood(left, right)
        if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
            left, right, kind = right, left, _MIRRORED.get(kind, kind)
        return self._holds(self._column(left), kind, self._value(right))

    def _column(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name):
            raise self._not_understood(node)
        return find_column(self._written(node)[1].strip("`"), self.records.column_names, self.records.name)

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=str() as value) if _HALVES.search(value):
                pass
            case ast.Constant(value=bool() | str() | int() | float() as value):
                return value if isinstance(value, str) else _bounded(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -_bounded(value)
        raise self._not_understood(node)

    def _holds(self, column: str, comparison: type[ast.cmpop], value: Value) -> pa.Array:
        try:
            return _COMPARISONS[comparison](*self._comparable(column, value))
        except pa.ArrowException:
            raise self._not_comparable(column, value) from None

    def _comparable(self, column: str, value: Value) -> tuple[pa.Array, pa.Scalar]:
        """Return a column and a value in types that Arrow compares exactly."""
        array = plain(self.records.column(column))
        of_text = pa.types.is_large_string(array.type)
        if pa.types.is_null(array.type):
            return pa.nulls(len(array), pa.int64()), pa.scalar(0)  # whatever it is compared with
        if isinstance(value, str):
            return array, pa.scalar(value, array.type) if of_text else _instant(value, array.type)
        if isinstance(value, bool):
            truth = self._read(column, pc.utf8_lower(array), "true or false", pa.bool_()) if of_text else array
            if pa.types.is_boolean(truth.type):
                return truth, pa.scalar(value)
        elif of_text:
            digits = with_points(self.records, array)
            return _numeric(self._read(column, digits, "a number", pa.int64(), pa.float64()), value)
        elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
            return _numeric(array, value)
        raise pa.ArrowTypeError(f"{array.type} and {value!r}")

    def _read(self, column: str, texts: pa.Array, wanted: str, *types: pa.DataType) -> pa.Array:
        """Return texts as the first of `types` that all of them can be read as; empty ones become null."""
        trimmed = pc.utf8_trim_whitespace(texts)
        filled = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
        for type in types:
            if _reads(filled, type):
                return pc.cast(filled, type)
        row, end = 0, len(filled)
        while end - row > 1:  # the first one that cannot be read is in row..end
            middle = (row + end) // 2
            row, end = (middle, end) if _reads(filled[row:middle], types[-1]) else (row, middle)
        name = self.records.name
        raise InputError(
            f'{name}, {self.records.place(row)}: "{texts[row]}" in column "{column}" is not {wanted}, '
            f"as {self.option} '{self.condition}' needs it.",
            comma_hint(str(texts[row])) or "Mend or empty the field, or put the value in quotes to compare it as text.",
        )

    def _not_comparable(self, column: str, value: Value) -> UsageError:
        type = self.records.column(column).type
        shown = f'"{value}"' if isinstance(value, str) else value
        hint = "Only text, numbers, times, true and false can be compared."
        if pa.types.is_temporal(type):
            hint = 'Write times as in "2024-01-31T12:00:00".'
        elif pa.types.is_boolean(type):
            hint = "Compare it with True or False."
        elif pa.types.is_primitive(type) or pa.types.is_decimal(type):
            hint = "Compare it with a number, without quotes."
        return UsageError(
            f'Column "{column}" of {self.records.name} holds {told(type)}, which {self.option} cannot compare with '
            f"{shown}.",
            hint,
        )

    def _not_understood(self, first: ast.expr, last: ast.expr | None = None) -> UsageError:
        place, part = self._written(first, last)
        return UsageError(
            f"{self.option} cannot be '{self.condition}': \"{part}\" at character {place + 1} is not understood there.",
            f"Compare columns with values, joined by and, or, not: {_EXAMPLES}.",
        )

    def _written(self, first: ast.expr, last: ast.expr | None = None) -> tuple[int, str]:
        """Return where in the condition a part stands, from 0, and how it was typed, up to the end of `last`."""
        # The parser counts bytes.
        content = self.python.encode()
        start = len(content[: first.col_offset].decode())
        length = len(content[first.col_offset : (last or first).end_col_offset].decode())
        return start, self.condition[start : start + length]


def _bounded(value: float) -> float:
    """Return a number that was typed; a whole one beyond all floats, which may have too many digits, is infinite."""
    return math.inf if isinstance(value, int) and value.bit_length() > _LONGEST else value


def _numeric(array: pa.Array, value: float) -> tuple[pa.Array, pa.Scalar]:
    """Return numbers and a number in one type; a NaN is a missing value."""
    if pa.types.is_integer(array.type) and isinstance(value, int):
        try:
            return array, pa.scalar(value, array.type)
        except (OverflowError, pa.ArrowInvalid):  # a value beyond all of the column's
            pass
    if pa.types.is_decimal(array.type):  # Arrow's way from decimals to floats is off by a last digit; text is exact
        array = pc.cast(array, pa.large_string())
    if not pa.types.is_floating(array.type):
        array = pc.cast(array, pa.float64(), safe=False)
    # From its digits a value beyond all floats is infinite, not an error.
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array), pa.scalar(float(str(value)), array.type)


def _instant(value: str, type: pa.DataType) -> pa.Scalar:
    """Return a time or date that was typed, as one of a column's type; without a zone it is UTC, as in columns."""
    if not pa.types.is_timestamp(type):
        return pc.cast(pa.array([value]), type)[0] if pa.types.is_date(type) else pa.scalar(value)
    naive = pa.timestamp(type.unit)
    try:
        read = pc.cast(pa.array([value]), naive)
    except pa.ArrowInvalid:
        read = pc.cast(pa.array([value]), pa.timestamp(type.unit, "UTC"))
    return pc.cast(read, type)[0]


def _reads(texts: pa.Array, type: pa.DataType) -> bool:
    try:
        pc.cast(texts, type)
    except pa.ArrowInvalid:
        return False
    return True
