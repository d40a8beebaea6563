"""Which files a log is: one, or those of a folder or of a pattern such as 'logs/2024-*.csv'."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from heapq import heappop, heappush
from pathlib import Path, PurePath
from stat import S_ISFIFO, S_ISSOCK
from urllib.parse import unquote

from iadsr_cli.drafts import followed
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.formats import extension, format_of_file, named_format
from iadsr_cli.logs.source import readable

_TABLES = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
"""What stands in names that are no text: a NUL, or a byte that is not UTF-8, as Python has it."""


def is_several(source: str) -> bool:
    """Return whether `source` names a folder or a pattern; a file whose own name looks like a pattern is a file.

    Standard input ("-") is neither, whatever lies there under that name.
    """
    if source == "-":
        return False
    try:
        path = Path(source)
        return path.is_dir() or (glob.has_magic(source) and not path.exists())
    except OSError:  # no file can have the name: opening it says so
        return False


def log_files(source: str, format: str = "auto") -> list[Path]:
    """Return the files of the log `source`, in the order of their paths, folder by folder.

    Files and folders whose names begin with "." or "_" are no part of a log (see `passed_over`). A source that is
    neither a folder nor a pattern is one file, there or not. `format` is a kind, or "auto" to go by the extensions.

    Raises:
        InputError: there are no files, or files of several formats, or a pipe is among them; a folder cannot be listed,
            or is a table whose files are not all part of it.
    """
    if not is_several(source):
        return [Path(source)]
    base = base_folder(source)
    for name, table in _TABLES.items():
        if (base / name).is_dir():
            raise InputError(
                f"{base} is a {table} table, in which files of older versions lie beside the current ones.",
                "Export the current version to Parquet and give that folder.",
            )
    everything = _walked(source)
    files = [path for path in everything if not hidden(path.relative_to(base))]
    if not files:
        raise _none(source, base, len(everything))
    for path in files:
        with readable(str(path)):
            mode = path.stat().st_mode
        # Whoever opens one waits for somebody to write to it.
        if S_ISFIFO(mode) or S_ISSOCK(mode):
            raise InputError(f"{path} is a pipe or a socket, and no file.", "Move it out of the folder.")
    kinds = {known.kind if (known := named_format(path.name, format)) else None for path in files}
    if kinds == {None}:
        for path in files:
            with suppress(UsageError):
                format_of_file(path)
        raise InputError(
            f"{source} holds no file of a known format: {_counts(files)}.",
            "Say what they are with --format csv, tsv, parquet or jsonl.",
        )
    if len(kinds) > 1:
        raise InputError(
            f"{source} holds files of several formats: {_counts(files)}.",
            f"Choose those of one with a quoted pattern, such as '{base / '**' / ('*' + _commonest(files))}'.",
        )
    return files


def passed_over(source: str) -> list[Path]:
    """Return the files below `source` that are no part of the log: hidden ones, and names that begin with "_"."""
    if not is_several(source):
        return []
    base = base_folder(source)
    return [path for path in _walked(source) if hidden(path.relative_to(base))]


def base_folder(source: str) -> Path:
    """Return the folder from which the names of a log's files count: what stands before the first wildcard."""
    path = Path(source)
    if path.is_dir():
        return path
    fixed = []
    for part in path.parent.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def would_hold(source: str, path: Path, names: Iterable[str] = ()) -> bool:
    """Return whether a file or folder made at `path` would be read as part of the log `source` the next time.

    `names` are those of the files that the folder gets, where these are known.
    """
    if not is_several(source):
        return False
    return any(_would_read(source, place, [place / name for name in names]) for place in _places(source, path))


def _places(source: str, path: Path) -> set[Path]:
    """Return the places below the log's folder that a path has, which may be there by links to folders of the log."""
    base, place = base_folder(source), followed(path)
    parents = {file.parent for file in _walked(source)}
    folders = {base, *(each for parent in parents for each in (parent, *parent.parents) if base in each.parents)}
    roots = {folder.relative_to(base): followed(folder) for folder in folders}
    return {
        followed(base) / folder / place.relative_to(root)
        for folder, root in roots.items()
        if root in (place, *place.parents)
    }


def _would_read(source: str, place: Path, inside: Sequence[Path]) -> bool:
    """Return whether the log has what is at a place; `inside` is what a folder there has, if known."""
    base = followed(base_folder(source))
    if base not in place.parents or hidden(place.relative_to(base)):
        return False
    if Path(source).is_dir():
        return True
    pattern = Path(source).relative_to(base_folder(source))
    if "**" in source:
        return not inside or any(file.match(pattern.name) for file in inside)
    # Of a folder that matches all files are read.
    return any(each.match(str(base / pattern)) for each in (place, *place.parents, *inside))


def lies_in(source: str, folder: Path) -> bool:
    """Return whether the file, folder or pattern `source`, or any file of it, is `folder` or lies in it."""
    place = followed(folder)
    files = [Path(source), *(_walked(source) if is_several(source) else [])]
    return any(place in (path, *path.parents) for path in map(followed, files))


def partition_values(path: Path, base: Path) -> dict[str, str | None]:
    """Return what the folders between `base` and a file say of its rows, as Hive writes it: "day=2024-01-01".

    Raises:
        InputError: a name stands for what is no text.
    """
    pairs = (part.partition("=") for part in path.relative_to(base).parent.parts)
    return {
        _unescaped(name, path): None if value == _NULL_PARTITION else _unescaped(value, path)
        for name, sign, value in pairs
        if sign and name
    }


def _unescaped(text: str, path: Path) -> str:
    said = unquote(text, errors="surrogateescape")  # as Python has names of files
    if NO_TEXT.search(said):
        raise InputError(
            f'{path} lies in a folder for "{text}", which is a NUL character or bytes that are not UTF-8 text.',
            "Rename the folder: what its name says is a column of the log.",
        )
    return said


def _walked(source: str) -> list[Path]:
    """Return all files, hidden ones, too; links to folders are followed.

    What several paths lead to counts once, by the best of them: one that is not hidden, has the fewest links and is the
    shortest, and of these the first.
    """
    base, real = base_folder(source), cache(followed)
    # Path.glob would refuse "a**.csv".
    tops = [source] if Path(source).is_dir() else glob.glob(source, recursive=True, include_hidden=True)  # noqa: PTH207
    queue: list[tuple[bool, int, int, Path]] = []

    def add(path: Path, links: int) -> None:
        heappush(queue, (hidden(path.relative_to(base)), links, len(path.parts), path))

    for top in map(Path, tops):
        add(top, sum(each.is_symlink() for each in (top, *top.parents) if base in each.parents))
    found: dict[Path, Path | None] = {}  # None for folders
    walked: set[Path] = set()
    while queue:
        _, links, _, path = heappop(queue)
        folder = path.is_dir()
        found.setdefault(real(path.parent) / path.name, None if folder else path)
        if folder and real(path) not in walked:
            walked.add(real(path))
            for name, inner, link in _entries(path):
                if inner:
                    add(path / name, links + link)
                else:
                    found.setdefault(real(path) / name, path / name)
    return sorted(path for path in found.values() if path)


def _entries(folder: Path) -> list[tuple[str, bool, bool]]:
    """Return what a folder holds: names, and whether each is a folder and whether it is a link."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries]
    except OSError as error:
        raise InputError(
            f"The folder {error.filename} cannot be listed: {error.strerror}.", "Check its permissions."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as of a link to itself: reading it says so
        return False


def hidden(name: PurePath) -> bool:
    """Return whether a file is no part of a log, by its name below the log's folder."""
    return any(part.startswith((".", "_")) for part in name.parts)


def _none(source: str, base: Path, hidden: int) -> InputError:
    others = f"{hidden} that begin with . or _ are passed over" if hidden else ""
    if Path(source).is_dir():
        return InputError(
            f"{source} holds no files{f': {others}' if others else ''}.", "Give a folder with the files of a log."
        )
    there = _counts(_walked(str(base))) if base.is_dir() else ""
    holds = f"{base} holds {there}" if there else f"{base} is empty or not there"
    return InputError(
        f"No file matches {source}{f': {others}' if others else ''}.",
        f"{holds}; ** stands for folders of any depth.",
    )


def _counts(files: Iterable[Path]) -> str:
    counts = Counter(extension(path.name) or "without an extension" for path in files)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _commonest(files: Iterable[Path]) -> str:
    known = [path for path in files if named_format(path.name, "auto")]
    return Counter(extension(path.name) for path in known).most_common(1)[0][0]
