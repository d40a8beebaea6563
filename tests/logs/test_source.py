"""A file that is changed while a run works on what it has read from it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iadsr_cli.errors import InputError
from iadsr_cli.logs import source as source_module
from iadsr_cli.logs.source import Source, read_source


def read(path: Path) -> Source:
    content, source = read_source(str(path))
    assert source is not None
    assert content == path.read_bytes()
    return source


def flipped(path: Path) -> None:
    path.write_bytes(b"xbc")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"abcd"), "was changed while iadsr worked"),
        (flipped, "was changed while iadsr worked"),
        (Path.unlink, r"cannot be found any more \(No such file or directory\), so nothing was written"),
    ],
)
def test_a_change_is_found(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"abc")
    source = read(path)
    change(path)
    with pytest.raises(InputError, match=message):
        source.check_unchanged()


def test_the_same_bytes_at_another_time_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"abc")
    source = read(path)
    source.check_unchanged()
    os.utime(path, ns=(1, 1))
    source.check_unchanged()


def test_a_change_while_it_is_read_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fstat = tmp_path / "log.csv", os.fstat
    path.write_bytes(b"abc")

    def written_to(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        with path.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(source_module.os, "fstat", written_to)
    with pytest.raises(InputError, match="was changed while it was read"):
        read_source(str(path))


def test_what_is_no_ordinary_file_has_no_identity() -> None:
    assert read_source("/dev/null") == (b"", None)


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "log.csv"
    link.symlink_to("gone.csv")
    with pytest.raises(InputError, match=r"log\.csv is a link that leads nowhere\."):
        read_source(str(link))
