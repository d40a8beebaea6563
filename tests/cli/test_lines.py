"""`--log-format json`: whatever is said on standard error is one JSON object per line."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from iadsr_cli.cli.console import Face, _Speed

QUICK = ["--encoder", "tfidf", "--device", "cpu"]
LINES = ["--log-format", "json"]


def lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        assert list(line) == ["time", "level", "message", "fields"]
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
    return found


def test_every_line_of_a_run_is_an_object(run, shop: Path) -> None:
    result = run("denoise", shop, "-o", "clean.csv", "--budget", "5%", *QUICK, *LINES)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    said = lines(result.stderr)
    assert {line["level"] for line in said} == {"info"}
    stages = {line["fields"]["stage"]: line["fields"] for line in said if "stage" in line["fields"]}
    assert list(stages) == ["read", "embed", "predict", "evidence", "learn", "write"]
    read = stages["read"]
    assert (read["done"], read["unit"]) == (1500, "rows")
    # Seconds are said to the millisecond.
    assert 1499 / (read["seconds"] + 0.001) < read["per_second"] < 1501 / max(read["seconds"] - 0.001, 1e-6)
    assert read["peak_memory_mib"] > 50
    understood = next(line for line in said if line["message"].endswith("(csv)"))
    assert understood["fields"]["rows"] == "1,500"
    table = next(line for line in said if line["message"] == "Wrote clean.csv")
    assert table["fields"]["rows"][0][:2] == ["in the log", "1,500"]
    last = re.fullmatch(r"slowest stage: \w+, .+ of .+; ([\d,]+) MiB at the peak", said[-1]["message"])
    assert last and int(last[1].replace(",", "")) > 50


def test_warnings_and_errors_have_their_level(run, shop: Path) -> None:
    result = run("denoise", shop, "-o", "clean.csv", "--text-column", "none", *LINES)
    assert [line["message"][:21] for line in lines(result.stderr) if line["level"] == "warning"] == [
        "No item has a text: r"
    ]
    (error,) = lines(run("denoise", shop, "-o", "clean.csv", "--quiet", *LINES).stderr)
    assert (error["level"], error["message"]) == ("error", "clean.csv exists already.")
    assert error["fields"] == {"hint": "Pass --force to replace it, or name another file.", "exit_code": 1}
    (error,) = lines(run("denoise", shop, "-o", "clean.csv", "--debug", *LINES).stderr)
    assert error["fields"]["traceback"].startswith("Traceback")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--seed", "x"], 2), (["--sed", "1"], 2), (["--threshold", "2"], 2), (["--method", "magic"], 2)],
)
def test_wrong_usage_is_a_line_too(run, shop: Path, arguments: list[str], code: int) -> None:
    result = run("denoise", shop, *LINES, *arguments)
    assert result.exit_code == code
    (error,) = lines(result.stderr)
    assert error["level"] == "error"
    assert error["fields"]["exit_code"] == code
    (error,) = lines(run("denoise", shop, *arguments, env={"IADSR_LOG_FORMAT": "json"}).stderr)
    assert error["level"] == "error"


@pytest.mark.usefixtures("scored")
def test_the_summary_stays_what_it_was(run, shop: Path) -> None:
    on_stdout = run("denoise", shop, "-o", "clean.csv", "--json", *QUICK, *LINES)
    summary = json.loads(on_stdout.stdout)
    assert summary["rows"] == 1500
    assert lines(on_stdout.stderr)
    beside_data = run("denoise", shop, "--json", *QUICK, *LINES)
    last = lines(beside_data.stderr)[-1]
    assert last["message"] == "summary"
    same = set(summary) - {"seconds", "output"}
    assert {key: last["fields"][key] for key in same} == {key: summary[key] for key in same}


def test_an_unknown_log_format_is_refused(run, shop: Path) -> None:
    result = run("denoise", shop, "--log-format", "xml")
    assert result.exit_code == 2
    assert 'error: --log-format cannot be "xml".' in result.stderr
    assert "Allowed: text, json." in result.stderr


def test_a_bar_says_how_fast_it_goes() -> None:
    now = [0.0]
    with Progress(disable=True, get_time=lambda: now[0]) as progress:
        task = progress.add_task("score", total=10_000)
        assert str(_Speed("rows").render(progress.tasks[0])) == "rows"
        for _ in range(4):
            now[0] += 0.5
            progress.advance(task, 500)
        assert str(_Speed("rows").render(progress.tasks[0])) == "1,000 rows/s"
        assert progress.tasks[0].time_remaining == 8


def test_the_slowest_stage_is_told_beside_the_whole_run_not_beside_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    face = Face(quiet=True)
    for name, seconds, after in (("read", 2, 6), ("score", 20, 12)):
        with face.stage(name, None, "rows"):
            now[0] += seconds
        now[0] += after
    assert face.slowest() == "score, 20 s of 40 s"
    now[0] += 24  # what no stage explains is told where it is more than any
    assert face.slowest() == "score, 20 s of 1:04 min (42 s outside of stages, such as loading libraries)"
