"""The rows of a Parquet file: a table, with its own types."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from iadsr_cli.errors import InputError
from iadsr_cli.logs.records import Records, check_names


@dataclass(frozen=True, eq=False)
class TableRecords(Records):
    """Rows of a Parquet file, with its own types and schema metadata; `codec` is the file's compression."""

    table: pa.Table
    codec: str

    @classmethod
    def read(cls, name: str, content: bytes) -> "TableRecords":
        """Read a Parquet file's bytes.

        Raises:
            InputError: it is not whole, not Parquet, or has two columns of one name.
        """
        try:
            # Not read_table: that would make columns out of folder names such as "day=1/".
            file = pq.ParquetFile(pa.BufferReader(content))
            table = file.read()
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{name} is not a readable Parquet file: {_first_line(error)}",
                "It may be cut off or be another format: copy it again, or say what it is with --format.",
            ) from error
        check_names(table.column_names, name)
        codec = file.metadata.row_group(0).column(0).compression if table.num_columns else "UNCOMPRESSED"
        return cls(name, table, {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}.get(codec, codec.lower()))

    @property
    def column_names(self) -> list[str]:
        """The columns, in the file's order."""
        return list(self.table.column_names)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows] with the type it has in the file."""
        return self.table.column(name)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."
