"""What a person sees: stages, notes, tables and errors, all on standard error; one JSON object for machines."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from iadsr_cli.errors import IadsrError

# Columns of a log file or a pipe, which have no width of their own.
_UNWATCHED_WIDTH = 120


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # Rich would end the process with exit code 1.
        raise BrokenPipeError


class _BarStage:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self.done = 0
        self.detail = ""

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        self._progress.advance(self._task, amount)

    def describe(self, detail: str) -> None:
        self.detail = detail
        self._progress.update(self._task, detail=detail)


class Face:
    """A run's reporter: for people unless `quiet` or `json`, in which case only errors are for people.

    Attributes:
        seconds: how long each stage took, by name, in order.
        warnings: all that was warned of.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        self.json = json
        self.spoken = not (quiet or json)
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.console = _Console(stderr=True, highlight=False)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = _UNWATCHED_WIDTH

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[_BarStage]:
        """Show a bar on a terminal, and when the stage is over one line of what was done."""
        start = time.perf_counter()
        live = self.spoken and self.console.is_terminal
        columns: list[ProgressColumn] = [
            SpinnerColumn(),
            TextColumn("{task.description:9}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn(unit, style="dim"),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(compact=True),
        ]
        if total is None:
            columns = [SpinnerColumn(), TextColumn("{task.description:9}"), TimeElapsedColumn()]
        if self.console.width >= 100:
            columns.append(TextColumn("{task.fields[detail]}", style="dim"))
        with Progress(*columns, console=self.console, disable=not live, transient=True) as progress:
            task = progress.add_task(name, total=total, detail="")
            stage = _BarStage(progress, task)
            yield stage
        elapsed = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        if self.spoken:
            amount = counted(stage.done, unit.removesuffix("s")) if stage.done else ""
            detail = f"  [dim]{escape(stage.detail)}[/]" if stage.detail else ""
            line = f"[green]✓[/] {name:9} {duration(elapsed):>8}  {amount}{detail}"
            if live:
                self.console.print(line, no_wrap=True, overflow="ellipsis")
            else:
                self.console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a fact."""
        if self.spoken:
            self.console.print(Padding(escape(text), (0, 0, 0, 2), expand=False), style="dim")

    def warn(self, text: str) -> None:
        """Print a warning, and remember it for the JSON summary."""
        self.warnings.append(text)
        if self.spoken:
            self.console.print(f"[yellow]warning:[/] {escape(text)}")

    def facts(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Print names and values beneath a title."""
        if self.spoken:
            self.console.print(f"[bold]{escape(title)}[/]")
            table = Table.grid(padding=(0, 2))
            table.add_column(style="cyan", no_wrap=True)
            table.add_column(overflow="fold")
            for name, value in rows:
                table.add_row(f"  {name}", escape(value))
            self.console.print(table)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table beneath a title, if it has one; the first column is text, the others are numbers."""
        if self.spoken:
            self.console.print(f"[bold]{escape(title)}[/]")
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim", border_style="dim")
            for index, name in enumerate(header):
                table.add_column(name, justify="right" if index else "left", style="" if index else "cyan")
            for row in rows:
                table.add_row(*(escape(cell) for cell in row))
            self.console.print(Padding(table, (0, 0, 0, 1), expand=False))

    def summary(self, content: dict[str, Any], *, data_on_stdout: bool = False) -> None:
        """Print the JSON object of `--json`: on standard output, or on standard error when data is there."""
        if self.json:
            whole = {**content, "seconds": self.rounded_seconds(), "warnings": self.warnings}
            stream = sys.stderr if data_on_stdout else sys.stdout
            stream.write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
            stream.flush()

    def rounded_seconds(self) -> dict[str, float]:
        """Return the seconds of each stage to the millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}

    def slowest(self) -> str:
        """Return the stage that took longest, its time and the time of all stages."""
        name = max(self.seconds, key=lambda key: self.seconds[key])
        total = sum(self.seconds.values())
        return f"{name}, {duration(self.seconds[name])} of {duration(total)}"


def counted(count: int, noun: str) -> str:
    """Return "1 row" or "1,500 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return 0.4 s, 12 s or 3:07 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02} min"


def print_error(error: IadsrError) -> None:
    """Print what is wrong and, on its own line, what to do."""
    console = _Console(stderr=True, highlight=False, soft_wrap=True)
    with suppress(BrokenPipeError):
        console.print(f"[bold red]error:[/] {escape(error.message)}")
        console.print(f"[bold]hint:[/] {escape(error.hint)}")
