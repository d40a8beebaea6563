"""What a person sees: stages, notes, tables and errors, all on standard error; one JSON object for machines."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from iadsr_cli.errors import IadsrError, one_line

# Columns of a log file or a pipe, which have no width of their own.
_UNWATCHED_WIDTH = 120


def plain(text: str, style: str = "") -> Text:
    """Return a text as it is to be printed: no markup, no emoji, and nothing in it that would steer the terminal."""
    return Text(one_line(text), style)


class _Console(Console):
    """Rich's console, but for a closed pipe."""

    def on_broken_pipe(self) -> None:
        # Rich would end the process with exit code 1.
        raise BrokenPipeError


class _Speed(ProgressColumn):
    """Units per second, once there are any: "12,300 rows/s"."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        # A number that the unit is of stands before it where a total is known.
        at_rest = self._unit if task.total is not None else ""
        return Text(f"{task.speed:,.0f} {self._unit}/s" if task.speed else at_rest, style="dim")


class Bar:
    """A stage as it is shown.

    Attributes:
        done: units so far.
        detail: what `describe` was told last.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self.done = 0
        self.detail = ""

    def advance(self, amount: int = 1) -> None:
        """Move on."""
        self.done += amount
        self._progress.advance(self._task, amount)

    def describe(self, detail: str) -> None:
        """Show a detail."""
        self.detail = detail
        self._progress.update(self._task, detail=one_line(detail))


class Face:
    """A run's reporter: for people unless `quiet` or `json`, in which case only errors are for people.

    Attributes:
        spoken: whether anything but errors is said.
        seconds: how long each stage took, by name, in order.
        began: when the run did, by `time.perf_counter`.
        warnings: all that was warned of.
        shown: makes of a text what is shown of it: copies of files are named as what they are copies of.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        self.json = json
        self.spoken = not (quiet or json)
        self.seconds: dict[str, float] = {}
        self.began = time.perf_counter()
        self.warnings: list[str] = []
        self.shown: Callable[[str], str] = str
        self.console = _Console(stderr=True, highlight=False)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = _UNWATCHED_WIDTH

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a bar on a terminal, and when the stage is over say what was done."""
        start = time.perf_counter()
        wide = self.console.width >= 100
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description:9}")]
        if total is None:
            columns += [TimeElapsedColumn(), _Speed(unit)]
        else:
            columns += [
                BarColumn(bar_width=20 if wide else 10),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                _Speed(unit),
                TimeRemainingColumn(compact=True),
                TextColumn("left", style="dim"),
            ]
        if wide:
            columns.append(TextColumn("{task.fields[detail]}", style="dim", markup=False))
        with Progress(*columns, console=self.console, disable=not self._live, transient=True) as progress:
            bar = Bar(progress, progress.add_task(name, total=total, detail=""))
            yield bar
        elapsed = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        self._stage_over(name, bar, unit, elapsed)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Say what was asked for by an option of its own, which `quiet` does not mean."""
        spoken, self.spoken = self.spoken, not self.json
        yield
        self.spoken = spoken

    @property
    def _live(self) -> bool:
        return self.spoken and self.console.is_terminal

    def _stage_over(self, name: str, bar: Bar, unit: str, elapsed: float) -> None:
        if self.spoken:
            amount = counted(bar.done, unit.removesuffix("s")) if bar.done else ""
            detail = plain(f"  {bar.detail}" if bar.detail else "", "dim")
            line = Text.assemble(
                ("✓", "green"), f" {name} {duration(elapsed):>{17 - min(len(name), 16)}}  {amount}", detail
            )
            if self._live:
                self.console.print(line, no_wrap=True, overflow="ellipsis")
            else:
                self.console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a fact."""
        if self.spoken:
            self.console.print(Padding(plain(self.shown(text)), (0, 0, 0, 2), expand=False), style="dim")

    def warn(self, text: str) -> None:
        """Print a warning, and remember it for the JSON summary."""
        text = self.shown(text)
        self.warnings.append(text)
        if self.spoken:
            self.console.print(Text.assemble(("warning:", "yellow"), " ", plain(text)))

    def facts(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Print names and values beneath a title."""
        if self.spoken:
            self.console.print(plain(self.shown(title), "bold"))
            table = Table.grid(padding=(0, 2))
            table.add_column(style="cyan", no_wrap=True)
            table.add_column(overflow="fold")
            for name, value in rows:
                table.add_row(f"  {name}", plain(value))
            self.console.print(table)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table beneath a title, if it has one; the first column is text, the others are numbers."""
        if self.spoken:
            self.console.print(plain(self.shown(title), "bold"))
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim", border_style="dim")
            for index, name in enumerate(header):
                table.add_column(name, justify="right" if index else "left", style="" if index else "cyan")
            for row in rows:
                table.add_row(*map(plain, row))
            self.console.print(Padding(table, (0, 0, 0, 1), expand=False))

    def summary(self, content: dict[str, Any], *, data_on_stdout: bool = False) -> None:
        """Print the JSON object of `--json`: on standard output, or on standard error when data is there."""
        if self.json:
            stream = sys.stderr if data_on_stdout else sys.stdout
            text = json.dumps(self.summarised(content), indent=2, ensure_ascii=False)
            # Bytes of a file's name that are not UTF-8 are halves of characters, which JSON can escape.
            try:
                stream.write(text.encode(errors="backslashreplace").decode() + "\n")
                stream.flush()
            except OSError as error:
                error.filename = "Standard error" if data_on_stdout else "Standard output"
                raise

    def summarised(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return `content` with the seconds of each stage, to the millisecond, and what was warned of."""
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        return {**content, "seconds": seconds, "warnings": self.warnings}

    def slowest(self) -> str:
        """Return the stage that took longest, its time and that of the run up to now, and what more is in no stage."""
        name, seconds = max(self.seconds.items(), key=lambda stage: stage[1])
        total = time.perf_counter() - self.began
        outside = total - sum(self.seconds.values())
        said = f"{name}, {duration(seconds)} of {duration(total)}"
        return (
            f"{said} ({duration(outside)} outside of stages, such as loading libraries)" if outside > seconds else said
        )


def peak_memory() -> int | None:
    """Return the most memory that this process had, in MiB; None where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (1 << 20 if sys.platform == "darwin" else 1 << 10)


def counted(count: int, noun: str) -> str:
    """Return "1 row" or "1,500 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def duration(seconds: float) -> str:
    """Return 0.4 s, 12 s or 3:07 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02} min"


def print_error(error: IadsrError, trace: str | None = None) -> None:
    """Print what is wrong and, on its own line, what to do; before them the traceback where it was asked for."""
    console = _Console(stderr=True, highlight=False, soft_wrap=True)
    with suppress(BrokenPipeError):
        if trace:
            sys.stderr.write("\n".join(map(one_line, trace.split("\n"))))
        console.print(Text.assemble(("error:", "bold red"), " ", plain(error.message)))
        console.print(Text.assemble(("hint:", "bold"), " ", plain(error.hint)))
