"""Names of addresses, and what tells one version of a file at one from another."""

from iadsr_cli.remote import is_remote, without_secrets
from iadsr_cli.remote.stores import _state


def test_addresses() -> None:
    assert not any(map(is_remote, ["-", "log.csv", "a/b:c//d", "C:/log.csv"]))
    assert is_remote("s3://bucket/a")
    assert without_secrets("s3://key:word@bucket/a.csv?versionId=1") == "s3://bucket/a.csv"
    # No user: the container of an account.
    assert without_secrets("abfs://logs@account.dfs.core.windows.net/a") == "abfs://logs@account.dfs.core.windows.net/a"


def test_states_of_files() -> None:
    before = {"name": "a", "size": 3, "ETag": '"1"', "StorageClass": "STANDARD"}
    assert _state(before) == _state({**before, "StorageClass": "GLACIER"})
    assert len({_state(before), _state({**before, "size": 4}), _state({**before, "ETag": '"2"'})}) == 3
    assert _state({"mtime": 1.5}) != _state({"mtime": 2.5})
