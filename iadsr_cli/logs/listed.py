"""Columns that list items: as ids, where a row is a user or a page, or as what the user had before each row."""

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.logs.schema import Roles, histories

# Rows whose distinct ids are looked at, and most of these.
_LOOKED_AT, _MOST_IDS = 1 << 16, 10_000
# Where more than this part of the ids are lists, all are taken for such; and more than this of what they list recurs.
_MOST = 0.5
_SEPARATORS = ("|", ";", ",", None)  # the last are blanks
_ID = re.compile(r"[^\s\d]*\d\S*")
_SHOWN = 40


def warning_of_lists(column: str, items: pa.Array) -> str | None:
    """Return what is to be said where the ids of a column of items are lists, by the first rows; else None.

    Args:
        column: the column's name.
        items: canonical ids, large_string [rows], of the first rows or of all.
    """
    ids = pc.unique(items[:_LOOKED_AT]).drop_null()[:_MOST_IDS]
    if (pc.sum(pc.match_substring_regex(ids, r"[\s|;,]")).as_py() or 0) <= _MOST * len(ids):
        return None
    lists = {each: parts for each in ids.to_pylist() if (parts := _listed(each))}
    rows = Counter(part for parts in lists.values() for part in set(parts))
    recurring = sum(count for count in rows.values() if count > 1)
    # Ids of several parts, as of a shop and its article, have all as many.
    lengths = {len(parts) for parts in lists.values()}
    if len(lists) <= _MOST * len(ids) or recurring <= _MOST * rows.total() or len(lengths) == 1:
        return None
    example = next(iter(lists))
    shown = example if len(example) <= _SHOWN else f"{example[:_SHOWN]}..."
    return (
        f'Column "{column}" seems to hold lists of items, such as "{shown}", and each list is taken for one item. '
        "A log has one row per interaction: make a row of each item of a list first."
    )


def warning_of_histories(columns: Sequence[str], roles: Roles) -> str | None:
    """Return what is to be said where columns list what the user had before each row, by their names; else None."""
    found = histories(columns, roles)
    if not found:
        return None
    named, seems = ", ".join(f'"{name}"' for name in found), "seems" if len(found) == 1 else "seem"
    return (
        f"Column{'s' * (len(found) > 1)} {named} {seems} to list what the user had before each row. Rows come back as "
        "they were: items of rows that go stay listed there. Make it anew from the cleaned log before training on it."
    )


def _listed(text: str) -> list[str]:
    """Return the ids that a text lists, of a like form and two at least; none if it is no list.

    Such ids have a digit, which tells them from the words of a title.
    """
    for separator in _SEPARATORS:
        parts = [part.strip("'\" ") for part in text.strip("[]() ").split(separator)]
        if len(parts) > 1:
            break
    if len(parts) < 2 or not all(map(_ID.fullmatch, parts)):
        return []
    alike = len({len(part) for part in parts}) == 1 or len({re.sub(r"\d+", "0", part) for part in parts}) == 1
    return parts if alike else []
