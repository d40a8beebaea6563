"""Drafts: whole or not at all; those of a process that lives are left alone, others go."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iadsr_cli import drafts
from iadsr_cli.drafts import draft_file, draft_folder, draft_name, sweep, sweep_all, try_writing

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX locks")

WRITER = """
import sys, time
from pathlib import Path
from iadsr_cli import drafts

with getattr(drafts, sys.argv[1])(Path(sys.argv[2])) as draft:
    if sys.argv[1] == "draft_folder":
        (draft / "half").touch()
    elif sys.argv[1] == "draft_name":
        draft.with_name(".tmp123").touch()
    print("writes", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["draft_file", "draft_folder", "draft_name"])
def test_a_draft_is_removed_once_its_process_is_dead_and_not_before(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "out.csv"
    command = [sys.executable, "-c", WRITER, kind, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writes\n"
        for clean in (sweep, try_writing, lambda place: sweep_all(place.parent)):
            clean(place)
            assert len(list(tmp_path.iterdir())) == 1, "the draft of a living process was taken away"
        process.kill()
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path / "out")
    assert len(list(tmp_path.iterdir())) == 1, "that of another place is not ours"
    with draft_file(place) as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert process.returncode == -signal.SIGKILL


def test_what_only_looks_like_a_draft_stays(tmp_path: Path) -> None:
    token = "iadsr-0123456789abcdef"
    for name in (".out.csv.draft", ".out.csv.1234.draft", f".out.csv.{token}.part", f"out.csv.{token}.draft"):
        (tmp_path / name).touch()
    for name in (".out.csv.20261127.old", ".out.csv.20261127.draft", ".out.csv.2026112712301500.old"):
        (tmp_path / name).mkdir()
    sweep(tmp_path / "out.csv")
    sweep_all(tmp_path)
    with draft_file(tmp_path / "out.csv"):
        pass
    assert len(list(tmp_path.iterdir())) == 8


@pytest.mark.parametrize("draft", [draft_file, draft_folder, draft_name])
def test_a_block_that_fails_leaves_nothing(tmp_path: Path, draft) -> None:
    with pytest.raises(KeyboardInterrupt), draft(tmp_path / "out"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def no_links(*_: object, **__: object) -> None:
    raise PermissionError("there are no links here")


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_file_that_appears_meanwhile_stays_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link
) -> None:
    monkeypatch.setattr(os, "link", link)
    place = tmp_path / "out"
    with draft_file(place, force=False) as file:
        file.write(b"ours")
    assert place.read_bytes() == b"ours"
    place.unlink()
    for appear in (lambda: place.write_bytes(b"theirs"), place.mkdir, lambda: place.symlink_to("nowhere")):
        with pytest.raises(FileExistsError), draft_file(place, force=False) as file:
            file.write(b"ours")
            appear()
        (left,) = tmp_path.iterdir()
        assert left == place
        assert not place.is_file() or place.read_bytes() == b"theirs"
        place.rmdir() if place.is_dir() else place.unlink()


@pytest.mark.parametrize("found_when", [1, 2])
def test_a_folder_that_is_not_to_be_replaced_stays(tmp_path: Path, found_when: int) -> None:
    place, looks = tmp_path / "out", []

    def check(there: Path) -> None:
        looks.append(there)
        if len(looks) == found_when:
            raise ValueError

    with pytest.raises(ValueError), draft_folder(place, check) as draft:
        (draft / "ours").touch()
        place.mkdir()
        (place / "theirs").touch()
    assert [path.name for path in place.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_replaced_and_its_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "out").symlink_to("real")
    with draft_folder(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]
    assert (tmp_path / "real" / "file").exists()


def test_a_file_has_the_permissions_of_a_new_one_or_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    place = tmp_path / "out"
    with draft_file(place):
        pass
    assert place.stat().st_mode == (tmp_path / "usual").stat().st_mode
    place.chmod(0o640)
    with draft_file(place):
        pass
    assert place.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["x" * 250, "日" * 82 + ".csv", "x" + "日" * 82 + ".csv"])
def test_a_long_name_is_cut(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    with draft_file(place) as file:
        file.write(b"y")
    assert place.read_bytes() == b"y"
    assert len(list(tmp_path.iterdir())) == 1


def test_long_names_that_begin_alike_have_drafts_of_their_own(tmp_path: Path) -> None:
    left = drafts._hidden(tmp_path / ("x" * 250), "iadsr-0123456789abcdef", "draft")
    left.touch()
    sweep(tmp_path / ("x" * 249))
    assert [*tmp_path.iterdir()] == [left]
    sweep(tmp_path / ("x" * 250))
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_removed_is_no_error_at_the_end(tmp_path: Path) -> None:
    drafts._remove(tmp_path / ("x" * 300))


def test_a_signal_in_the_line_that_removes_a_draft_leaves_it_to_the_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drafts, "_remove", interrupted)
        with pytest.raises(KeyboardInterrupt), draft_file(tmp_path / "a") as file:
            file.write(b"x")
            raise ValueError
    assert [path.suffix for path in tmp_path.iterdir()] == [".draft"]
    drafts._remove_unfinished()
    assert not list(tmp_path.iterdir())
    drafts._UNFINISHED.clear()
