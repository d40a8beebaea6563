"""`--devices 2`: the same artifacts, checkpoints and manners as with one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from iadsr_cli import loop

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

COMMON = ["--device", "cpu", "--dropout", "0", "--precision", "float32"]
PRETRAIN = ["--pretrain-epochs", "3", *COMMON]
ALIGN = ["--align-epochs", "2", "--device", "cpu", "--precision", "float32"]
TWO = ["--devices", "2"]
MANY = ["--pretrain-epochs", "20", "--patience", "99"]


def shapes(folder: str) -> dict[str, list[int]]:
    with safe_open(Path(folder, "weights.safetensors"), "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


def check_alike(one: str, two: str) -> None:
    """Check that two artifacts differ in nothing but the last digits of numbers."""
    manifests = [json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8")) for folder in (one, two)]
    for manifest in manifests:
        assert set(manifest.pop("outputs")) == {"history.jsonl", "vocabulary.parquet", "weights.safetensors"}
        del manifest["seal"]
    assert manifests[0] == manifests[1]
    assert shapes(one) == shapes(two)
    records = [
        [json.loads(line) for line in Path(folder, "history.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in (one, two)
    ]
    for first, second in zip(*records, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def runs(process: int) -> bool:
    """Return whether a process is there and not merely its entry, which whoever inherited it has to clear away."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_artifacts_are_those_of_one(run, shop: Path) -> None:
    for folder, more in (("one", []), ("two", TWO)):
        result = run("pretrain", shop, "-o", folder, *PRETRAIN, *more)
        assert result.exit_code == 0, result.output
        assert "epoch 3, NDCG@10" in result.stderr
        result = run("align", shop, "--pretrained", "one", "-o", f"{folder}-aligned", *ALIGN, *more, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["epochs"] == 2
    check_alike("one", "two")
    check_alike("one-aligned", "two-aligned")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_ends_the_command_ends_all_its_processes(iadsr, run, tmp_path: Path, shop: Path, number, code) -> None:
    # A terminal sends Ctrl-C to all processes of the command, `kill` a signal to one.
    process = iadsr("pretrain", shop, "-o", "m", *PRETRAIN, *MANY, *TWO, start_new_session=True)
    checkpoint, deadline = tmp_path / ".m.checkpoint", time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    started = children(process.pid)
    assert len(started) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code, error
    lines = error.decode().splitlines()
    assert [line.partition(" ")[0] for line in lines[-2:]] == ["error:", "hint:"]
    assert b"Traceback" not in error
    while any(map(runs, started)) and time.monotonic() < deadline:  # multiprocessing's own helper ends after us
        time.sleep(0.02)
    assert not any(map(runs, started))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.checkpoint", "shop.csv"]
    if number == signal.SIGINT:
        result = run("pretrain", shop, "-o", "m", "--resume", *PRETRAIN, *MANY)
        assert result.exit_code == 0, result.output
        assert "Going on with pretrain after epoch" in result.stderr


def test_what_one_process_began_two_go_on_with(run, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = loop.Run.end_epoch

    def end_epoch(self, *arguments) -> None:
        if self.epoch == 2:
            raise KeyboardInterrupt
        original(self, *arguments)

    assert run("pretrain", shop, "-o", "whole", *PRETRAIN).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "end_epoch", end_epoch)
        assert run("pretrain", shop, "-o", "resumed", *PRETRAIN).exit_code == 130
    result = run("pretrain", shop, "-o", "resumed", "--resume", *PRETRAIN, *TWO)
    assert result.exit_code == 0, result.output
    assert "Going on with pretrain after epoch 2." in result.stderr
    assert not Path(".resumed.checkpoint").exists()
    check_alike("whole", "resumed")


@pytest.mark.slow
def test_torchrun_may_have_started_the_processes(tmp_path: Path, shop: Path, run) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "iadsr_cli"]
    done = subprocess.run(
        [*command, "pretrain", str(shop), "-o", "two", *PRETRAIN, "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 3
    assert run("pretrain", shop, "-o", "one", *PRETRAIN).exit_code == 0
    check_alike("one", "two")
