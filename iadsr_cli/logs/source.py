"""A file as it was read, and whether it is still the same when what was made of it is written."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from stat import S_ISREG

from iadsr_cli.errors import InputError


@dataclass(frozen=True)
class Source:
    """An ordinary file as it was read.

    Attributes:
        path: the file, as it was named.
        size: its bytes.
        changed: when it was last changed, in ns.
        sha256: of its bytes.
    """

    path: str
    size: int
    changed: int
    sha256: str

    def check_unchanged(self) -> None:
        """Check that the file holds what was read from it.

        Raises:
            InputError: if it does not, or is not there any more.
        """
        try:
            now = Path(self.path).stat()
            if now.st_size == self.size and (now.st_mtime_ns == self.changed or self._same_bytes()):
                return
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be found any more ({error.strerror}), so nothing was written.",
                "Put it back and run again: what was finished is not made twice.",
            ) from error
        raise InputError(
            f"{self.path} was changed while iadsr worked on what it had read from it, so nothing was written.",
            "Run again when nobody writes to it.",
        )

    def _same_bytes(self) -> bool:
        with Path(self.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def read_source(source: str) -> tuple[bytes, Source | None]:
    """Return the bytes of a file or of standard input ("-"), and what the file was; None if it is no ordinary one.

    Raises:
        InputError: if it cannot be read, or is changed in the meantime.
    """
    if source == "-":
        return sys.stdin.buffer.read(), None
    with readable(source), Path(source).open("rb") as file:
        before = os.fstat(file.fileno())
        content = file.read()
        after = os.fstat(file.fileno())
    if not S_ISREG(before.st_mode):
        return content, None
    if (before.st_size, before.st_mtime_ns) != (len(content), after.st_mtime_ns):
        raise InputError(f"{source} was changed while it was read.", "Run again when nobody writes to it.")
    return content, Source(source, len(content), after.st_mtime_ns, hashlib.sha256(content).hexdigest())


def source_of(path: Path) -> Source:
    """Return what an ordinary file is now, without taking it into memory.

    Raises:
        InputError: if it cannot be read.
    """
    with readable(str(path)), path.open("rb") as file:
        state = os.fstat(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(str(path), state.st_size, state.st_mtime_ns, sha256)


@contextlib.contextmanager
def readable(source: str) -> Iterator[None]:
    """Say what went wrong in reading a file of this machine.

    Raises:
        InputError: if something did.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise missing(source) from error
    except IsADirectoryError as error:
        raise InputError(f"{source} is a folder.", "Give one file.") from error
    except OSError as error:
        raise InputError(
            f"{source} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error


def missing(source: str) -> InputError:
    """Return the error of a file that is not there."""
    path = Path(source)
    if path.is_symlink():
        return InputError(f"{source} is a link that leads nowhere.", "Mend the link, or remove it.")
    return InputError(f"{source} does not exist.", _near(path))


def _near(path: Path) -> str:
    try:
        siblings = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return f"There is no folder {path.parent}."
    near = get_close_matches(path.name, siblings, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else "Check the path."
