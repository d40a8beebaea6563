"""Files at an address: https://, s3://, gs://, abfs:// and whatever else fsspec knows, read whole."""

import re
from urllib.parse import urlsplit

from iadsr_cli.errors import InputError, UsageError

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_TIMEOUT = 60.0  # seconds without a byte


def is_remote(source: str) -> bool:
    """Return whether `source` is an address and no file of this machine."""
    return _ADDRESS.match(source) is not None


def without_secrets(address: str) -> str:
    """Return an address without user, password and query, which may hold keys."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_remote(address: str) -> bytes:
    """Return the bytes of the file at an address.

    Raises:
        InputError: it cannot be had, or what reads such addresses is not installed.
        UsageError: it is no file's, or nothing reads such addresses.
    """
    name = without_secrets(address)
    if name.endswith("/") or any(wildcard in name for wildcard in "*["):
        raise UsageError(
            f"{name} is not the address of one file.", "Give that of a file, or copy the folder to this machine first."
        )
    return _fetched(address, name) if urlsplit(address).scheme in {"http", "https"} else _opened(address, name)


def _fetched(address: str, name: str) -> bytes:
    import httpx

    try:
        # A server that compresses on the way would undo a file's own .gz.
        headers = {"Accept-Encoding": "identity"}
        answer = httpx.get(address, headers=headers, follow_redirects=True, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(f"{name} cannot be read: {error}.", "Check the address and the network.") from error
    if answer.status_code != httpx.codes.OK:
        raise InputError(
            f"{name} cannot be read: the server answers {answer.status_code} {answer.reason_phrase}.",
            "Check the address; where it needs a login, download the file first.",
        )
    return answer.content


def _opened(address: str, name: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            content: bytes = file.read()
            return content
    except ImportError as error:
        scheme = urlsplit(address).scheme
        package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
        raise InputError(
            f"{name} cannot be read: what reads {scheme}:// is not installed ({error}).",
            f"Install it: pip install {package[scheme]}." if scheme in package else "Install what it names.",
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist.", "Check the address.") from error
    except ValueError as error:
        raise UsageError(f"{name} cannot be read: {error}.", "Known: https, s3, gs, abfs and others.") from error
    except Exception as error:  # each store has errors of its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise InputError(
            f"{name} cannot be read: {reason}.", "Check the address, the network and your keys."
        ) from error
