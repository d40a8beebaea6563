"""Open an interaction log or an items file: its rows, which column is what, and what the values mean."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import IadsrError, InputError, UsageError
from iadsr_cli.logs.delimited import DelimitedRecords
from iadsr_cli.logs.files import base_folder, is_several, log_files
from iadsr_cli.logs.formats import (
    Format,
    check_content,
    check_nameless,
    decompressed,
    format_of,
    format_of_file,
    half_the_memory,
    named_format,
    nameless,
    shown,
    too_much_text,
)
from iadsr_cli.logs.joint import check_everywhere
from iadsr_cli.logs.jsonlines import JsonRecords
from iadsr_cli.logs.listed import warning_of_histories, warning_of_lists
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.schema import Roles, find_item, find_roles, find_text
from iadsr_cli.logs.sessions import check_gap, seconds_of, session_ids
from iadsr_cli.logs.several import SeveralRecords
from iadsr_cli.logs.source import Source, read_source
from iadsr_cli.logs.spans import Gluing
from iadsr_cli.logs.stand_ins import stand_ins
from iadsr_cli.logs.tables import TableRecords
from iadsr_cli.logs.ties import Ties
from iadsr_cli.logs.time_role import find_times, likely_time
from iadsr_cli.logs.times import TimeColumn, read_times
from iadsr_cli.logs.values import canonical_ids, is_text, numbered, plain, told, without, without_times


@dataclass(frozen=True)
class ItemTexts:
    """Item texts by canonical id, in order of first appearance; a text is None where the item has none.

    `columns` are the columns the texts were joined from. `several` are the items that have several different texts
    (the first counts). `rejected` says which guessed columns do not describe items, and why. `sources` are the
    ordinary files they were read from, if these are their own, and `warnings` what is odd in these.
    """

    ids: list[str]
    texts: list[str | None]
    columns: tuple[str, ...] = ()
    several: frozenset[str] = frozenset()
    rejected: str | None = None
    sources: tuple[Source, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def conflicting(self) -> int:
        """How many items have several different texts."""
        return len(self.several)

    def of(self, items: pa.Array) -> list[str | None]:
        """Return the texts of other items, by their ids, in their order; None for one that has none here."""
        by_id = dict(zip(self.ids, self.texts, strict=True))
        return [by_id.get(item) for item in items.to_pylist()]


@dataclass(frozen=True, eq=False)
class Log:
    """An interaction log as read; row i everywhere is its i-th row, from 0, counted on over its files.

    Made by `read_log`. `stand_ins` says which user and item ids may be none, and how many rows have each; `ties`
    where the order of rows says nothing; `warnings` are what else may not be as the user believes. `timeless` says
    which rows have both ids and no time, bool [rows].
    """

    name: str
    roles: Roles
    records: Records
    sources: tuple[Source, ...]
    time_description: str | None
    stand_ins: dict[str, Counter[str]]
    ties: Ties
    warnings: tuple[str, ...]
    timeless: np.ndarray
    _users: pa.Array
    _people: pa.Array | None
    _items: pa.Array
    _all_items: pa.Array
    _times: np.ndarray | None
    _guessed_text: bool
    _missing: tuple[str, ...]

    @property
    def format(self) -> Format:
        """The format of the file; of the first if there are several."""
        return self.records.format

    @property
    def column_names(self) -> list[str]:
        """The file's column names, in its order."""
        return list(self.records.column_names)

    @property
    def num_files(self) -> int:
        """How many files the log has."""
        return len(list(self.records.files()))

    @property
    def num_rows(self) -> int:
        """How many rows the log has."""
        return self.records.num_rows

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows]: Parquet's own type, strings for CSV and TSV, JSON values for JSONL."""
        return self.records.column(name)

    def user_ids(self) -> pa.Array:
        """Return canonical user ids (large_string [rows]), null where missing; those of sessions, with a gap."""
        return self._users

    def people_ids(self) -> pa.Array | None:
        """Return the ids of those whose sessions users are (large_string [rows]); None where users are people."""
        return self._people

    def item_ids(self) -> pa.Array:
        """Return canonical item ids (large_string [rows]), null where missing, and where the time is."""
        return self._items

    def order(self) -> np.ndarray | None:
        """Return comparable times (int64 [rows], greater is later), or None: then the order is the file's.

        Ties are in file order, so sort with a stable sort; where the file is sorted by item, they are broken already.
        """
        return self._times

    def likely_time(self) -> str | None:
        """Return the column that the times seem to be in, if any: for people, where none is used."""
        return likely_time(self.roles, self.column_names, lambda name: TimeColumn(self.records, name, self._missing))

    @cached_property
    def _texts(self) -> ItemTexts:
        return texts_of(self.records, self.roles.text, self._all_items, self._missing, check=self._guessed_text)

    def item_texts(self) -> ItemTexts:
        """Return the texts of all items of the log.

        A text column that was guessed and whose text differs between the rows of most items (a review, not a
        title) is left out, and `rejected` says so.

        Raises:
            InputError: a text column holds values that are not text.
        """
        return self._texts


def read_log(source: str, settings: LogSettings) -> Log:
    """Read the log `source` whole into memory: a file, a folder, a pattern, or "-" for stdin.

    Raises:
        InputError: the file or a value in it cannot be used (see the message).
        UsageError: a setting does not fit the file.
    """
    records, sources = _read(source, settings)
    roles = find_roles(records.column_names, settings, records.name)
    _check_files(records, roles.keys)
    records.load([*roles.keys, *roles.text])
    users = canonical_ids(records, roles.user, "user", settings.null_ids, settings.missing)
    items = canonical_ids(records, roles.item, "item", settings.null_ids, settings.missing)
    stretch = cache(partial(TimeColumn, records, missing=settings.missing))
    roles, reading = find_times(roles, records.column_names, settings, records.name, lambda name: [stretch(name)])
    if settings.gap is not None:
        check_gap(roles.time, records.name)
    found, people = None, None
    if roles.time is not None and reading is not None:
        found = read_times(stretch(roles.time), reading)
    missing = np.zeros(records.num_rows, dtype=bool) if found is None else found.missing
    timed, timeless = without_times(users, items, missing)
    # Of users themselves: a session has another id.
    odd = {"user": stand_ins(users), "item": stand_ins(timed)}
    if found is not None and roles.time is not None and settings.gap is not None:
        seconds = seconds_of(found, roles.time, records.name)
        users, people = session_ids(users, found.order, seconds, settings.gap), users
    order = found and found.order
    ties = Ties.found(users, timed, order, settings.time_column is not None)
    warnings = (
        _glued(records),
        found and found.doubt,
        warning_of_lists(roles.item, items),
        warning_of_histories(records.column_names, roles),
    )
    return Log(
        records.name,
        roles,
        records,
        sources,
        found and found.description,
        odd,
        ties,
        tuple(filter(None, warnings)),
        timeless,
        users,
        people,
        timed,
        items,
        ties.broken(order, np.arange(records.num_rows)),
        not settings.text_column,
        settings.missing,
    )


def read_items(source: str, settings: LogSettings, item: str | None = None, *, joined: bool = True) -> ItemTexts:
    """Read item texts from a file with an item and a text column: one of its own, or a log.

    The first non-empty text of an item counts. Where the file is `joined` to a log, the settings are
    `ItemsSettings.of` the log's, and `item` is the log's item column; see `find_item`.

    Raises:
        InputError: the file or a value in it cannot be used (see the message).
        UsageError: it has no item or no text column, or several that could be the item column.
    """
    with _of_items() if joined else nullcontext():
        records, sources = _read(source, settings)
        column = find_item(records.column_names, settings, records.name, item, joined=joined)
        _check_files(records, [column])
        text = find_text(records.column_names, settings, records.name)
        if not text:
            columns = ", ".join(f'"{each}"' for each in records.column_names)
            raise UsageError(
                f"No column of {records.name} is used as text. Columns: {columns}.",
                _other_text(settings, joined),
            )
        records.load([column, *text])
        items = canonical_ids(records, column, "item", settings.null_ids, settings.missing)
    texts = texts_of(records, text, items, settings.missing, check=not joined and not settings.text_column)
    return replace(texts, sources=sources, warnings=tuple(filter(None, [_glued(records)])))


def _check_files(records: Records, columns: Sequence[str]) -> None:
    """Check that no Parquet file lacks a column that others have."""
    check_everywhere([file for file, _ in records.files() if isinstance(file, TableRecords)], columns)


def _other_text(settings: LogSettings, joined: bool) -> str:
    """Return what to do about an items file without a text column."""
    if not settings.text_column:
        return "Name it with --text-column."
    return "Leave out --text-column none" + (", or --items to use no text." if joined else ".")


def _glued(records: Records) -> str | None:
    """Return what is to be said of records that may be rows glued together, or None."""
    gluing = Gluing()
    for file, _ in records.files():
        if isinstance(file, DelimitedRecords):
            gluing.add(file.name, file.spans, len(file.names))
    return gluing.warning()


# What errors say of a log, and what is to be said where the file is one of items that is joined to it.
_OF_ITEMS = {
    "--no-header --columns": "--items-columns",
    "--columns": "--items-columns",
    "--item-column": "--items-item-column",
    "--delimiter": "--items-delimiter",
    "--encoding": "--items-encoding",
    "such rows are kept and not scored": "such rows are passed over",
}


@contextmanager
def _of_items() -> Iterator[None]:
    """Let errors of a file that is joined to a log name the options that are about it."""
    try:
        yield
    except IadsrError as error:
        for option, own in _OF_ITEMS.items():
            error.message, error.hint = error.message.replace(option, own), error.hint.replace(option, own)
        raise


def _read(source: str, settings: LogSettings) -> tuple[Records, tuple[Source, ...]]:
    """Return the rows of a log, and the ordinary files that they come from."""
    if is_several(source):
        read = [_read_file(str(path), settings) for path in log_files(source, settings.format)]
        records: Records = SeveralRecords.of(source, base_folder(source), [each for each, _ in read])
        sources = tuple(file for _, file in read if file is not None)
    else:
        records, file = _read_file(source, settings)
        sources = (file,) if file else ()
    if not records.num_rows:
        raise InputError(f"{records.name} has no rows.", "Give a log with at least one interaction.")
    return records, sources


def _read_file(source: str, settings: LogSettings) -> tuple[Records, Source | None]:
    name = shown(source)
    known = None if source == "-" else named_format(source, settings.format)
    is_text = known is not None and known.kind != "parquet" and Path(source).is_file()
    if is_text and Path(source).stat().st_size > half_the_memory():
        raise too_much_text(source)
    content, file = read_source(source)
    if source == "-" or nameless(source):  # only the bytes tell the format of what comes through a pipe
        format = format_of(source, settings.format, content)
    else:
        format = format_of_file(Path(source), settings.format)
    return _records(source, name, format, content, settings), file


def _records(source: str, name: str, format: Format, content: bytes, settings: LogSettings) -> Records:
    check_nameless(format, name, settings.columns)
    if format.kind == "parquet":
        return TableRecords.read(name, content)
    content = decompressed(content, format.compression, source)
    check_content(source, format, content)
    if format.kind == "jsonl":
        return JsonRecords.read(name, content, format, settings)
    return DelimitedRecords.read(name, content, format, settings)


def texts_of(
    records: Records, columns: Sequence[str], items: pa.Array, missing: Sequence[str], check: bool = False
) -> ItemTexts:
    """Return the first text of each item of some rows; with `check`, leave out columns that do not describe items."""
    codes, distinct = numbered(items)
    ids = distinct.to_pylist()
    texts = {column: _texts(records, column, missing) for column in columns}
    rejected = None
    if check:
        repeated = int((np.bincount(codes[codes >= 0], minlength=len(ids)) >= 2).sum())
        differing = {column: int(_differing(codes, texts[column], len(ids)).sum()) for column in columns}
        wrong = [column for column in columns if 2 * differing[column] > repeated]
        if wrong:
            rejected = "; ".join(
                f'column "{column}" is not item text: it differs between the rows of {differing[column]} '
                f"of the {repeated} items with two or more rows"
                for column in wrong
            )
            texts = {column: texts[column] for column in columns if column not in wrong}
    if not texts:
        return ItemTexts(ids, [None] * len(ids), rejected=rejected)
    joined = _joined(list(texts.values()))
    rows = np.flatnonzero(pc.is_valid(joined).to_numpy(zero_copy_only=False) & (codes >= 0))
    owners, firsts = np.unique(codes[rows], return_index=True)
    chosen: list[str | None] = [None] * len(ids)
    for owner, text in zip(owners.tolist(), joined.take(rows[firsts]).to_pylist(), strict=True):
        chosen[owner] = text
    several = np.flatnonzero(_differing(codes, joined, len(ids)))
    return ItemTexts(ids, chosen, tuple(texts), frozenset(ids[item] for item in several.tolist()), rejected)


def _differing(codes: np.ndarray, texts: pa.Array, items: int) -> np.ndarray:
    """Return which items have two or more different texts, bool [items]; `codes` are items [rows], -1 for none."""
    kinds, distinct = numbered(texts)
    there = (codes >= 0) & (kinds >= 0)
    pairs = np.unique(codes[there] * max(len(distinct), 1) + kinds[there])
    found: np.ndarray = np.bincount(pairs // max(len(distinct), 1), minlength=items) >= 2
    return found


def _joined(columns: list[pa.Array]) -> pa.Array:
    """Join texts row by row with ". ", passing over nulls; null where all are."""
    joined = columns[0]
    for column in columns[1:]:
        # Arrow's own joining that skips nulls loses the rows where all are null (seen in version 26).
        both = pc.binary_join_element_wise(joined, column, pa.scalar(". ", pa.large_string()))
        joined = pc.coalesce(both, joined, column)
    return joined


def _texts(records: Records, column: str, missing: Sequence[str]) -> pa.Array:
    """Return a column as stripped strings (large_string [rows]), null where there is no text."""
    values = records.column(column)
    try:
        array = plain(values)
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            # Amazon's descriptions are lists of paragraphs.
            if not is_text(array.type.value_type) and not pa.types.is_null(array.type.value_type):
                raise pa.ArrowTypeError("not text")
            array = pc.binary_join(pc.cast(array, pa.list_(pa.string())), " ")
        texts = pc.cast(array, pa.large_string())
    except pa.ArrowException as error:
        raise InputError(
            f'Column "{column}" of {records.name} holds {told(values.type)}, which cannot be read as text.',
            "Name another one with --text-column, or none.",
        ) from error
    return without(pc.utf8_trim_whitespace(texts), missing)
