"""Names of addresses and of their copies, and what tells one version of a file at one from another."""

import re

import fsspec
import pytest

from iadsr_cli.addresses import is_remote, without_secrets
from iadsr_cli.config import RunSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.progress import Silent
from iadsr_cli.remote import staged
from iadsr_cli.remote.stores import Objects, _state, store_of


def test_addresses() -> None:
    assert not any(map(is_remote, ["-", "log.csv", "a/b:c//d", "C:/log.csv"]))
    assert is_remote("s3://bucket/a")
    assert without_secrets("s3://key:word@bucket/a.csv?versionId=1") == "s3://bucket/a.csv"
    # No user: the container of an account.
    assert without_secrets("abfs://logs@account.dfs.core.windows.net/a") == "abfs://logs@account.dfs.core.windows.net/a"


@pytest.mark.parametrize(
    "address", ["http://[::1/x.csv", "s3://[b/x.csv", "memory://[b]/x.csv", "gs://me:word@[b/x.csv"]
)
def test_malformed_addresses(address: str, tmp_path) -> None:
    shown = re.escape(address.replace("me:word@", ""))
    for use in (without_secrets, store_of):
        with pytest.raises(UsageError, match=f"^{shown} is no address: its host is malformed"):
            use(address)
    with staged(RunSettings(cache_dir=str(tmp_path)), Silent()) as staging:
        for stage in (staging.fetched, lambda target: staging.claimed(target, False)):
            with pytest.raises(UsageError, match=f"^{shown} is no address"):
                stage(address)


def test_a_host_that_no_name_is(tmp_path) -> None:
    with pytest.raises(InputError, match=r"http://a\.\.b/x\.csv cannot be read"):
        store_of("http://a..b/x.csv").fetch({"": tmp_path / "x"}, lambda size: None)


def test_states_of_files() -> None:
    before = {"name": "a", "size": 3, "ETag": '"1"', "StorageClass": "STANDARD"}
    assert _state(before) == _state({**before, "StorageClass": "GLACIER"})
    assert len({_state(before), _state({**before, "size": 4}), _state({**before, "ETag": '"2"'})}) == 3
    assert _state({"mtime": 1.5}) != _state({"mtime": 2.5})


def test_copies_are_shown_as_addresses(tmp_path) -> None:
    with staged(RunSettings(cache_dir=str(tmp_path)), Silent()) as staging:
        assert staging.shown(f"{tmp_path}/remote/x") == f"{tmp_path}/remote/x"
        for address in (
            "s3://bucket/a/b.csv",
            "hdfs:///logs/a.csv",
            "abfs://c@account/a",
            "https://host:80/a.csv",
            "gs://b",
        ):
            copy = staging._local(address)
            assert copy.is_relative_to(tmp_path / "remote")
            assert staging.shown(f"row 3 of {copy}: no") == f"row 3 of {address}: no"
        folder = staging._local("gs://b").parents[1]
        assert folder.is_dir()
        with pytest.raises(InputError, match="cannot be the name of a file here"):
            staging._local("s3://bucket/../../a")
        with pytest.raises(InputError, match=r"^gs://b/a.csv is odd$"):
            raise_named(staging._local("gs://b/a.csv"), tmp_path)
    assert not folder.exists()


def raise_named(copy, cache) -> None:
    """Raise an error that names a copy, as it comes out of the block that the copy is made in."""
    with staged(RunSettings(cache_dir=str(cache)), Silent()) as staging:
        staging._folder = copy.parents[2]
        raise InputError(f"{copy} is odd", "")


def test_a_whole_bucket() -> None:
    store = fsspec.filesystem("memory")
    store.store.clear()
    whole = Objects("memory://bucket/")
    whole.try_writing()
    assert store.find("/") == []
    whole.write("a.csv", b"1")
    whole.write("b/c.csv", b"22")
    assert {name: size for name, (size, _) in whole.files().items()} == {"a.csv": 1, "b/c.csv": 2}
    assert Objects("memory://bucket/b/*.csv").base == "memory://bucket/b"
    store.store.clear()
