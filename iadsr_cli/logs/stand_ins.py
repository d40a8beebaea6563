"""Ids that may be none: what other programs write where one is missing, and what would be one user of many rows."""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.progress import Reporter

_STAND_INS = ("NA", "N/A", "<NA>", "NULL", "null", "nan", "NaN", "None", "none", r"\N", "undefined")
# Of so much of a log, one is likelier to be no id than somebody's or something's.
_TOO_MANY = 0.01


def stand_ins(ids: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """Return those of the ids that may be none, and how many rows have each."""
    return Counter(ids.filter(pc.is_in(ids, value_set=pa.array(_STAND_INS, ids.type))).to_pylist())


def warn_of_stand_ins(counts: Mapping[str, Mapping[str, int]], rows: int, reporter: Reporter) -> None:
    """Warn of stand-ins that much of a log has, by role."""
    for role, found in counts.items():
        for name, count in found.items():
            if count > _TOO_MANY * rows:
                reporter.warn(
                    f'The {role} of {count:,} of {rows:,} rows is "{name}". If that stands for a missing id, add '
                    f"--null-values '{name}' --null-ids keep."
                )
