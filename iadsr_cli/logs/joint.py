"""One schema for the files of a Parquet log, whose writers may have given a column several types."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError
from iadsr_cli.logs.nulls import nulls
from iadsr_cli.logs.several import mismatch
from iadsr_cli.logs.values import is_text

_UNITS = ("ns", "us", "ms", "s")


class TableFile(Protocol):
    """A file whose columns have types."""

    @property
    def name(self) -> str:
        """The file, as messages show it."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns' types."""

    def values(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield the values of a column, in stretches."""


def joint_schema(files: Sequence[TableFile]) -> pa.Schema:
    """Return all columns of files, as they appear, with types that hold the values of all, and the first's metadata.

    What Arrow promotes goes together: strings of any kind, numbers or times of several widths and units, a column that
    is all null in one file, whole numbers that have become floats for the sake of a null. Every value stays what it
    is, or there is no such type: of columns whose types alone do not promise that, the values are looked at. A column
    that a file has not is null in its rows.

    Raises:
        InputError: no type holds the values of a column of all files.
    """
    first = files[0].schema
    names = list(dict.fromkeys(name for file in files for name in file.schema.names))
    fields = [_joint_field(files, name) for name in names]
    changed = {
        field.name for field in fields if field.name in first.names and field.type != first.field(field.name).type
    }
    return pa.schema(fields, _without_notes(first.metadata, changed))


def check_everywhere(files: Sequence[TableFile], columns: Iterable[str]) -> None:
    """Check that no file lacks one of some columns that others have.

    Raises:
        InputError: if one does.
    """
    for column in columns:
        there = [file for file in files if column in file.schema.names]
        for file in files if there else ():
            if column not in file.schema.names:
                raise mismatch(file.name, f'has no column "{column}", which {there[0].name} has')


def with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns and types of a joint schema."""
    columns = [
        pc.cast(table.column(field.name), field.type)
        if field.name in table.column_names
        else nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _without_notes(metadata: dict[bytes, bytes] | None, columns: Collection[str]) -> dict[bytes, bytes] | None:
    """Return a file's metadata without what pandas has noted of some columns: it would make the noted type of them."""
    if not columns or not metadata or b"pandas" not in metadata:
        return metadata
    try:
        notes = json.loads(metadata[b"pandas"])
        notes["columns"] = [note for note in notes["columns"] if note["field_name"] not in columns]
    except (ValueError, KeyError, TypeError):  # not by pandas
        return metadata
    return {**metadata, b"pandas": json.dumps(notes).encode()}


def _joint_field(files: Sequence[TableFile], column: str) -> pa.Field:
    having = [file for file in files if column in file.schema.names]
    fields = [file.schema.field(column) for file in having]
    nullable = len(having) < len(files) or any(field.nullable for field in fields)
    return fields[0].with_type(_joint_type(having, column)).with_nullable(nullable)


def _joint_type(files: Sequence[TableFile], column: str) -> pa.DataType:
    types = {file.schema.field(column).type for file in files}
    if len(types) == 1:
        return types.pop()
    for type in _candidates(file.schema.field(column).type for file in files):
        if all(_fits(file, column, type) for file in files):
            return type
    raise _clash(files, column)


def _candidates(types: Iterable[pa.DataType]) -> list[pa.DataType]:
    """Return what may hold values of all the types, the best first."""
    distinct = list(dict.fromkeys(map(_decoded, types)))
    try:
        schemas = [pa.schema([("", type)]) for type in distinct]
        joint = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return []
    # Arrow rounds decimals to floats without a word, and makes them too short for whole numbers.
    if all(any(_has(type, test) for type in distinct) for test in (pa.types.is_decimal, _is_other_number)):
        return []
    # Not every date has nanoseconds.
    if pa.types.is_timestamp(joint) or pa.types.is_duration(joint):
        return _units_between(joint, distinct)
    # Whole numbers beyond 2^53 are no floats, but floats may be whole.
    return [joint, *(type for type in distinct if pa.types.is_primitive(joint) and type != joint)]


def _units_between(joint: pa.DataType, types: Iterable[pa.DataType]) -> list[pa.DataType]:
    """Return the joint type of times or durations in each unit from the finest of these types to the coarsest."""
    units = [_UNITS.index(type.unit) for type in types if type.id == joint.id]
    between = _UNITS[min(units) : max(units) + 1]
    return [pa.duration(unit) if pa.types.is_duration(joint) else pa.timestamp(unit, joint.tz) for unit in between]


def _decoded(type: pa.DataType) -> pa.DataType:
    """Return the type of a dictionary's values, and what Arrow promotes of string views."""
    if pa.types.is_dictionary(type):
        return _decoded(type.value_type)
    return pa.large_string() if pa.types.is_string_view(type) else type


def _is_other_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_floating(type) or pa.types.is_integer(type))


def _has(type: pa.DataType, test: Callable[[pa.DataType], bool]) -> bool:
    return test(type) or any(_has(type.field(part).type, test) for part in range(type.num_fields))


def _fits(file: TableFile, column: str, type: pa.DataType) -> bool:
    """Return whether every value of a file's column is the same in another type."""
    if file.schema.field(column).type == type or is_text(type):
        return True
    try:
        for values in file.values(column):
            pc.cast(values, type)
    except pa.ArrowException:
        return False
    return True


def _clash(files: Sequence[TableFile], column: str) -> InputError:
    """Return the error of a column that has no joint type: the first file whose values none before agree with."""
    firsts: dict[pa.DataType, TableFile] = {}
    for file in files:
        firsts.setdefault(file.schema.field(column).type, file)
    kinds = list(firsts.items())
    for number, (type, file) in enumerate(kinds):
        for before, other in kinds[:number]:
            if not _candidates([before, type]):
                return _differing(file, other, column, "")
    first, other, *_ = firsts.values()
    return _differing(other, first, column, ", and no type holds both exactly")


def _differing(file: TableFile, other: TableFile, column: str, why: str) -> InputError:
    kinds = [each.schema.field(column).type for each in (file, other)]
    return mismatch(file.name, f'has {kinds[0]} values in column "{column}", {other.name} has {kinds[1]}{why}')
