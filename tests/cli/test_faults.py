"""What happens around a run: input that changes, disks that fill up, pipes that close."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.manners import Terminated

ROOT = Path(__file__).parents[2]
QUICK = ["--encoder", "tfidf", "--device", "cpu"]


def names(folder: Path = Path()) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"cache"}


@pytest.mark.usefixtures("scored")
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


@pytest.mark.usefixtures("scored")
def test_output_that_replaces_the_input_is_no_change_of_it(run, shop: Path) -> None:
    outputs = ["-o", "shop.csv", "--removed", "gone.csv", "--report", "report", "--force", "--threshold", "0.1"]
    result = run("denoise", "shop.csv", *outputs, *QUICK)
    assert result.exit_code == 0, result.output
    assert len(Path("shop.csv").read_text(encoding="utf-8").splitlines()) < 1501


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("name", ["clean.csv", "gone.csv", "report/photo.jpg"])
def test_what_appears_at_the_place_of_one_output_keeps_all_from_being_written(
    run, shop: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from iadsr_cli import outputs

    original, place = outputs.drafted_rows, Path(name)

    @contextmanager
    def appearing(log, target, *arguments, **options):
        with original(log, target, *arguments, **options):
            if target == "clean.csv":
                place.parent.mkdir(exist_ok=True)
                place.write_text("precious", encoding="utf-8")
            yield

    monkeypatch.setattr(outputs, "drafted_rows", appearing)
    before = names()
    result = run("denoise", shop, "-o", "clean.csv", "--removed", "gone.csv", "--report", "report", *QUICK)
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert place.parts[0] in error
    assert "exists" in error
    assert "--force" in hint
    assert place.read_text(encoding="utf-8") == "precious"
    assert names() == before | {place.parts[0]}


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("command", ["embed", "pretrain", "align", "evaluate", "denoise"])
def test_a_folder_that_appears_meanwhile_stays(run, shop: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    from iadsr_cli import artifacts

    original = artifacts.draft_folder

    @contextmanager
    def appearing(place: Path, *arguments):
        with original(place, *arguments) as draft:
            if place.name == "made":
                place.mkdir()
                (place / "photo.jpg").touch()
            yield draft

    options = {
        "embed": ["-o", "made", "--encoder", "tfidf"],
        "pretrain": ["-o", "made", "--pretrain-epochs", "1"],
        "align": ["-o", "made", "--pretrained", "model", "--align-epochs", "1"],
        "evaluate": ["-o", "made", "--model", "model"],
        "denoise": ["--dry-run", "--report", "made", *QUICK],
    }[command]
    if "model" in options:
        assert run("pretrain", shop, "-o", "model", "--pretrain-epochs", "1").exit_code == 0
    monkeypatch.setattr(artifacts, "draft_folder", appearing)
    result = run(command, shop, *options)
    assert result.exit_code == 1, result.output
    error, hint = result.stderr.splitlines()[-2:]
    assert error == "error: The output folder made exists."
    assert hint == "hint: Name another folder, or pass --force to replace it."
    assert names(Path("made")) == {"photo.jpg"}


@pytest.mark.parametrize("command", ["embed", "pretrain"])
def test_a_folder_of_the_longest_name(run, shop: Path, command: str) -> None:
    options = {"embed": ["--encoder", "tfidf"], "pretrain": ["--pretrain-epochs", "1"]}[command]
    result = run(command, shop, "-o", "日" * 85, *options)
    assert result.exit_code == 0, result.output
    assert (Path("日" * 85) / "manifest.json").is_file()


# Disks that are full. A limit on the size of files gives the same errors, at the same places.

MAKE_ROOM = "hint: What was there before is unchanged. Make room or name another place."


def with_files_of(size: int) -> partial[None]:
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


def failed(process: "subprocess.Popen[bytes]") -> list[str]:
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    return error.decode().splitlines()[-2:]


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("name", ["clean.csv", "clean.parquet", "clean.jsonl.gz"])
def test_no_room_for_one_output_leaves_all_as_they_were(iadsr, run, shop: Path, name: str) -> None:
    arguments = ["denoise", shop, "-o", name, "--removed", "gone.csv", "--budget", "5%", "--force", *QUICK]
    assert run(*arguments).exit_code == 0
    limit = Path("gone.csv").stat().st_size + 2000
    assert Path(name).stat().st_size > limit
    for file in (name, "gone.csv"):
        Path(file).write_text("precious", encoding="utf-8")
    before = names()
    assert failed(iadsr(*arguments, preexec_fn=with_files_of(limit))) == [
        f"error: {name} could not be written: File too large.",
        MAKE_ROOM,
    ]
    assert [Path(file).read_text(encoding="utf-8") for file in (name, "gone.csv")] == ["precious", "precious"]
    assert names() == before


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("command", ["embed", "pretrain", "denoise"])
def test_no_room_for_a_folder(iadsr, run, shop: Path, command: str) -> None:
    options = {
        "embed": ["-o", "made", "--encoder", "tfidf"],
        "pretrain": ["-o", "made", "--pretrain-epochs", "1"],
        "denoise": ["--dry-run", "--report", "made", *QUICK],
    }[command]
    assert run(command, shop, *options).exit_code == 0
    before = {path: path.read_bytes() for path in Path("made").iterdir()}
    limit = max(map(len, before.values())) - 1
    error, hint = failed(iadsr(command, shop, *options, "--force", preexec_fn=with_files_of(limit)))
    assert "could not be written: File too large." in error
    assert "ake room" in hint
    assert {path: path.read_bytes() for path in Path("made").iterdir()} == before
    assert not [name for name in names() if name.startswith(".")]


def test_no_room_in_the_cache(iadsr, run, shop: Path) -> None:
    arguments = ["denoise", shop, "-o", "clean.csv", *QUICK]
    error, hint = failed(iadsr(*arguments, preexec_fn=with_files_of(1000)))
    assert error.endswith("could not be written: File too large.")
    assert hint == MAKE_ROOM
    assert [path.name for path in Path("cache").rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert run(*arguments).exit_code == 0


@pytest.mark.usefixtures("scored")
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
@pytest.mark.parametrize("options", [["--removed", "gone.csv"], ["--json", "--dry-run"]])
def test_standard_output_that_is_full(iadsr, tmp_path: Path, shop: Path, options: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        error, _ = failed(iadsr("denoise", shop, *options, *QUICK, stdout=full))
    assert error == "error: Standard output could not be written: No space left on device."
    assert names(tmp_path) == {"shop.csv"}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["denoise", "--help"]])
def test_help_that_cannot_be_written(iadsr, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        error, hint = failed(iadsr(*arguments, stdout=full))
    assert error == "error: Standard output could not be written: No space left on device."
    assert hint.startswith("hint: Make room")


def closed(*numbers: int):
    """Return what closes standard streams, by their numbers, in a new process."""

    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("numbers", [(1,), (0, 1, 2)])
def test_standard_streams_that_are_closed(iadsr, shop: Path, numbers: tuple[int, ...]) -> None:
    process = iadsr("denoise", shop, "-o", "clean.csv", *QUICK, "--quiet", preexec_fn=closed(*numbers))
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 0
    assert shop.with_name("clean.csv").read_bytes().startswith(b"user_id,")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["denoise", "shop.csv"], "error: Standard output is closed."),
        (["denoise", "shop.csv", "-o", "a.csv", "--removed", "-"], "error: Standard output is closed."),
        (["--help"], "error: Standard output is closed, and something was to be written there."),
    ],
)
def test_what_is_to_go_to_standard_output_that_is_closed(iadsr, shop: Path, arguments: list[str], error: str) -> None:
    said, hint = failed(iadsr(*arguments, preexec_fn=closed(1)))
    assert said == error
    assert hint in {"hint: Name a file, as in -o clean.csv.", "hint: Open it."}
    assert names(shop.parent) == {"shop.csv"}


def test_standard_input_that_is_closed(iadsr, tmp_path: Path) -> None:
    error, _ = failed(iadsr("denoise", "-", "-o", "a.csv", preexec_fn=closed(0)))
    assert error == "error: standard input is empty."


# Pipes that close, and signals.


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_pipe_that_closes_ends_the_run_quietly(iadsr, tmp_path: Path, shop: Path, stream: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = iadsr("denoise", shop, "--removed", "gone.csv", *QUICK, **{stream: writer})
    os.close(writer)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 141
    assert "rror" not in ((out if stream == "stderr" else error) or b"").decode()
    assert names(tmp_path) == {"shop.csv"}


def test_an_error_that_nobody_reads_has_its_code(iadsr, tmp_path: Path) -> None:
    for arguments, code in ((["denoise", "nothing.csv"], 1), (["denoise", "--nonsense"], 2)):
        reader, writer = os.pipe()
        os.close(reader)
        process = iadsr(*arguments, stderr=writer)
        os.close(writer)
        process.communicate(timeout=60)
        assert process.returncode == code


STAGES = {
    "crossfit": ["read", "embed", "predict", "evidence", "learn", "write"],
    "iadsr": ["pretrain", "align", "score"],
}


ENDINGS = {KeyboardInterrupt: ("Interrupted", 130), Terminated: ("Terminated", 143)}


@pytest.mark.parametrize(
    ("method", "stage", "ending"),
    [(method, stage, KeyboardInterrupt) for method, stages in STAGES.items() for stage in stages]
    + [("crossfit", "write", Terminated)],
)
def test_an_end_in_any_stage(
    run, shop: Path, monkeypatch: pytest.MonkeyPatch, method: str, stage: str, ending: type[BaseException]
) -> None:
    original = Face.stage

    @contextmanager
    def interrupted(self, name, total, unit):
        with original(self, name, total, unit) as shown:
            if name == stage:
                shown.advance = lambda amount=1: (_ for _ in ()).throw(ending())
            yield shown

    short = ["--pretrain-epochs", "1", "--align-epochs", "1"]
    Path("clean.csv").write_text("precious", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(Face, "stage", interrupted)
        outputs = ["-o", "clean.csv", "--removed", "gone.csv", "--report", "report", "--force"]
        result = run("denoise", shop, *outputs, "--method", method, *short, *QUICK)
    word, code = ENDINGS[ending]
    assert result.exit_code == code
    assert result.stderr.splitlines()[-2:] == [
        f"error: {word}: every output is whole or as it was before.",
        "hint: Run the same command again (pretrain, align: with --resume): what was finished is not made twice.",
    ]
    assert Path("clean.csv").read_text(encoding="utf-8") == "precious"
    assert names() == {"shop.csv", "clean.csv"}
    assert not list(Path("cache").rglob("*.draft"))


def test_termination_of_a_process(iadsr, tmp_path: Path, shop: Path) -> None:
    process = iadsr("pretrain", shop, "-o", "gru", "--pretrain-epochs", "5000", "--patience", "5000")
    while not (tmp_path / ".gru.checkpoint").exists():
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 143, error
    assert error.decode().splitlines()[-2].startswith("error: Terminated: ")
    assert out == b""
    assert names(tmp_path) == {"shop.csv", ".gru.checkpoint"}, "what --resume goes on from stays"


@pytest.mark.slow
def test_killed_runs_leave_nothing_that_a_resumed_one_does_not_mend() -> None:
    script = str(ROOT / "benchmarks" / "faults.py")
    command = [sys.executable, script, "--kills", "1", "--run", "parts", "--encoder", "tfidf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kills, 0 faults" in done.stdout
    assert "resumed to the same bytes" in done.stdout
