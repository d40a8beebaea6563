from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from iadsr_cli.cli.app import app

EXAMPLES = Path(__file__).parents[2] / "examples"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `iadsr` in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IADSR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments: object, **options: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]

    return invoke


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The first 1,500 rows of the example log."""
    lines = (EXAMPLES / "shop.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "shop.csv"
    path.write_text("".join(lines[:1501]), encoding="utf-8")
    return path
