"""What a log collector reads: `--log-format json`, one JSON object per line on standard error."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from iadsr_cli.cli.console import Bar, Face, peak_memory
from iadsr_cli.errors import IadsrError


class LinesFace(Face):
    """A run's reporter that writes lines; `quiet` leaves errors only, `json` does not silence it."""

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        super().__init__(quiet=quiet, json=json)
        self.spoken = not quiet

    @property
    def _live(self) -> bool:
        return False

    def _stage_over(self, name: str, bar: Bar, unit: str, elapsed: float) -> None:
        self._say(
            f"{name} done",
            stage=name,
            done=bar.done,
            unit=unit,
            seconds=round(elapsed, 3),
            per_second=round(bar.done / elapsed, 1) if elapsed else None,
            peak_memory_mib=peak_memory(),
            detail=bar.detail or None,
        )

    def note(self, text: str) -> None:
        """Write a fact."""
        self._say(self.shown(text))

    def warn(self, text: str) -> None:
        """Write a warning, and remember it for the JSON summary."""
        text = self.shown(text)
        self.warnings.append(text)
        self._say(text, level="warning")

    def facts(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Write names and values."""
        self._say(self.shown(title), **dict(rows))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table."""
        self._say(
            self.shown(title) or next(filter(None, header)), columns=list(header), rows=[list(row) for row in rows]
        )

    def summary(self, content: dict[str, Any], *, data_on_stdout: bool = False) -> None:
        """Write the summary of `--json`: to standard output as ever, but as one more line where data is there."""
        if self.json and data_on_stdout:
            write_line("info", "summary", self.summarised(content))
        else:
            super().summary(content)

    def _say(self, message: str, level: str = "info", **fields: Any) -> None:
        if self.spoken:
            write_line(level, message, fields)


def write_line(level: str, message: str, fields: dict[str, Any]) -> None:
    """Write one object: time (UTC), level (info, warning or error), message, fields."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": time, "level": level, "message": message, "fields": fields}
    sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stderr.flush()


def write_error(error: IadsrError, code: int, trace: str | None) -> None:
    """Write what is wrong, what to do, the exit code, and the traceback where it was asked for."""
    fields = {"hint": error.hint, "exit_code": code, **({"traceback": trace} if trace else {})}
    with suppress(BrokenPipeError):
        write_line("error", error.message, fields)
