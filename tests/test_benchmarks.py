"""Benchmarks say what they leave out, and those that need what the tests' machine has not got run small."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iadsr_cli.crossfit.evidence import FAMILIES, NAMES, beyond
from iadsr_cli.crossfit.kinds import KINDS
from iadsr_cli.models.alignment import agreement

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_small_on_a_processor() -> None:
    small = ["--items", "50", "--steps", "1", "--rows", "200", "--texts", "4", "--batches", "2"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", *small]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.partition(":")[0].partition(",")[0] for line in done.stdout.splitlines()[1:]]
    assert lines == [
        "products of 256 x 256",
        "copies",
        "step",
        "step",
        "loop",
        "scoring",
        "MiniLM",
        "encoder of 7 billion",
        "encoder of 2 layers of 64",
    ]
    assert done.stdout.count("times the limit by") >= 5


def test_what_an_ablation_leaves_says_something_of_each_kind_of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for options in importlib.import_module("detection").ABLATIONS.values():
        left_out = beyond(options.get("families", FAMILIES))
        for kind in options.get("kinds", KINDS).values():
            assert {*left_out, *kind.unseen} < set(range(len(NAMES)))


def test_the_cosines_of_models_have_their_names_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = importlib.import_module("neural_evidence").NAMES
    here, long_text = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    # Behaviour here is like the item's text, and neither like what is said of the whole history.
    cosines = agreement(here, long_text, here, long_text)
    assert dict(zip(names, cosines.tolist(), strict=False)) == {"long text": 0, "item text": 0, "both here": 1}
