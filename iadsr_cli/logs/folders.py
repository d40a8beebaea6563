"""A folder as an output: filled beside its place, and renamed into it when whole; never in place of what is read."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from iadsr_cli import __version__
from iadsr_cli.addresses import is_remote, path_of
from iadsr_cli.artifacts import FILES, check_folder, check_replaced, others_in
from iadsr_cli.drafts import draft_folder, followed
from iadsr_cli.errors import OutputError, UsageError
from iadsr_cli.logs.files import base_folder, is_several, lies_in, would_hold
from iadsr_cli.logs.formats import named_format, nameless

# What reads such folders passes over names that begin with "_".
MARKER = "_iadsr.json"


def is_folder_target(source: str, target: str, format_override: str = "auto") -> bool:
    """Return whether the rows of the log `source` go to `target` file by file.

    They do if the log is a folder or a pattern, and neither the target's extension nor `format_override` says that it
    is one file.
    """
    if target == "-" or format_override != "auto" or not is_several(source):
        return False
    if target.endswith("/") or Path(target).is_dir():
        return True
    return not nameless(target) and named_format(target) is None


def check_folder_target(target: str, source: str, force: bool) -> None:
    """Check, before any work, that the files of the log `source` can be written to the folder `target`.

    With `force` a folder is replaced if iadsr wrote all that is in it, and then only as a whole.

    Raises:
        OutputError: it exists and is not to be replaced, lies among the log's files or holds them, or its parent
            cannot be written.
    """
    folder, base = followed(target), followed(base_folder(source))
    check_outside(target, source)
    if folder in base.parents or (folder == base and not Path(source).is_dir()):
        raise OutputError(
            f"{target} holds the log itself, and maybe more that would go if it were replaced.", "Name another folder."
        )
    check_folder(Path(target), force=force, foreign=_foreign)


def check_outside(target: str, source: str, names: Iterable[str] = ()) -> None:
    """Check that an output is not made among the files of the log; `names` are those of a folder's files, if known.

    Raises:
        OutputError: if it would be.
    """
    if would_hold(source, Path(target), names):
        raise OutputError(
            f"{target} lies in the log itself: the next run would read it as part of {source}.",
            "Name another place for the output.",
        )


def check_cache(cache: Path, source: str) -> None:
    """Check that the cache is not among the files of the log, which may be at an address.

    Raises:
        OutputError: if it is.
    """
    entry = cache / "kind" / "entry"  # the cache itself may be the log's folder
    if not is_remote(source) and would_hold(path_of(source), entry, FILES):
        raise OutputError(
            f"The cache folder {cache} lies in the log itself: the next run would read it as part of {source}.",
            "Name another one with --cache-dir.",
        )


def check_spared(target: str, inputs: Mapping[str, str | Path | None]) -> None:
    """Check that nothing which the run reads goes when `target` is replaced; `inputs` has it by what it is.

    Raises:
        OutputError: if something would.
    """
    for what, source in inputs.items():
        # Neither standard input nor what is at an address can be lost.
        if source is None or str(source) == "-" or is_remote(str(source)):
            continue
        own = path_of(str(source))
        if lies_in(own, Path(target)):
            verb = "is" if followed(own) == followed(target) else "holds"
            raise OutputError(f"{target} {verb} {what}.", "Name another place; --force does not help.")


def check_made_folder(folder: Path, log: str, inputs: Mapping[str, str | Path | None], *, force: bool) -> None:
    """Check, before any work, that an artifact can be made at `folder` by a run that reads `log` and `inputs`.

    Args:
        folder: the artifact's place.
        log: as it was named, which may be an address.
        inputs: what else is read, by what it is: "the folder of --model".
        force: whether an artifact that is there is replaced, if it holds nothing that is read.

    Raises:
        UsageError: it would go to standard output.
        OutputError: it cannot be made there.
    """
    if str(folder) == "-":
        raise UsageError("A folder cannot go to standard output.", "Name a folder.")
    if not is_remote(log):
        check_outside(str(folder), path_of(log), FILES)
    check_spared(str(folder), {"the log itself": log, **inputs})
    check_folder(folder, force=force)


@contextlib.contextmanager
def replacing_log(target: str, *, force: bool) -> Iterator[Path]:
    """Yield a folder that becomes `target` when the block ends well, and is gone when it does not.

    Raises:
        OutputError: if what is there by then is not to be replaced, see `check_folder_target`.
    """

    def check(there: Path) -> None:
        check_replaced(Path(target), there, force=force, foreign=_foreign)

    with draft_folder(followed(target), check) as draft:
        yield draft
        names = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
        text = json.dumps({"package_version": __version__, "files": names}, indent=2, ensure_ascii=False)
        (draft / MARKER).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _foreign(folder: Path) -> str | None:
    """Return why a folder is not one that iadsr wrote, or not that alone."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        written = {*content["files"], MARKER}
    except (OSError, ValueError, KeyError, TypeError):
        return f"holds no {MARKER}, so it is not a folder that iadsr wrote"
    return others_in(folder, written)
