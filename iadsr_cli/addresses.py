"""Addresses: https://, s3://, gs://, abfs:// and whatever else fsspec knows."""

import re
from urllib.parse import SplitResult, urlsplit

from iadsr_cli.errors import UsageError

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_HERE = "file://"
# Before the @ stands the container, which is no secret.
_CONTAINERS = {"abfs", "abfss", "wasb", "wasbs"}


def is_remote(name: str) -> bool:
    """Return whether `name` is an address and no file of this machine."""
    return _ADDRESS.match(name) is not None and not name.startswith(_HERE)


def path_of(name: str) -> str:
    """Return the path of a file or folder of this machine, which may have been given as file:///path."""
    return name.removeprefix(_HERE)


def without_secrets(address: str) -> str:
    """Return an address without user, password and query, which may hold keys.

    Raises:
        UsageError: if it is malformed.
    """
    scheme, host, path = parts(address)
    return f"{scheme}://{host}{path}"


def parts(address: str) -> tuple[str, str, str]:
    """Return the scheme of an address, its host or bucket without user and password, and its path.

    Raises:
        UsageError: if it is malformed.
    """
    split = split_address(address)
    host = split.netloc if split.scheme in _CONTAINERS else split.netloc.rpartition("@")[2]
    return split.scheme, host, split.path


def split_address(address: str) -> SplitResult:
    """Return the parts of an address, with its secrets.

    Raises:
        UsageError: if it is malformed.
    """
    try:
        return urlsplit(address)
    except ValueError:
        # The error may hold the user and the password.
        scheme, mark, rest = address.partition("://")
        shown = re.split("[?#]", rest)[0].rpartition("@")[2]
        raise UsageError(
            f"{scheme}{mark}{shown} is no address: its host is malformed.",
            "Correct the address: brackets are for IPv6 alone, such as http://[::1]:8080.",
        ) from None
