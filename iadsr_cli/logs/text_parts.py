"""A text log in parts: blocks of its files' text. It is read once before all else, for what only all of it tells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from iadsr_cli.config import LogSettings
from iadsr_cli.logs.blocks import TextFile
from iadsr_cli.logs.conversion import column_types
from iadsr_cli.logs.delimited import DelimitedRecords
from iadsr_cli.logs.files import log_files
from iadsr_cli.logs.formats import Format, format_of
from iadsr_cli.logs.jsonlines import JsonRecords, Kind
from iadsr_cli.logs.parts import PartedLog, Piece, partitions_of, within
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.schema import find_roles
from iadsr_cli.logs.several import SeveralRecords, check_columns
from iadsr_cli.logs.source import Source, source_of
from iadsr_cli.logs.spans import Gluing
from iadsr_cli.logs.texts import TextRecords
from iadsr_cli.progress import Reporter


@dataclass(frozen=True)
class PartFile:
    """One text file of a log, read once.

    Attributes:
        text: the file.
        within: its name below the log's folder; None if it is the log.
        partitions: what folders say of its rows, typed, by column.
        source: the file, by its bytes, as it was before it was read.
        columns: its columns, in order of appearance.
        rows: how many it has.
        line_end: what ends a line where it has to be ended: as the file does.
    """

    text: TextFile
    within: Path | None
    partitions: dict[str, pa.Scalar]
    source: Source
    columns: tuple[str, ...]
    rows: int
    line_end: bytes

    def blocks(self, wanted: Sequence[str] | None) -> Iterator[TextRecords]:
        """Yield its records; of delimited text with some columns, or all."""
        own = None if wanted is None else [name for name in wanted if name not in self.partitions]
        return self.text.blocks(self.columns, own)


@dataclass(frozen=True)
class TextParts(PartedLog):
    """A text log, read in parts; `files` are its files, in order, at least one."""

    files: tuple[PartFile, ...]
    _kinds: dict[str, Kind] = field(default_factory=dict)

    @classmethod
    def open(cls, source: str, settings: LogSettings, reporter: Reporter) -> "TextParts":
        """Open the files of a log, and read them once.

        Raises:
            InputError: one cannot be read or has other columns, or the times cannot be used.
            UsageError: a setting does not fit the files, or the columns cannot be told.
        """
        paths = log_files(source, settings.format)
        files: list[PartFile] = []
        fixed: list[str] = []
        gluing = Gluing()
        with reporter.stage("read", None, "rows") as stage:
            for path in paths:
                file = TextFile(path, format_of(str(path), settings.format), settings)
                own, rows, returns = source_of(path), 0, False
                columns: dict[str, None] = {}
                for records in file.blocks():
                    fixed = fixed or records.fixed
                    check_columns(str(path), records.fixed, str(paths[0]), fixed)
                    columns.update(dict.fromkeys(records.column_names))
                    rows += records.num_rows
                    if isinstance(records, DelimitedRecords):
                        gluing.add(str(path), records.spans, len(records.names))
                    returns = returns or b"\r\n" in records.text
                    stage.advance(records.num_rows)
                line_end = b"\r\n" if returns else b"\n"
                files.append(PartFile(file, within(source, path), {}, own, tuple(columns), rows, line_end))
        if glued := gluing.warning():
            reporter.warn(glued)
        names = list(dict.fromkeys(name for each in files for name in each.columns))
        partitions = partitions_of(source, paths, [each.columns for each in files])
        files = [replace(each, partitions=values) for each, values in zip(files, partitions, strict=True)]
        roles = find_roles([*names, *files[0].partitions], settings, source)
        return cls(source, roles, settings, tuple(files))

    @property
    def format(self) -> Format:
        """The format of the first file."""
        return self.files[0].text.format

    @property
    def paths(self) -> list[tuple[Path, Path | None]]:
        """The files, each with its name below the log's folder; None if it is the log."""
        return [(file.text.path, file.within) for file in self.files]

    @property
    def partitions(self) -> list[str]:
        """The columns that stand in the names of folders and in no file."""
        return list(self.files[0].partitions)

    @property
    def column_names(self) -> list[str]:
        """The column names: the files' own in order of appearance, and the partitions."""
        return [*dict.fromkeys(name for file in self.files for name in file.columns), *self.partitions]

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return sum(file.rows for file in self.files)

    def sources(self) -> list[Source]:
        """Return the files as they were before they were read, by their bytes."""
        return [file.source for file in self.files]

    def key(self) -> list[Any]:
        """Return what the rows depend on besides the files' bytes: how text is read."""
        used = self.settings
        return [
            self.format.kind,
            used.delimiter,
            used.encoding,
            used.header,
            used.columns,
            used.quote_char,
            used.decimal,
        ]

    def pieces(self, with_columns: bool = False) -> Iterator[Piece]:
        """Yield all rows in the log's order, to be given back as they stand or, `with_columns`, in another format.

        There is at least one piece of each file: the first has its header.
        """
        return self._pieces(None if with_columns else ())

    def records(self, columns: Sequence[str] | None) -> Iterator[tuple[int, Records]]:
        """Yield the number of the first row, and rows with some columns, or all."""
        for piece in self._pieces(columns):
            if columns is not None:
                piece.records.load(columns)
            yield piece.first, piece.records

    @cached_property
    def column_types(self) -> dict[str, pa.DataType]:
        """The types that the columns have in another format, as `conversion.column_types` tells, from all rows."""
        return column_types((records for _, records in self.records(None)), (self.roles.user, self.roles.item))

    def kind(self, column: str) -> Kind:
        """Return what the values of a column of JSON are, which all rows tell together."""
        if column not in self._kinds:
            self.find_kinds([*self.roles.keys, *self.roles.text, column])
        return self._kinds[column]

    def find_kinds(self, columns: Sequence[str]) -> None:
        """Read all rows to tell what the values of some columns of JSON are, if that is not known yet."""
        found = {name: Kind() for name in columns if name not in self._kinds and name not in self.partitions}
        for file in self.files if found else ():
            for records in file.blocks(None):
                assert isinstance(records, JsonRecords)
                records.load(found)
                for name, kind in found.items():
                    found[name] = kind | records.kind(name)
        self._kinds.update(found)

    def _pieces(self, columns: Sequence[str] | None) -> Iterator[Piece]:
        done = 0
        for number, file in enumerate(self.files):
            for block in file.blocks(columns):
                own = replace(block, keys=file.columns, kind_of=self.kind) if isinstance(block, JsonRecords) else block
                records: Records = own
                if file.within is not None:
                    partitions = {name: [value] for name, value in file.partitions.items()}
                    records = SeveralRecords(self.name, own.format, (own,), (file.within,), partitions)
                yield Piece(number, done, records)
                done += own.num_rows
