"""Shared by all tests: no network, and one thread, so that results do not depend on the machine's load."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

# The models here are tiny: more threads would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

SIZES = ["--embedding-size", "8", "--hidden-size", "8", "--pretrain-epochs", "1"]


@contextmanager
def _learning_little(rounds: int = 20) -> Iterator[None]:
    from iadsr_cli.crossfit import head, lessons, panel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "_ROUNDS", rounds)
        patch.setattr(lessons, "_LESSONS", (1, 1))
        patch.setattr(panel, "_MOST", 1)
        yield


@pytest.fixture(scope="session")
def learning_little() -> Callable[..., AbstractContextManager[None]]:
    """Judge once, inject noise once and learn heads in so many rounds (a tenth of the usual, if not told), inside of a
    with statement: where it does not matter how good scores are. Of each test, for a worker may run tests of other
    folders between those of one.
    """
    return _learning_little


@pytest.fixture
def few_rounds() -> Iterator[None]:
    """Learn little in one test."""
    with _learning_little():
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
