"""What --engine ray cannot do is said before any work, also where Ray is not installed."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from iadsr_cli.cli.app import app
from iadsr_cli.config import EngineSettings
from iadsr_cli.engines.rays import _actors
from iadsr_cli.errors import UsageError

RAY = ["--engine", "ray"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IADSR_CACHE_DIR", str(tmp_path / "cache"))
    table = pa.table({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2], "title": ["a", "b", "a", "b"]})
    pq.write_table(table, "log.parquet")
    Path("log.csv").write_text("user_id,item_id\n1,2\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["denoise", "log.parquet", "--actors", "2"], "--actors has no use without --engine ray", "Add --engine ray"),
        (["embed", "log.parquet", "--ray-address", "auto"], "--ray-address has no use", "leave it out"),
        (["embed", "log.parquet", "--num-gpus-per-actor", "1"], "--num-gpus-per-actor has no use", "leave it out"),
        (["embed", "log.parquet", *RAY, "--num-gpus-per-actor", "1.5"], "is 1.5", "a part of one GPU, or a whole"),
        (["embed", "log.parquet", "--engine", "rya"], '--engine cannot be "rya"', "Nearest: ray"),
        (["embed", "log.parquet", *RAY, "--encoder", "tfidf"], "tfidf takes all items at once", "another encoder"),
        (["denoise", "log.parquet", *RAY, "--in-parts", "never"], "--in-parts never does not", "one of them"),
        (["denoise", "log.parquet", *RAY, "--report", "r"], "--report looks at the whole log", "without --engine ray"),
        (["denoise", "-", *RAY], "Only files of this machine can be cleaned in parts", "without --engine ray"),
        (["denoise", "log.csv", *RAY], "--engine ray needs Ray, which is not installed", "'iadsr[ray]'"),
        (["denoise", "log.parquet", *RAY], "--engine ray needs Ray, which is not installed", "'iadsr[ray]'"),
        (["embed", "log.parquet", *RAY], "--engine ray needs Ray, which is not installed", "'iadsr[ray]'"),
    ],
)
def test_a_refusal_is_two_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: str, hint: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(app, [*arguments, "-o", "out.parquet"], env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    *_, first, second = result.stderr.splitlines()
    assert (first[:7], second[:6]) == ("error: ", "hint: ")
    assert error in first
    assert hint in second
    assert not Path("out.parquet").exists()
    assert not list(folder.rglob("cache/**/manifest.json"))


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "room"),
    [
        ({}, 8, 0, 8),
        ({"actors": 3}, 8, 0, 3),
        ({"num_gpus_per_actor": 0.4}, 8, 2, 4),
        ({"num_gpus_per_actor": 2}, 8, 5, 2),
    ],
)
def test_there_are_as_many_actors_as_there_is_room_for(
    asked: dict[str, float], cpus: int, gpus: int, room: int
) -> None:
    settings = EngineSettings("ray", **asked)  # type: ignore[arg-type]
    assert _actors(settings, {"CPU": cpus, "GPU": gpus}) == room


@pytest.mark.parametrize("asked", [{"actors": 3}, {"num_gpus_per_actor": 1.0}])
def test_actors_without_room_are_refused(asked: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="The cluster has 2 CPUs and 0 GPUs"):
        _actors(EngineSettings("ray", **asked), {"CPU": 2.0})  # type: ignore[arg-type]
