"""Shared by all tests: no network, and one thread, so that results do not depend on the machine's load."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from learning import learning_little
from typer.testing import CliRunner

# The models here are tiny: more threads would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

SIZES = ["--embedding-size", "8", "--hidden-size", "8", "--pretrain-epochs", "1"]


@pytest.fixture
def few_rounds() -> Iterator[None]:
    """Learn little in one test."""
    with learning_little():
        yield


@pytest.fixture(scope="session")
def make_model() -> Callable[[Path], Path]:
    """Make a small model of a log, in the folder "model" beside it."""
    from iadsr_cli.cli.app import app

    def make(log: Path) -> Path:
        vectors, recommender, model = (str(log.parent / name) for name in ("vectors", "recommender", "model"))
        for arguments in (
            ["embed", str(log), "-o", vectors, "--encoder", "tfidf"],
            ["pretrain", str(log), "-o", recommender, *SIZES],
            ["align", str(log), "--pretrained", recommender, "--vectors", vectors, "-o", model, "--align-epochs", "1"],
        ):
            result = CliRunner().invoke(app, [*arguments, "--cache-dir", str(log.parent / "made")])
            assert result.exit_code == 0, result.output
        return Path(model)

    return make
