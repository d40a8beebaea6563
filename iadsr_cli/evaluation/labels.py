"""Labels that a log brings: which rows are noise, by a column or a condition. No model ever sees them."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError, UsageError, closest
from iadsr_cli.logs.conditions import holding
from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.values import plain, told, without

_TRUE, _FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
_LABELS = "A label is true or false, or 1 or 0; compare other values, as in 'rating<=2'."
# What a condition has and the name of a column has not.
_COMPARED = re.compile(r"[<>=!]|\bin\b")


def read(log: Log, label: str) -> np.ndarray:
    """Return which rows are noise, bool [rows], by a column's name or a condition such as "rating<=2".

    Raises:
        UsageError: if there is no such column, or the condition is none.
        InputError: if a value is missing or is no label, naming the first row.
    """
    names = log.column_names
    if label in names:
        return _truth(log, label)
    if not _COMPARED.search(label):
        near = ", ".join(f'"{candidate}"' for candidate in closest(label, names))
        raise UsageError(f'--label names "{label}", which is no column of {log.name}.', f"Candidates: {near}.")
    held = holding(log.records, label, "--label")
    _all_there(log, held, f"whether '{label}' holds is not known, as a value is missing")
    return np.asarray(held.to_numpy(zero_copy_only=False), dtype=bool)


def _truth(log: Log, name: str) -> np.ndarray:
    column = log.column(name)
    try:
        written = pc.utf8_trim_whitespace(pc.cast(plain(column), pa.large_string()))
    except pa.ArrowException as error:
        raise InputError(
            f'Column "{name}" of {log.name} holds {told(column.type)}, which are no labels.', _LABELS
        ) from error
    texts = pc.utf8_lower(without(written, [""]))
    _all_there(log, texts, f'column "{name}" has no value')
    true, false = (
        pc.is_in(texts, pa.array(words, texts.type)).to_numpy(zero_copy_only=False) for words in (_TRUE, _FALSE)
    )
    neither = np.flatnonzero(~(true | false))
    if len(neither):
        row = int(neither[0])
        raise InputError(
            f'{log.name}, {log.records.place(row)}: "{written[row]}" in column "{name}" is no label.',
            _LABELS,
        )
    return np.asarray(true)


def _all_there(log: Log, column: pa.Array, otherwise: str) -> None:
    missing = np.flatnonzero(column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))
    if len(missing):
        raise InputError(
            f"{log.name}, {log.records.place(int(missing[0]))}: {otherwise}.",
            "Give every row one, or another --label.",
        )
