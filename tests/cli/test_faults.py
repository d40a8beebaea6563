"""What happens around a run: input that changes, disks that fill up, pipes that close."""

import shutil
from pathlib import Path

import pytest

QUICK = ["--encoder", "tfidf", "--device", "cpu"]


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"cache"}


@pytest.mark.parametrize("file", ["shop.csv", "items.csv"])
@pytest.mark.parametrize("change", ["changed", "removed"])
def test_input_that_is_not_the_same_any_more(
    run, shop: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: str
) -> None:
    from iadsr_cli import pipeline

    original = pipeline.decide

    def decide(*arguments):
        if change == "changed":
            with Path(file).open("a", encoding="utf-8") as stream:
                stream.write("\n")
        else:
            Path(file).unlink()
        return original(*arguments)

    shutil.copy(shop, "items.csv")
    Path("clean.csv").write_text("precious", encoding="utf-8")
    before = names()
    monkeypatch.setattr(pipeline, "decide", decide)
    outputs = ["-o", "clean.csv", "--removed", "gone.csv", "--report", "report", "--force"]
    result = run("denoise", "shop.csv", "--items", "items.csv", *outputs, *QUICK)
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()[-2:]
    said = {
        "changed": f"error: {file} was changed while iadsr worked on what it had read from it, so nothing was written.",
        "removed": f"error: {file} cannot be found any more (No such file or directory), so nothing was written.",
    }
    assert error == said[change]
    assert hint.startswith("hint: ")
    assert Path("clean.csv").read_text(encoding="utf-8") == "precious"
    assert names() == before - ({file} if change == "removed" else set())


def test_output_that_replaces_the_input_is_no_change_of_it(run, shop: Path) -> None:
    outputs = ["-o", "shop.csv", "--removed", "gone.csv", "--report", "report", "--force"]
    result = run("denoise", "shop.csv", *outputs, *QUICK)
    assert result.exit_code == 0, result.output
    assert len(Path("shop.csv").read_text(encoding="utf-8").splitlines()) < 1501
