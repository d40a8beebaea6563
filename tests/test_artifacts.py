import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iadsr_cli import artifacts
from iadsr_cli.artifacts import FILES, cache_name, cached, check_folder, checkpoint_of, read_manifest, write_artifact
from iadsr_cli.errors import ArtifactError, OutputError
from iadsr_cli.progress import Silent


class Recorder(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def write(folder: Path, kind: str = "embed", content: str = "x") -> None:
    write_artifact(
        folder,
        kind,
        lambda draft: [(draft / name).write_text(content) for name in ("a.txt", "b.txt")],
        config={"seed": 1},
        inputs={"log": "abc"},
        facts={"items": 3},
    )


def test_an_artifact_says_what_it_is_and_is_the_same_twice(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    manifest = read_manifest(tmp_path / "one", "embed")
    assert manifest.config == {"seed": 1}
    assert set(manifest.outputs) == {"a.txt", "b.txt"}
    for name in ("a.txt", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"], "a draft was left"


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "one", content="before")

    def fail(draft: Path) -> None:
        (draft / "a.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_artifact(tmp_path / "one", "embed", fail, config={}, inputs={}, facts={})
    assert (tmp_path / "one" / "a.txt").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_replacing_keeps_no_old_file(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write_artifact(tmp_path / "one", "embed", lambda d: (d / "c.txt").write_text("c"), config={}, inputs={}, facts={})
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["c.txt", "manifest.json"]


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f, kind="pretrain"), 'is an artifact of kind "pretrain", and one of kind "embed" is needed'),
        (lambda f: edit(f, schema_version=99), "has schema version 99"),
        (lambda f: (f / "manifest.json").write_text('{"schema_version": 99, "new": 1}'), "has schema version 99"),
        (lambda f: (f / "manifest.json").write_text("{"), "is damaged"),
        (lambda f: (f / "manifest.json").write_text("[1]"), "is damaged"),
        (lambda f: edit(f, config={"half a character": "\ud800"}), "was changed after it was written"),
        (lambda f: (f / "manifest.json").unlink(), "holds no manifest.json"),
        (lambda f: (f / "a.txt").write_text("y"), "was changed after it was written"),
        (lambda f: (f / "a.txt").unlink(), "lacks its file a.txt"),
    ],
)
def test_what_is_not_the_artifact_is_refused_with_the_command_that_makes_it(
    tmp_path: Path, damage, message: str
) -> None:
    write(tmp_path / "one")
    damage(tmp_path / "one")
    with pytest.raises(ArtifactError) as caught:
        read_manifest(tmp_path / "one", "embed")
    assert message in caught.value.message
    assert "iadsr embed" in caught.value.hint


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    write(tmp_path / "one")
    for file in (tmp_path / "one").iterdir():
        whole = file.read_bytes()
        for place in range(len(whole)):
            for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
                file.write_bytes(content)
                if file.name == "manifest.json" and json_or_none(content) == json.loads(whole):
                    continue  # a lost line ending, or one kind of blank for another
                with pytest.raises(ArtifactError):
                    read_manifest(tmp_path / "one", "embed")
        file.write_bytes(whole)
    read_manifest(tmp_path / "one", "embed")


def json_or_none(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no folder"):
        read_manifest(tmp_path / "none", "align")


def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    write(tmp_path / "one")
    edit(tmp_path / "one", outputs={"../secret": "0"})
    with pytest.raises(ArtifactError, match=r"lacks its file \.\./secret"):
        read_manifest(tmp_path / "one", "embed")


def test_the_cache_builds_once_and_again_after_damage(tmp_path: Path) -> None:
    built: list[Path] = []
    recorder = Recorder()

    def build(folder: Path) -> None:
        built.append(folder)
        write(folder)

    first = cached(tmp_path, "embed", {"log": "a"}, build, recorder)
    assert cached(tmp_path, "embed", {"log": "a"}, build, recorder) == first
    assert cached(tmp_path, "embed", {"log": "b"}, build, recorder) != first
    assert len(built) == 2
    assert not recorder.warnings
    (first / "a.txt").write_text("damaged")
    assert cached(tmp_path, "embed", {"log": "a"}, build, recorder) == first
    assert len(built) == 3
    assert "made again" in recorder.warnings[0]
    assert "was changed" in recorder.warnings[0]


def test_what_other_code_made_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    name = cache_name({"log": "a"})
    assert cache_name({"log": "a"}) == name
    monkeypatch.setattr(artifacts, "_code", lambda: "changed")
    assert cache_name({"log": "a"}) != name


def test_a_cache_that_cannot_be_written_gives_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = cached(tmp_path, "embed", {"log": "a"}, write, Silent())

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    # Tests may run as root, whom no permissions stop.
    for name in ("mkdir", "touch", "unlink", "rename"):
        monkeypatch.setattr(Path, name, read_only)
    assert cached(tmp_path, "embed", {"log": "a"}, write, Silent()) == there
    with pytest.raises(OutputError, match=r"cannot be written: Read-only file system.*\n.*--cache-dir"):
        cached(tmp_path, "embed", {"log": "b"}, write, Silent())
    (there / "a.txt").write_text("damaged")
    with pytest.raises(OutputError, match="Read-only file system"):
        cached(tmp_path, "embed", {"log": "a"}, write, Silent())


def test_the_last_state_of_a_training_that_was_done_is_removed(tmp_path: Path) -> None:
    folder = cached(tmp_path, "pretrain", {}, lambda folder: write(folder, "pretrain"), Silent())
    checkpoint_of(folder).touch()
    assert cached(tmp_path, "pretrain", {}, write, Silent()) == folder
    assert not checkpoint_of(folder).exists()


def test_a_killed_process_s_drafts_in_the_cache_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "embed" / f".{'0' * 32}.iadsr-0123456789abcdef.draft"
    left.mkdir(parents=True)
    cached(tmp_path, "embed", {}, write, Silent())
    assert not left.exists()


# Two processes.

BUILDER = """
import sys, time
from pathlib import Path
from iadsr_cli.artifacts import cached, write_artifact
from iadsr_cli.progress import Silent

class Spoken(Silent):
    def note(self, text):
        print(text, flush=True)

def build(folder):
    def fill(draft):
        print("builds", flush=True)
        (draft / "a.txt").write_text("x")
        time.sleep(float(sys.argv[2]))
    write_artifact(folder, "pretrain", fill, config={}, inputs={}, facts={})

print(cached(Path(sys.argv[1]), "pretrain", {}, build, Spoken()).name, flush=True)
"""


def builder(cache: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(cache), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_of_two_processes_one_builds_and_the_other_waits_and_says_so(tmp_path: Path) -> None:
    first = builder(tmp_path, 2)
    assert first.stdout.readline() == "builds\n"
    second = builder(tmp_path, 2)
    made, waited = first.communicate()[0], second.communicate()[0]
    assert first.returncode == second.returncode == 0
    assert waited == f"waiting for another iadsr that makes this recommender\n{made}"


def test_who_waits_for_a_process_that_is_killed_builds(tmp_path: Path) -> None:
    first = builder(tmp_path, 60)
    assert first.stdout.readline() == "builds\n"
    second = builder(tmp_path, 0)
    assert second.stdout.readline().startswith("waiting")
    first.kill()
    first.communicate()
    assert second.communicate()[0].startswith("builds\n")
    assert second.returncode == 0
    (folder,) = (tmp_path / "pretrain").iterdir()
    read_manifest(folder, "pretrain")


def test_an_output_folder_is_checked_before_any_work(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", force=False)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", force=False)
    write(tmp_path / "one")
    check_folder(tmp_path / "one", force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    (tmp_path / "file").touch()
    for folder, force, message in [
        ("one", False, "exists"),
        ("mine", True, "is not a folder that iadsr wrote"),
        ("file", True, "is a file"),
        ("no/such", False, "is not a folder"),
        ("file/below", False, "is not a folder"),
    ]:
        with pytest.raises(OutputError, match=message):
            check_folder(tmp_path / folder, force=force)


@pytest.mark.parametrize("name", ["notes.txt", "deeper/notes.txt", "link"])
@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"outputs": 3}', "{}", "[" * 100_000])
def test_what_somebody_put_into_an_artifact_is_not_lost_with_it(
    tmp_path: Path, name: str, manifest: str | None
) -> None:
    folder = tmp_path / "one"
    write(folder)
    if manifest is not None:
        # To make a damaged artifact again is advised where it is read, so what may be in one goes.
        for written in ("a.txt", "b.txt"):
            (folder / written).unlink()
        for known in FILES:
            (folder / known).write_text(manifest)
    (folder / ".DS_Store").touch()
    check_folder(folder, force=True)
    foreign = folder / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.symlink_to(tmp_path) if name == "link" else foreign.touch()
    told = f"{folder} holds {name}, which iadsr did not write, and --force does not replace it."
    with pytest.raises(OutputError, match=re.escape(told)):
        check_folder(folder, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_what_appears_at_an_artifact_s_place_meanwhile_stays(tmp_path: Path, force: bool) -> None:
    place = tmp_path / "one"

    def fill(draft: Path) -> None:
        (draft / "ours").touch()
        place.mkdir()
        (place / "photo.jpg").touch()

    told = (
        "is not a folder that iadsr wrote, and --force does not replace it" if force else "The output folder .* exists"
    )
    with pytest.raises(OutputError, match=told):
        write_artifact(place, "embed", fill, config={}, inputs={}, facts={}, force=force)
    assert [path.name for path in place.iterdir()] == ["photo.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_empty_folder_that_appears_meanwhile_is_filled(tmp_path: Path) -> None:
    place = tmp_path / "one"
    write_artifact(place, "embed", lambda _: place.mkdir(), config={}, inputs={}, facts={}, force=False)
    read_manifest(place, "embed")


# A process that is killed between the two renames of a replacement.

REPLACER = """
import os, signal, sys
from pathlib import Path
from iadsr_cli.artifacts import write_artifact

rename = Path.rename

def killed(self, target):
    rename(self, target)
    if target.name.endswith(".old"):
        os.kill(os.getpid(), signal.SIGKILL)

Path.rename = killed
write_artifact(Path(sys.argv[1]), "embed", lambda d: (d / "c.txt").touch(), config={}, inputs={}, facts={})
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX locks")
@pytest.mark.parametrize("again", ["read", "check", "write"])
def test_what_a_killed_process_had_moved_away_comes_back(tmp_path: Path, again: str) -> None:
    place = tmp_path / "one"
    write(place, content="before")
    killed = subprocess.run([sys.executable, "-c", REPLACER, str(place)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not place.exists()
    if again == "read":
        read_manifest(place, "embed")
    elif again == "check":
        with pytest.raises(OutputError, match="exists"):
            check_folder(place, force=False)
    else:
        with pytest.raises(KeyboardInterrupt):
            write_artifact(place, "embed", interrupted, config={}, inputs={}, facts={})
    assert (place / "a.txt").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def interrupted(_: Path) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_between_the_renames_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, rename = tmp_path / "one", Path.rename
    write(place, content="before")

    def stop(self: Path, target: Path) -> None:
        if self.suffix == ".draft":
            raise KeyboardInterrupt
        rename(self, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        write(place)
    assert (place / "a.txt").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
