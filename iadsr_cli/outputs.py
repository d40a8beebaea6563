"""Where the rows of a log go: checked before any work, written whole when all is decided."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from iadsr_cli.artifacts import check_folder
from iadsr_cli.config import FORMATS
from iadsr_cli.decisions import Decisions
from iadsr_cli.drafts import followed
from iadsr_cli.errors import OutputError, UsageError
from iadsr_cli.explanations import explain
from iadsr_cli.logs.folders import (
    check_folder_target,
    check_made_folder,
    check_outside,
    check_spared,
    is_folder_target,
)
from iadsr_cli.logs.parted_writer import Write, check_writing, stands, writing, writing_folder
from iadsr_cli.logs.parts import PartedLog
from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.writer import check_extra_names, check_rows, check_target, drafted_folder, drafted_rows
from iadsr_cli.progress import Reporter
from iadsr_cli.remote import Staging
from iadsr_cli.scores import Scores
from iadsr_cli.settings import check_choice

REMOVED = ("noise_score", "reason")
ANNOTATED = ("noise_score", "keep", "reason")
EXTRA = {"noise_score": pa.float32(), "keep": pa.bool_(), "reason": pa.string()}


@dataclass(frozen=True)
class OutputPlan:
    """Where the rows of a log go, and the report on them.

    Attributes:
        output: file or folder for the cleaned (or annotated) log, "-" for standard output, None for none.
        removed: file for the removed rows, or None.
        report: folder for the report, which somebody else writes, or None.
        annotate: whether `output` gets all rows with their scores instead of the kept ones as they were.
        explained: whether rows get reasons somewhere, or would if it were no dry run.
        format: format of the output, "auto" to go by its extension.
        force: whether files that exist are replaced.
        staging: what sends them to the addresses that some are for.
    """

    output: str | None
    removed: str | None
    report: Path | None
    annotate: bool
    explained: bool
    format: str
    force: bool
    staging: Staging

    @property
    def target(self) -> str | None:
        """The output's name, as it was given."""
        return self.output and self.staging.shown(self.output)

    @property
    def written(self) -> list[str]:
        """The files of rows, by the names that people know them by."""
        return [_shown(target) for target in (self.output, self.removed) if target is not None]

    def check(self, source: str, inputs: Mapping[str, str | Path | None], *, terminal: bool) -> None:
        """Check, before any work, that the rows can be written; the report has its own check.

        Args:
            source: the log, as it was named.
            inputs: what else is read, by what it is: "the folder of --model".
            terminal: whether standard output is one, and was not asked for.

        Raises:
            UsageError: if data would be poured over a terminal, or the format is not known.
            OutputError: if a file exists or cannot be written, or is what is read.
        """
        check_choice("--output-format", self.format, FORMATS)
        if self.output is not None and self.output.endswith("/") and self.format != "auto":
            raise UsageError(
                f"{self.output} is a folder, whose files keep the format of those of the log.",
                "Name one file for all of them, or leave out --output-format.",
            )
        if self.output == "-" and terminal:
            raise UsageError(
                "No output was named, and standard output is a terminal.",
                "Name a file with -o clean.csv, pipe the output, or only look with --dry-run.",
            )
        if "-" in (self.output, self.removed) and not sys.stdout.writable():
            raise OutputError("Standard output is closed.", "Name a file, as in -o clean.csv.")
        for target in (self.output, self.removed):
            if target is not None and target != "-":
                check_spared(target, inputs)
        if self.removed is not None and source != "-" and _same_file(self.removed, source):
            raise OutputError(
                f"{_shown(self.removed)} is the log itself.",
                "Name another file with --removed, --force or not: the removed rows alone would be left of the log.",
            )
        for target in (self.output, self.removed):
            if target is not None and not self._is_folder(target, source):
                if not self.force and source != "-" and _same_file(target, source):
                    raise OutputError(
                        f"{target} is the log itself.", "Name another file; --force would put the output in its place."
                    )
                check_outside(target, source)
                check_target(target, self.force)
        if self.output is not None and self._is_folder(self.output, source):
            check_folder_target(self.output, source, self.force)

    def check_places(self, source: str, inputs: Mapping[str, str | Path | None]) -> None:
        """Check, before anything is fetched, that no output would take another's place, and the report.

        A folder takes the place of all that lies there. Log and inputs are those of `check`, or their addresses.

        Raises:
            UsageError: if one would, or the report would go to standard output.
            OutputError: if the report cannot be written, or would take the place of what is read.
        """
        outputs = (
            ("the cleaned log", self.output, ""),
            ("the removed rows", self.removed, "Name another file with --removed."),
            ("the report", str(self.report) if self.report else None, "Name another folder with --report."),
        )
        for (what, place, _), (other, second, hint) in combinations(outputs, 2):
            if place is None or second is None:
                continue
            if _same_file(place, second):
                raise UsageError(f"Both {what} and {other} would go to {_shown(place)}.", hint)
            if _lies_in(second, place):
                raise UsageError(f"{second} for {other} lies in {place}, where {what} would go.", hint)
            if _lies_in(place, second):
                raise UsageError(f"{place} for {what} lies in {second}, where {other} would go.", hint)
        if self.report is not None:
            check_made_folder(self.report, source, inputs, force=self.force)

    def check_again(self, source: str) -> None:
        """Check, before the first of the outputs takes its place, that all still can, the report among them.

        Raises:
            OutputError: if something has appeared at the place of one that is not to be replaced.
        """
        for target in (self.output, self.removed):
            if target is not None and not self._is_folder(target, source):
                check_target(target, self.force)
        if self.output is not None and self._is_folder(self.output, source):
            check_folder_target(self.output, source, self.force)
        if self.report is not None:
            check_folder(self.report, force=self.force)

    def check_log(self, log: Log) -> None:
        """Check, before any training, that the outputs' formats can hold the log's columns.

        Raises:
            UsageError: if a format is not known, or the log has a column of an added one's name.
            OutputError: if a column does not fit the format.
        """
        if self.output is not None and self._is_folder(self.output, log.name):
            check_extra_names(log.name, log.column_names, ANNOTATED if self.annotate else ())
        elif self.output is not None:
            check_rows(log, self.output, ANNOTATED if self.annotate else (), self.format)
        if self.removed is not None:
            check_rows(log, self.removed, REMOVED)

    def check_files(self) -> None:
        """Check that no output of a log that is cleaned in parts is standard output, where it cannot appear whole.

        Raises:
            UsageError: if one is.
        """
        if "-" in (self.output, self.removed):
            raise UsageError(
                "A log that is cleaned in parts cannot go to standard output.",
                "Name a file with -o, or take the log into memory whole: --in-parts never, without --engine ray.",
            )

    def check_parts(self, log: PartedLog) -> None:
        """Check, before any work, that the outputs' formats can hold the columns of a log that is cleaned in parts.

        Raises:
            UsageError: if a format is not known, or the log has a column of an added one's name.
            OutputError: if a column does not fit the format.
        """
        names = ANNOTATED if self.annotate else ()
        if self.output is not None and self._is_folder(self.output, log.source):
            check_extra_names(log.name, log.column_names, names)
        elif self.output is not None:
            check_writing(log, self.output, {name: EXTRA[name] for name in names}, self.format)
        if self.removed is not None:
            check_writing(log, self.removed, {name: EXTRA[name] for name in REMOVED})

    def stands(self, log: PartedLog) -> bool:
        """Return whether all outputs of such a log get its rows as they stand."""
        output = (
            self.output is None or self._is_folder(self.output, log.source) or stands(log, self.output, self.format)
        )
        return output and (self.removed is None or stands(log, self.removed))

    def writing(self, log: PartedLog) -> AbstractContextManager[Write]:
        """Return what writes the cleaned (or annotated) rows of a log that is cleaned in parts."""
        assert self.output is not None
        extra = {name: EXTRA[name] for name in (ANNOTATED if self.annotate else ())}
        if self._is_folder(self.output, log.source):
            return writing_folder(log, self.output, extra, self.force)
        return writing(log, self.output, extra, self.force, self.format)

    def writing_removed(self, log: PartedLog) -> AbstractContextManager[Write]:
        """Return what writes the removed rows of such a log."""
        assert self.removed is not None
        return writing(log, self.removed, {name: EXTRA[name] for name in REMOVED}, self.force)

    def write(self, log: Log, scores: Scores, decisions: Decisions, reporter: Reporter) -> None:
        """Write the outputs, whole and all of them, or none."""
        if not self.written:
            return
        with self.staging.delivering(), reporter.stage("write", None, "rows") as stage, ExitStack() as files:
            if self.removed is not None:
                gone = np.flatnonzero(~decisions.keep)
                reasons = pa.array(explain(scores, decisions, gone), pa.string())
                extra = dict(zip(REMOVED, (pa.array(scores.noise[gone]), reasons), strict=True))
                files.enter_context(drafted_rows(log, self.removed, gone, extra=extra, force=self.force))
                stage.advance(len(gone))
            if self.output is not None and self.annotate:
                rows = np.arange(log.num_rows)
                noise = pa.array(scores.noise, mask=np.isnan(scores.noise))
                reasons = pa.array(explain(scores, decisions, rows), pa.string())
                columns = (noise, pa.array(decisions.keep), reasons)
                extra = dict(zip(ANNOTATED, columns, strict=True))
                files.enter_context(self._drafted(log, self.output, rows, extra))
                stage.advance(len(rows))
            elif self.output is not None:
                files.enter_context(self._drafted(log, self.output, decisions.keep, {}))
                stage.advance(int(decisions.keep.sum()))
            self.check_again(log.name)

    def _is_folder(self, target: str, source: str) -> bool:
        """Whether `target` gets the log `source` file by file; the removed rows are always one file."""
        return target == self.output and is_folder_target(source, target, self.format)

    def _drafted(
        self, log: Log, target: str, rows: np.ndarray, extra: dict[str, pa.Array]
    ) -> AbstractContextManager[None]:
        if self._is_folder(target, log.name):
            return drafted_folder(log, target, rows, extra=extra, force=self.force)
        return drafted_rows(log, target, rows, extra=extra, force=self.force, format_override=self.format)


def _same_file(one: str, other: str) -> bool:
    return one == other or ("-" not in (one, other) and followed(one) == followed(other))


def _lies_in(one: str, other: str) -> bool:
    return "-" not in (one, other) and followed(other) in followed(one).parents


def _shown(target: str) -> str:
    return "standard output" if target == "-" else target
