"""The walk-through runs as it stands, and its page shows the commands that it runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from learning import LITTLE
from processes import unset

ROOT = Path(__file__).parents[2]
ROWS = 1_500
COMMAND = f"#!{sys.executable}{LITTLE}with learning_little():\n    main()\n"
CONSOLE = re.compile(r"^```console\n\$ (.*)\n", re.MULTILINE)


def commands(printed):
    return [line.removeprefix("$ ") for line in printed.splitlines() if line.startswith("$ ")]


def test_every_step_runs_and_the_page_shows_the_same_steps(tmp_path):
    # Of the log its beginning, which is enough for the commands.
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in ("shop.csv", "shop-labels.csv"):
        lines = (ROOT / "examples" / name).read_bytes().splitlines(keepends=True)
        (tmp_path / "examples" / name).write_bytes(b"".join(lines[: ROWS + 1]))
    (tmp_path / "bin").mkdir()
    # The command of the tree under test, whatever else is installed.
    (tmp_path / "bin" / "iadsr").write_text(COMMAND)
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    environment = unset() | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "IADSR_ENCODER": "tfidf",
        "IADSR_ENCODER_DIMENSION": "32",
        "IADSR_PRETRAIN_EPOCHS": "1",
        "IADSR_ALIGN_EPOCHS": "1",
    }
    run = subprocess.run(
        ["bash", "examples/walkthrough.sh", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert commands(run.stdout) == CONSOLE.findall((ROOT / "examples" / "README.md").read_text(encoding="utf-8"))

    out = tmp_path / "out"
    log = (tmp_path / "examples" / "shop.csv").read_bytes().splitlines(keepends=True)
    kept = pd.read_parquet(out / "all.parquet")["keep"]
    assert (out / "clean.csv").read_bytes().splitlines(keepends=True) == [
        log[0],
        *(line for line, stays in zip(log[1:], kept, strict=True) if stays),
    ]
    assert (
        len(pd.read_csv(out / "removed.csv"))
        == (~kept).sum()
        == json.loads((out / "summary.json").read_text(encoding="utf-8"))["removed"]
    )
    assert "AUROC of noise_score" in run.stdout
    assert re.search(rf"ok: \d\.\d% of {ROWS} rows removed", run.stdout)
    assert (out / "report" / "metrics.json").exists()


def test_the_check_stops_what_removes_too_much_or_does_not_add_up(tmp_path):
    summary = tmp_path / "summary.json"
    for content, words in [
        ({"rows": 10, "kept": 8, "removed": 2}, "20.0% of the rows were removed"),
        ({"rows": 10, "kept": 8, "removed": 1}, "10 rows came in, 9 were decided on"),
    ]:
        summary.write_text(json.dumps(content), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, ROOT / "examples" / "check.py", summary, "--max-removed", "0.1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        assert words in run.stderr
