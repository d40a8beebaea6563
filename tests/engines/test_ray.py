"""Actors of Ray do what one process does: the same bytes, errors and manners, also when some of them are killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from learning import LITTLE
from processes import INTERRUPTIBLE, unset
from safetensors.numpy import load_file

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")]

ROWS, USERS = 3_000, 250
MARK = {"STARTED_BY_TESTS": str(os.getpid())}
RAY = ["--engine", "ray", "--actors", "2"]
# The command, with buckets so small that there are ten, of which a part of the second teaches.
COMMAND = f"""{LITTLE}
from iadsr_cli.parted import buckets, scorers
buckets._BUCKET_ROWS = 300
scorers.TEACHING_ROWS = 450
with learning_little():
    main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[[Path], Path]) -> Path:
    """A log of users who keep to one of five shelves but for a tenth of their rows, and a model of it."""
    folder = tmp_path_factory.mktemp("ray")
    generator = np.random.default_rng(0)
    user = generator.integers(0, USERS, ROWS)
    strange = generator.random(ROWS) < 0.1
    item = np.where(strange, generator.integers(0, 60, ROWS), (user % 5) * 12 + generator.integers(0, 12, ROWS))
    titles = [f"shelf{each // 12} thing{each}" for each in item]
    pq.write_table(
        pa.table({"user_id": user, "item_id": item, "ts": np.arange(ROWS), "title": titles}), folder / "log.parquet"
    )
    make_model(folder / "log.parquet")
    return folder


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Start:
    """Start a program, by default the command, in the folder of the log, with a cache of its own."""

    def start(*arguments: object, code: str = COMMAND) -> "subprocess.Popen[str]":
        environment = unset() | {"IADSR_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "200", **MARK}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=INTERRUPTIBLE,  # noqa: PLW1509
        )

    return start


def ended(process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
    out, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    end = time.monotonic() + 1
    while left := list(started()):
        assert time.monotonic() < end, f"left running: {left}"
        time.sleep(0.05)
    return out, error


def started() -> Iterator[tuple[int, str]]:
    """The processes that tests have started, and those that they have, even alone: ids and command lines."""
    (mark,) = (f"{name}={value}".encode() for name, value in MARK.items())
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name), (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended
            continue


def actor_at_work(process: "subprocess.Popen[str]") -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for number, line in started():
            if re.match(r"ray::MapWorker.*\.submit", line):
                return number
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def told(text: str) -> list[str]:
    """What a run says, but for times, sizes of memory and the names of its outputs."""
    lines = [re.sub(r"[\d.:]+ (s|min)\b.*|local|ray", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if "slowest" not in line and "embed" not in line]


def test_the_default_method_gives_the_same_bytes_and_says_the_same(start: Start, tmp_path: Path) -> None:
    said = {}
    for name, engine in (("local", ["--in-parts", "always"]), ("ray", RAY)):
        outputs = ["-o", tmp_path / f"{name}.parquet", "--removed", tmp_path / f"{name}-gone.parquet"]
        _, said[name] = ended(
            start("denoise", "log.parquet", "--encoder", "tfidf", "--budget", "9%", *outputs, *engine)
        )
    assert told(said["ray"]) == told(said["local"])
    assert f"{ROWS:,} rows" in said["ray"]
    for name in ("", "-gone"):
        assert (tmp_path / f"ray{name}.parquet").read_bytes() == (tmp_path / f"local{name}.parquet").read_bytes()


def test_items_that_are_called_otherwise_in_their_file(start: Start, folder: Path, tmp_path: Path) -> None:
    log = pq.read_table(folder / "log.parquet")
    pq.write_table(log.drop_columns("title"), tmp_path / "bare.parquet")
    items = dict(zip(log["item_id"].to_pylist(), log["title"].to_pylist(), strict=True))
    pq.write_table(pa.table({"code": [*items], "title": [*items.values()]}), tmp_path / "games.parquet")
    named = ["--items", tmp_path / "games.parquet", "--items-item-column", "code", "--encoder", "tfidf"]
    ended(start("denoise", "log.parquet", "--encoder", "tfidf", "-o", tmp_path / "own.parquet", *RAY))
    _, said = ended(start("denoise", tmp_path / "bare.parquet", *named, "-o", tmp_path / "joined.parquet", *RAY))
    assert f"title ({len(items)} of {len(items)} items)" in said
    joined = pq.read_table(tmp_path / "joined.parquet")
    assert joined.equals(pq.read_table(tmp_path / "own.parquet").drop_columns("title"))


def test_a_model_gives_the_same_bytes_though_an_actor_is_killed(start: Start, tmp_path: Path) -> None:
    arguments = ["denoise", "log.parquet", "--model", "model", "--budget", "9%", "--json"]
    summary = json.loads(ended(start(*arguments, "-o", tmp_path / "local.parquet", "--in-parts", "always"))[0])
    process = start(*arguments, "-o", tmp_path / "ray.parquet", "--log-format", "json", *RAY)
    os.kill(actor_at_work(process), signal.SIGKILL)
    out, error = ended(process)
    found = json.loads(out)
    del found["seconds"], summary["seconds"], found["output"], summary["output"]
    assert found == summary
    lines = [json.loads(line) for line in error.splitlines()]
    assert [line["fields"]["done"] for line in lines if line["message"] == "score done"] == [ROWS]
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = start("denoise", "log.parquet", "--model", "model", "-o", tmp_path / "clean.parquet", *RAY)
    actor_at_work(process)
    process.send_signal(number)
    _, error = ended(process, code={signal.SIGTERM: 143, signal.SIGINT: 130}[number])
    assert [line.partition(":")[0] for line in error.splitlines()[-2:]] == ["error", "hint"]
    assert "Traceback" not in error
    assert not (tmp_path / "clean.parquet").exists()


def test_buckets_that_are_judged_are_not_judged_again(start: Start, tmp_path: Path) -> None:
    arguments = ["denoise", "log.parquet", "--model", "model", "--budget", "9%", "--max-removed", "1%"]
    arguments += ["-o", tmp_path / "clean.parquet"]
    ended(start(*arguments, "--in-parts", "always"), code=3)
    files = sorted((tmp_path / "cache").glob("buckets/judged-*/*/found.arrow"))
    assert len(files) == 10
    first = {file: (file.stat().st_ino, file.read_bytes()) for file in files}
    for file in files[::2]:
        shutil.rmtree(file.parent)
    ended(start(*arguments, *RAY), code=3)
    again = {file: (file.stat().st_ino, file.read_bytes()) for file in files}
    assert [again[file] for file in files[1::2]] == [first[file] for file in files[1::2]]
    assert [again[file][1] for file in files[::2]] == [first[file][1] for file in files[::2]]


def test_what_goes_wrong_in_an_actor_is_said_as_if_it_were_here(start: Start) -> None:
    code = """
import os, sys, typer
from iadsr_cli.cli.manners import Manners
from iadsr_cli.config import EngineSettings
from iadsr_cli.engines.work import opened
from iadsr_cli.errors import InputError

def double(piece):
    return 2 * piece

def refuse(piece):
    raise InputError(f"Piece {piece} is bad.", "Mend it.")

def fail(piece):
    raise ValueError("such a defect")

def die(piece):
    os.kill(os.getpid(), 9)

with opened(EngineSettings("ray", actors=2)) as engine:
    print(sorted(engine.each(double, [4, 5, 6])), list(engine.each(double, [])), file=sys.stderr)
    for function in (refuse, fail, die):
        try:
            with Manners(debug=function is fail):
                list(engine.each(function, [7]))
        except typer.Exit as error:
            print(error.exit_code, file=sys.stderr)
"""
    _, error = ended(start(code=code))
    results, *refused = error.splitlines()
    assert results == "[(0, 8), (1, 10), (2, 12)] []"
    assert refused[:3] == ["error: Piece 7 is bad.", "hint: Mend it.", "1"]
    trace = refused.index("error: Unexpected ValueError: such a defect")
    assert "in fail" in "\n".join(refused[3:trace]), "--debug shows where it happened"
    assert [line.partition(":")[0] for line in refused[trace + 2 :]] == ["1", "error", "hint", "1"]
    assert "Ray could not do it" in refused[-3]


def test_vectors_are_those_of_one_process(start: Start, tmp_path: Path) -> None:
    titles = [f"thing {number} of {'many ' * (number % 7)}" for number in range(70)]
    pq.write_table(pa.table({"item_id": range(70), "title": titles}), tmp_path / "items.parquet")
    found = {}
    for name, engine in (("local", []), ("ray", [*RAY[:2], "--actors", "1"])):
        arguments = ["embed", tmp_path / "items.parquet", "--encoder", "minilm", "--encoder-batch-size", "2"]
        _, error = ended(start(*arguments, "-o", tmp_path / name, "--cache-dir", tmp_path / f"{name}-cache", *engine))
        assert "70 items" in error
        found[name] = load_file(tmp_path / name / "vectors.safetensors")["vectors"]
    # The same products on the same machine; another number of threads may add them up in another order.
    np.testing.assert_allclose(found["ray"], found["local"], atol=1e-6)
    both = [(tmp_path / name / "items.parquet").read_bytes() for name in found]
    assert both[0] == both[1]
