"""A folder of log files as an output: filled beside its place, and renamed into it when whole."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from iadsr_cli import __version__
from iadsr_cli.artifacts import check_folder
from iadsr_cli.drafts import draft_folder
from iadsr_cli.errors import OutputError
from iadsr_cli.logs.files import base_folder, is_several, would_hold
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
    folder, base = Path(target).resolve(), base_folder(source).resolve()
    check_outside(target, source)
    if folder in base.parents or (folder == base and not Path(source).is_dir()):
        raise OutputError(
            f"{target} holds the log itself, and maybe more that would go if it were replaced.", "Name another folder."
        )
    check_folder(Path(target), force=force, foreign=_foreign)


def check_outside(target: str, source: str) -> None:
    """Check that an output is not made among the files of the log.

    Raises:
        OutputError: if it would be.
    """
    if would_hold(source, Path(target)):
        raise OutputError(
            f"{target} lies in the log itself: the next run would read it as part of {source}.",
            "Name another place for the output.",
        )


@contextlib.contextmanager
def replacing_log(target: str) -> Iterator[Path]:
    """Yield a folder that becomes `target` when the block ends well, and is gone when it does not."""
    with draft_folder(Path(target).resolve()) as draft:
        yield draft
        names = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
        text = json.dumps({"package_version": __version__, "files": names}, indent=2, ensure_ascii=False)
        (draft / MARKER).write_text(text + "\n", encoding="utf-8")


def _foreign(folder: Path) -> str | None:
    """Return why a folder is not one that iadsr wrote, or not that alone."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        written = {*content["files"], MARKER}
    except (OSError, ValueError, KeyError, TypeError):
        return f"holds no {MARKER}, so it is not a folder that iadsr wrote"
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    other = next((name for name in found if name not in written), None)
    return other and f"holds {other}, which iadsr did not write"
