"""What is at an address, and how it is fetched and sent: https by httpx, all others by fsspec."""

import contextlib
import errno
import glob
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from iadsr_cli.addresses import parts, without_secrets
from iadsr_cli.errors import InputError, OutputError, UsageError, first_line

_TIMEOUT = 60.0  # seconds without a byte
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
_OUR_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

# Takes how many bytes more have come or gone.
Tell = Callable[[int], None]


class Store(Protocol):
    """The files at one address.

    Attributes:
        name: the address, as messages show it.
        base: the part of it from which the names of files count.
    """

    name: str
    base: str

    def files(self) -> dict[str, tuple[int | None, str]]:
        """Return size (None where it is not known) and state of each file, by its name below the base.

        A file whose own address it is has the name "". The state is another one when the file has been changed.

        Raises:
            InputError: if that cannot be told.
        """

    def fetch(self, places: Mapping[str, Path], tell: Tell) -> None:
        """Copy files, by their names, to places on this machine.

        Raises:
            InputError: if one cannot be had.
        """


def store_of(address: str) -> Store:
    """Return the files at an address.

    Raises:
        InputError: if what reads such addresses is not installed.
        UsageError: if nothing does, or the address is malformed.
    """
    return _Web(address) if parts(address)[0] in {"http", "https"} else Objects(address)


class _Web:
    """One file on a web server."""

    def __init__(self, address: str) -> None:
        self.name = self.base = without_secrets(address)
        self._address = address
        if self.name.endswith("/") or any(wildcard in self.name for wildcard in "*["):
            raise UsageError(
                f"{self.name} is not the address of one file.",
                "A web server does not tell what it has: give the address of a file.",
            )

    def files(self) -> dict[str, tuple[int | None, str]]:
        """Return the file; what it is like is seen when it comes."""
        return {"": (None, "")}

    def fetch(self, places: Mapping[str, Path], tell: Tell) -> None:
        """Copy it."""
        import httpx

        try:
            # A server that compresses on the way would undo a file's own .gz.
            headers = {"Accept-Encoding": "identity"}
            with httpx.stream("GET", self._address, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise InputError(
                        f"{self.name} cannot be read: the server answers {answer.status_code} {answer.reason_phrase}.",
                        "Check the address; where it needs a login, download the file first.",
                    )
                with places[""].open("wb") as file:
                    for piece in answer.iter_raw():
                        file.write(piece)
                        tell(len(piece))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the latter of a host like "a..b"
            raise InputError(f"{self.name} cannot be read: {error}.", "Check the address and the network.") from error


class Objects:
    """Files in a store that fsspec knows: a bucket, a container, a file server."""

    def __init__(self, address: str) -> None:
        """Take the address of a file or folder, or a pattern.

        Raises:
            InputError: if the package for it is not installed.
            UsageError: if fsspec does not know such addresses.
        """
        self.name = without_secrets(address).rstrip("/")
        with _read(self.name):
            from fsspec.core import url_to_fs

            self._fs, self._path = url_to_fs(address.rstrip("/"))
            pattern = glob.has_magic(self.name) and not self._fs.exists(self._path)
        levels = self._path.split("/")
        # Of a pattern the names of files count from what stands before the first wildcard.
        wild = next((place for place, level in enumerate(levels) if pattern and glob.has_magic(level)), len(levels))
        self._pattern, beyond = pattern, len(levels) - wild
        self._base, self.base = (_above(path, beyond) for path in (self._path, self.name))

    def files(self) -> dict[str, tuple[int | None, str]]:
        """Return the files at the address, below it, or that match it."""
        with _read(self.name):
            self._fs.invalidate_cache()
            found = self._matched() if self._pattern else self._fs.find(self._path, detail=True)
            return {
                path.removeprefix(self._base).removeprefix("/"): (info.get("size"), _state(info))
                for path, info in found.items()
                # A folder in a bucket can be an object of no bytes, and stores look for beginnings of names.
                if info["type"] == "file" and f"{path}/".startswith(f"{self._base}/") and not path.endswith("/")
            }

    def _matched(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, info in self._fs.glob(self._path, detail=True).items():
            found.update(self._fs.find(path, detail=True) if info["type"] == "directory" else {path: info})
        return found

    def fetch(self, places: Mapping[str, Path], tell: Tell) -> None:
        """Copy files, several at once where the store's package can."""
        with _read(self.name):
            self._fs.get([*map(self._at, places)], [*map(str, places.values())], callback=_counting(tell))

    def read(self, name: str) -> bytes:
        """Return the bytes of a small file.

        Raises:
            InputError: if it cannot be read.
        """
        with _read(self.name):
            content: bytes = self._fs.cat_file(self._at(name))
            return content

    def send(self, places: Mapping[str, Path], tell: Tell) -> None:
        """Copy files of this machine to the store; each of them appears there whole or not at all.

        Raises:
            OutputError: if one cannot be written.
        """
        with _written(self.name):
            self._fs.put([*map(str, places.values())], [*map(self._at, places)], callback=_counting(tell))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file.

        Raises:
            OutputError: if it cannot be written.
        """
        with _written(self.name):
            self._fs.pipe_file(self._at(name), content)

    def make_folder(self) -> None:
        """Make the folder of the address, where a store has folders.

        Raises:
            OutputError: if that cannot be done.
        """
        with _written(self.name), contextlib.suppress(FileExistsError):
            # A bucket that is not there is not made.
            self._fs.mkdir(self._base, create_parents=False)

    def remove(self, *names: str) -> None:
        """Remove files.

        Raises:
            OutputError: if one cannot be removed.
        """
        with _written(self.name):
            for name in names:
                self._fs.rm_file(self._at(name))

    def try_writing(self) -> None:
        """Write a file without bytes beside the address, or in it if it is a whole bucket; and remove it.

        Raises:
            OutputError: if that cannot be done.
        """
        folder, own = _above(self._base, 1), self._base.rpartition("/")[2]
        draft = f".{own}.{secrets.token_hex(4)}.draft"
        place = f"{folder if folder.strip('/') else self._base}/{draft}"
        with _written(self.name):
            self._fs.pipe_file(place, b"")
            self._fs.rm_file(place)

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base


def _above(path: str, levels: int) -> str:
    return "/".join(path.split("/")[: -levels or None])


def _state(info: Mapping[str, Any]) -> str:
    """Return what tells one version of a file from another, as far as a store says it."""
    told = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "mtime", "created")
    return " ".join(str(info[name]) for name in ("size", *told) if name in info)


def _counting(tell: Tell) -> Any:
    """Return what fsspec tells of a transfer of several files."""
    from fsspec.callbacks import Callback

    class Bytes(Callback):
        done = 0

        def relative_update(self, inc: int = 1) -> None:
            self.absolute_update(self.done + inc)

        def absolute_update(self, value: int) -> None:
            tell(value - self.done)
            self.done = value

    class Files(Callback):
        def branched(self, *_: object, **__: object) -> Bytes:
            return Bytes()

    return Files()


@contextlib.contextmanager
def _read(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        scheme = parts(name)[0]
        raise InputError(
            f"{name} cannot be read: what reads {scheme}:// is not installed ({error}).",
            f"Install it: pip install {_PACKAGES[scheme]}." if scheme in _PACKAGES else "Install what it names.",
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist.", "Check the address.") from error
    except ValueError as error:
        raise UsageError(f"{name} cannot be read: {error}.", "Known: https, s3, gs, abfs and others.") from error
    except Exception as error:  # each store has errors of its own
        if isinstance(error, OSError) and error.errno in _OUR_DISK:
            raise
        raise InputError(
            f"{name} cannot be read: {_said(error)}.", "Check the address, the network and your keys."
        ) from error


@contextlib.contextmanager
def _written(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OutputError(
            f"{name} cannot be written: {_said(error)}.", "Check the address, the network and your keys."
        ) from error


def _said(error: Exception) -> str:
    return (first_line(error) or type(error).__name__).rstrip(".")
