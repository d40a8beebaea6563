import signal
import time
from pathlib import Path

import pytest

FEW = ["--pretrain-epochs", "6", "--patience", "9", "--device", "cpu", "--pretrain-learning-rate", "0.01"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bytes_of_an_undisturbed_one(run, iadsr, tmp_path: Path, shop: Path) -> None:
    # Several short epochs: it has to be still training when the first checkpoint is seen.
    many = [*FEW, "--pretrain-epochs", "12", "--patience", "99"]
    whole = run("pretrain", shop, "-o", "whole", *many)
    assert whole.exit_code == 0, whole.output
    checkpoint = tmp_path / ".killed.checkpoint"
    deadline = time.monotonic() + 60
    with iadsr("pretrain", shop, "-o", "killed", *many) as killed:
        while not checkpoint.exists() and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert checkpoint.exists()
    assert not (tmp_path / "killed").exists()

    resumed = run("pretrain", shop, "-o", "killed", "--resume", *many)
    assert resumed.exit_code == 0, resumed.output
    assert "Going on with pretrain after epoch" in resumed.stderr
    for name in ("weights.safetensors", "history.jsonl", "vocabulary.parquet", "manifest.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not checkpoint.exists()


def test_resuming_with_other_settings_is_refused(run, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iadsr_cli import loop

    original = loop.Run.end_epoch

    def end_epoch(self, *arguments) -> None:
        original(self, *arguments)
        if self.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "end_epoch", end_epoch)
        assert run("pretrain", shop, "-o", "model", *FEW).exit_code == 130
    assert Path(".model.checkpoint").exists()
    refused = run("pretrain", shop, "-o", "model", "--resume", "--seed", "5", *FEW)
    assert refused.exit_code == 1
    assert "is of another log or other settings" in refused.stderr
    assert "without --resume" in refused.stderr
    done = run("pretrain", shop, "-o", "model", "--resume", *FEW)
    assert done.exit_code == 0, done.output
    assert "Going on with pretrain after epoch 1." in done.stderr


def test_an_interrupted_denoise_goes_on_by_itself(run, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iadsr_cli import loop

    short = ["--encoder", "tfidf", "--align-epochs", "1", *FEW]
    arguments = ["denoise", shop, "--method", "iadsr", "--annotate", *short]
    assert run(*arguments, "-o", "whole.csv", "--cache-dir", "other").exit_code == 0
    original = loop.Run.end_epoch

    def end_epoch(self, *arguments) -> None:
        original(self, *arguments)
        if self.epoch == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "end_epoch", end_epoch)
        assert run(*arguments, "-o", "clean.csv").exit_code == 130
    assert not Path("clean.csv").exists()
    done = run(*arguments, "-o", "clean.csv")
    assert done.exit_code == 0, done.output
    assert "Going on with pretrain after epoch 3." in done.stderr
    assert Path("clean.csv").read_bytes() == Path("whole.csv").read_bytes()
