import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from learning import learning_little
from processes import INTERRUPTIBLE, unset
from typer.testing import CliRunner, Result

from iadsr_cli.cli.app import app

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = {"IADSR_ENCODER_DIMENSION": "32"}
"""How good vectors are is no matter of the command's."""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `iadsr` in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("IADSR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IADSR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)

    def invoke(*arguments: object, **options: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]

    return invoke


@pytest.fixture
def iadsr(tmp_path: Path) -> Callable[..., "subprocess.Popen[bytes]"]:
    """Start `iadsr` as a process of its own in the same folder."""

    def start(*arguments: object, **options: object) -> "subprocess.Popen[bytes]":
        environment = unset() | {"IADSR_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "200", **SMALL}
        environment.pop("PYTHONUNBUFFERED", None)  # what is held back is written at the end, or cannot be
        command = [sys.executable, "-m", "iadsr_cli", *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        pipes["preexec_fn"] = INTERRUPTIBLE
        return subprocess.Popen(command, cwd=tmp_path, env=environment, **{**pipes, **options})  # type: ignore[call-overload, no-any-return]

    return start


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run `iadsr`, check that it ends in one line of error and one of hint, with nothing made; return all it said."""

    def check(*arguments: object, code: int, error: str, hint: str, **options: object) -> str:
        result = run(*arguments, **options)
        lines = result.stderr.splitlines()
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert [line.partition(" ")[0] for line in lines[-2:]] == ["error:", "hint:"], result.stderr
        assert sum(line.startswith(("error:", "hint:")) for line in lines) == 2
        assert error in lines[-2]
        assert hint in lines[-1]
        stages = {line.split()[1] for line in lines if line.startswith("✓ ")}
        assert stages <= {"fetch", "read", "items"}, "work was done"
        assert not list(Path().rglob("cache/**/manifest.json")), "work was done"
        return str(result.stderr)

    return check


def write_shop(folder: Path) -> Path:
    """Write the first 1,500 rows of the example log."""
    lines = (EXAMPLES / "shop.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    path = folder / "shop.csv"
    path.write_text("".join(lines[:1501]), encoding="utf-8")
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The first 1,500 rows of the example log."""
    return write_shop(tmp_path)


@pytest.fixture
def events(shop: Path) -> Path:
    """The log in three files, by days of two partitions."""
    lines = shop.read_text(encoding="utf-8").splitlines(keepends=True)
    folder = shop.with_name("events")
    for number, day in enumerate(["day=1", "day=1", "day=2"]):
        path = folder / day / f"part-{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join([lines[0], *lines[1 + 500 * number : 501 + 500 * number]]), encoding="utf-8")
    (folder / "_SUCCESS").touch()
    return folder


@pytest.fixture(autouse=True)
def _quick(few_rounds: None) -> None:
    """How good scores are is no matter of the command's."""


@pytest.fixture(scope="session")
def _scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    options = ["--encoder", "tfidf", "--dry-run", "--cache-dir", str(folder / "cache")]
    with learning_little():
        result = CliRunner().invoke(app, ["denoise", str(write_shop(folder)), *options], env=SMALL)
    assert result.exit_code == 0, result.output
    return folder / "cache"


@pytest.fixture
def scored(tmp_path: Path, _scores: Path) -> None:
    """Have the scores of `shop` by the encoder tfidf in the cache: for tests of what comes after them."""
    shutil.copytree(_scores, tmp_path / "cache")
