import json
from pathlib import Path

import pytest

from iadsr_cli.artifacts import cached, check_folder, read_manifest, write_artifact
from iadsr_cli.errors import ArtifactError, OutputError


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
    said: list[str] = []

    def build(folder: Path) -> None:
        built.append(folder)
        write(folder)

    first = cached(tmp_path, "embed", {"log": "a"}, build, said.append)
    assert cached(tmp_path, "embed", {"log": "a"}, build, said.append) == first
    assert cached(tmp_path, "embed", {"log": "b"}, build, said.append) != first
    assert len(built) == 2
    assert not said
    (first / "a.txt").write_text("damaged")
    assert cached(tmp_path, "embed", {"log": "a"}, build, said.append) == first
    assert len(built) == 3
    assert "made again" in said[0]
    assert "was changed" in said[0]


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
