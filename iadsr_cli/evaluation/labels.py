"""Labels that a log brings: which rows are noise, by a column or a comparison. No model ever sees them."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError, UsageError, closest
from iadsr_cli.logs.reader import Log

_COMPARISON = re.compile(r"\s*(?P<column>.+?)\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<value>.+?)\s*")
_OPERATORS = {
    "<=": pc.less_equal,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    ">": pc.greater,
}
_TRUE, _FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


def read(log: Log, label: str) -> np.ndarray:
    """Return which rows are noise, bool [rows], by a column's name or a comparison such as "rating<=2".

    Raises:
        UsageError: if there is no such column.
        InputError: if a value is missing or is no label, naming the first row.
    """
    names = log.column_names
    comparison = None if label in names else _COMPARISON.fullmatch(label)
    name = comparison["column"] if comparison else label
    if name not in names:
        near = ", ".join(f'"{candidate}"' for candidate in closest(name, names))
        raise UsageError(f'--label names "{name}", which is no column of {log.name}.', f"Candidates: {near}.")
    column = _column(log, name)
    if comparison is None:
        return _truth(log, name, column)
    try:
        number = float(comparison["value"])
    except ValueError:
        raise UsageError(
            f'--label compares with "{comparison["value"]}", which is no number.', "Give it as in 'rating<=2'."
        ) from None
    try:
        values = column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise InputError(f'{log.name}: column "{name}" holds no numbers ({error}).', "Compare another one.") from None
    _all_there(log, name, values)
    found: np.ndarray = _OPERATORS[comparison["operator"]](values, number).to_numpy(zero_copy_only=False)
    return found


def _column(log: Log, name: str) -> pa.Array:
    """Return a column's values; an empty field of a text format is a missing value."""
    column = log.column(name)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        stripped = pc.utf8_trim_whitespace(array)
        return pc.if_else(pc.equal(stripped, ""), pa.scalar(None, stripped.type), stripped)
    return array


def _truth(log: Log, name: str, column: pa.Array) -> np.ndarray:
    texts = pc.utf8_lower(column.cast(pa.string()))
    _all_there(log, name, texts)
    true, false = (pc.is_in(texts, pa.array(words)).to_numpy(zero_copy_only=False) for words in (_TRUE, _FALSE))
    neither = np.flatnonzero(~(true | false))
    if len(neither):
        row = int(neither[0])
        raise InputError(
            f'{log.name}, {log.records.place(row)}: "{column[row]}" in column "{name}" is no label.',
            "A label is true or false, or 1 or 0; compare other values, as in 'rating<=2'.",
        )
    return np.asarray(true)


def _all_there(log: Log, name: str, column: pa.Array) -> None:
    missing = np.flatnonzero(column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))
    if len(missing):
        raise InputError(
            f'{log.name}, {log.records.place(int(missing[0]))}: column "{name}" has no value.',
            "Give every row one, or another --label.",
        )
