"""Nulls of any type, as a Parquet file takes them: for the rows of files that lack a column which others have."""

import pyarrow as pa

_BLOCK = 65_536


def nulls(rows: int, type: pa.DataType) -> pa.ChunkedArray:
    """Return so many nulls; unlike those of `pa.nulls`, structs among them have the parts that each has to have."""
    full, rest = divmod(rows, _BLOCK)
    # One block stands for all.
    blocks = [_filled(_BLOCK, type, nullable=True)] * full if full else []
    return pa.chunked_array([*blocks, _filled(rest, type, nullable=True)], type)


def _filled(rows: int, type: pa.DataType, *, nullable: bool) -> pa.Array:
    """Return nulls, or where there must be none any values."""
    if isinstance(type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type, _filled(rows, type.storage_type, nullable=nullable))
    if pa.types.is_struct(type) and type.num_fields:
        parts = [_filled(rows, part.type, nullable=part.nullable) for part in type]
        return pa.StructArray.from_arrays(parts, fields=list(type), mask=pa.repeat(nullable, rows))
    if nullable:
        return pa.nulls(rows, type)
    if pa.types.is_dictionary(type):
        value = _filled(1, type.value_type, nullable=False)
        indices = pa.repeat(pa.scalar(0, type.index_type), rows)
        return pa.DictionaryArray.from_arrays(indices, value, ordered=type.ordered)
    return pa.array([None] * rows, pa.struct([pa.field("", type, nullable=False)])).field(0)
