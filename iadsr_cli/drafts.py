"""Drafts: what is being written has a hidden name beside its place, and moves there when it is whole.

A process holds a lock of the operating system on its draft. The lock ends with the process, however it ends: a draft
without one was left by a process that was killed, and the next that writes to the same place removes it. Where there
are no such locks (Windows, some network file systems) left-overs stay.
"""

import atexit
import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Nobody's own backup has such a name, not even one that ends with a date.
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<token>iadsr-[0-9a-f]{16})\.(?:draft|old)", re.DOTALL)
# A signal can end a process anywhere, also in the line that would have removed a draft.
_UNFINISHED: set[Path] = set()
_LONGEST = 200  # bytes of a place's name in that of its draft; most file systems take 255 in all


@contextmanager
def draft_file(place: Path, *, force: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `place` when the block ends well, and is gone when it does not.

    A file that is there keeps its permissions.

    Raises:
        FileExistsError: without `force`, if something is at `place` by then, which stays.
    """
    with _draft(place, lambda draft: draft.touch(exist_ok=False)) as draft:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not force:
            _move_where_nothing_is(draft, place)
            return
        if place.exists():
            shutil.copymode(place, draft)
        draft.replace(place)


@contextmanager
def draft_name(place: Path) -> Iterator[Path]:
    """Yield a name for a library to write a file under, in a folder of its own, where it may have drafts itself.

    The file becomes `place` when the block ends well.
    """
    with _draft(place, Path.mkdir) as folder:
        yield folder / place.name
        (folder / place.name).replace(place)


@contextmanager
def draft_folder(place: Path, check: Callable[[Path], None] = lambda there: None) -> Iterator[Path]:
    """Yield a folder that becomes `place` when the block ends well, and is gone when it does not.

    `check` raises an error if what is at `place` by then is not to be replaced.
    """
    with _draft(place, Path.mkdir) as draft:
        yield draft
        # A folder cannot be renamed over another. Whoever is killed between the two renames leaves draft and old one
        # behind, by which `sweep` knows that the old one has to come back.
        old = draft.with_suffix(".old")
        try:
            if place.exists():
                check(place)
                place.rename(old)
                check(old)  # nobody finds it there, so nothing more can appear in it
            draft.rename(place)
        finally:
            _put_back_or_remove(old, place, back=draft.exists())


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """Yield a folder beside `place` that is gone when the block ends."""
    with _draft(place, Path.mkdir) as draft:
        yield draft


def followed(path: str | Path) -> Path:
    """Return the place that a path leads to through links, there or not.

    One whose links lead in a circle stays as it is: `Path.resolve` would fail, but not in all versions of Python.
    """
    return Path(os.path.realpath(path))


def is_there(place: Path) -> bool:
    """Return whether there is something at a place.

    Raises:
        OSError: that cannot be told, as where links lead in a circle.
    """
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def try_writing(place: Path) -> None:
    """Raise the OSError that writing `place` would; permission bits do not bind root, a mount may be read-only."""
    with _draft(place, lambda draft: draft.touch(exist_ok=False)):
        pass


def sweep(place: Path) -> None:
    """Remove what killed processes left beside `place`; a folder that one had moved away comes back."""
    for name, token in _found(place.parent):
        if name == cut(place.name):
            _sweep(place, token)


def sweep_all(folder: Path) -> None:
    """Do so for all places in `folder`."""
    for name, token in _found(folder):
        _sweep(folder / name, token)


def cut(name: str) -> str:
    """Return a name, or its beginning and what tells it from others that begin alike; this is cut no further."""
    content = os.fsencode(name)
    if len(content) <= _LONGEST:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    return content[: _LONGEST - 17].decode(errors="ignore") + f"~{digest}"


@contextmanager
def _draft(place: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    sweep(place)
    while True:
        draft, lock = _hidden(place, f"iadsr-{secrets.token_hex(8)}", "draft"), None
        _UNFINISHED.add(draft)
        try:
            make(draft)
            lock = _lock(draft, wait=True)
            if draft.exists():  # else another process swept it away before it was locked
                yield draft
                return
        finally:
            _remove(draft)
            _UNFINISHED.discard(draft)
            if lock is not None:
                os.close(lock)


@atexit.register
def _remove_unfinished() -> None:
    for draft in _UNFINISHED:
        _remove(draft)


def _hidden(place: Path, token: str, what: str) -> Path:
    return place.with_name(f".{cut(place.name)}.{token}.{what}")


def _found(folder: Path) -> set[tuple[str, str]]:
    """Return name and token of all drafts and old folders, whoever's they are."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return set()
    return {(match["name"], match["token"]) for match in map(_HIDDEN.fullmatch, names) if match}


def _sweep(place: Path, token: str) -> None:
    draft, old = _hidden(place, token, "draft"), _hidden(place, token, "old")
    there = draft.exists()
    lock = _lock(draft, wait=False)
    if there and lock is None:
        return  # its process lives
    try:
        with suppress(OSError):
            _put_back_or_remove(old, place, back=there)
            _remove(draft)
    finally:
        if lock is not None:
            os.close(lock)


def _move_where_nothing_is(draft: Path, place: Path) -> None:
    try:
        os.link(draft, place)  # the draft's own name goes with the draft
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):
        # There are no links, and where they lack no other step tells: between these two a file may still appear.
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from None
        draft.rename(place)


def _put_back_or_remove(old: Path, place: Path, *, back: bool) -> None:
    if back and old.exists() and not place.exists():
        old.rename(place)
    _remove(old)


def _lock(path: Path, *, wait: bool) -> int | None:
    """Return a descriptor that holds the lock on a file or folder, or None where it cannot be had."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            return None
        raise
    return descriptor


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
