"""Artifacts: a folder on disk with a manifest, written beside its place and renamed into it when whole.

`manifest.json` is written last and holds the kind, the schema and package versions, the settings, and the SHA-256 of
every input and output. There is no time and no path in it: the same inputs and seed give the same bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from iadsr_cli import __version__
from iadsr_cli.drafts import cut, draft_folder, is_there, sweep, sweep_all, try_writing
from iadsr_cli.errors import ArtifactError, OutputError, reason
from iadsr_cli.locks import one_at_a_time
from iadsr_cli.progress import Reporter

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
FILES = (
    MANIFEST,
    "history.jsonl",
    "items.parquet",
    "metrics.json",
    "noise.parquet",
    "ranks.parquet",
    "report.html",
    "rows.parquet",
    "vectors.safetensors",
    "vocabulary.parquet",
    "weights.safetensors",
)
"""Names of the files of artifacts that are written where a user says."""
# What systems leave where somebody looked.
_LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")

_REBUILD = {
    "embed": "iadsr embed",
    "pretrain": "iadsr pretrain",
    "align": "iadsr align",
    "scores": "iadsr denoise",
    "buckets": "iadsr denoise",
    "judged": "iadsr denoise",
}
_MAKES = {
    "embed": "these item vectors",
    "pretrain": "this recommender",
    "align": "this aligned model",
    "scores": "these scores",
    "buckets": "these buckets",
}


@dataclass(frozen=True)
class Manifest:
    """What a folder says of itself; `seal` is the SHA-256 of the rest."""

    kind: str
    schema_version: int
    package_version: str
    config: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    facts: dict[str, Any]
    seal: str = ""

    def sealed(self) -> "Manifest":
        """Return the manifest with the seal that it should have."""
        return replace(self, seal=digest({**asdict(self), "seal": ""}))


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # JSON can escape half of a surrogate pair, which is no character.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_artifact(folder: Path) -> str | None:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return others_in(folder, {*content["outputs"], MANIFEST})
    except OSError:
        return f"holds no {MANIFEST}, so it is not a folder that iadsr wrote"
    except (ValueError, KeyError, TypeError, RecursionError):
        # To make a damaged one again is what is advised where it is read.
        return others_in(folder, FILES)


def others_in(folder: Path, written: Collection[str]) -> str | None:
    """Return that a folder holds something besides the files that were written to it, or None where it does not."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in written and path.name not in _LEFT_BY_SYSTEMS and (path.is_symlink() or not path.is_dir()):
            return f"holds {name}, which iadsr did not write"
    return None


def check_replaced(
    folder: Path, there: Path, *, force: bool, foreign: Callable[[Path], str | None] = _no_artifact
) -> None:
    """Check that what is at an output folder's place, or was until it was moved `there`, can be replaced.

    Raises:
        OutputError: as `check_folder` does.
    """
    if not there.is_dir():
        raise OutputError(f"{folder} is a file, and a folder is to be written.", "Name another folder.")
    if not any(there.iterdir()):
        return
    if not force:
        raise OutputError(f"The output folder {folder} exists.", "Name another folder, or pass --force to replace it.")
    why = foreign(there)
    if why is not None:
        raise OutputError(
            f"{folder} {why}, and --force does not replace it.", "Name another folder, or move that one away."
        )


def check_folder(folder: Path, *, force: bool, foreign: Callable[[Path], str | None] = _no_artifact) -> None:
    """Check, before any work, that an artifact can be written to `folder`.

    `foreign` says why a folder that is there is not ours to replace, or returns None.

    Raises:
        OutputError: if it exists without `force`, is not ours to replace, or its parent cannot be written.
    """
    sweep(folder.absolute())
    try:
        there = is_there(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}.", "Name another folder.") from None
    if there:
        check_replaced(folder, folder, force=force, foreign=foreign)
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise OutputError(
            f"{parent} is not a folder, so {folder.name} cannot be written there.", "Make it first: mkdir -p."
        )
    try:
        try_writing(folder.absolute())
    except OSError as error:
        raise OutputError(
            f"The folder {parent} cannot be written: {error.strerror}.", "Name a folder that can be."
        ) from None


def write_artifact(
    folder: Path,
    kind: str,
    fill: Callable[[Path], None],
    *,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    facts: Mapping[str, Any],
    force: bool | None = None,
) -> Manifest:
    """Write an artifact whole or not at all: `fill` writes its files into a folder beside `folder`.

    An earlier artifact at `folder` is replaced only once the new one is complete. `force` is that of `check_folder`,
    for what has appeared there since; None in the cache, where all is replaced.

    Raises:
        OutputError: if something cannot be written, such as for want of space, or something there is not to be
            replaced.
    """

    def check(there: Path) -> None:
        if force is not None:
            check_replaced(folder, there, force=force)

    try:
        with draft_folder(folder.absolute(), check) as draft:
            fill(draft)
            outputs = {path.name: file_digest(path) for path in sorted(draft.iterdir())}
            manifest = Manifest(kind, SCHEMA_VERSION, __version__, dict(config), dict(inputs), outputs, dict(facts))
            manifest = manifest.sealed()
            text = json.dumps(asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False)
            (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
            for name in outputs:  # safetensors makes files that nobody else can read
                shutil.copymode(draft / MANIFEST, draft / name)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{folder} could not be written: {reason(error)}.",
            "What was there before is unchanged. Make room or name another place.",
        ) from error
    return manifest


def read_manifest(folder: Path, kind: str) -> Manifest:
    """Return the manifest of an artifact of `kind`, after checking that its files are there and unchanged.

    Raises:
        ArtifactError: if the folder is missing, of another kind or schema version, incomplete, or changed.
    """
    rebuild = f"Make it with: {_REBUILD[kind]}."
    path = folder / MANIFEST
    if not folder.is_dir():
        sweep(folder.absolute())
    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {folder}.", rebuild)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**content)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} holds no {MANIFEST}, so it is not an artifact.", rebuild) from None
    except (OSError, ValueError, TypeError):
        found = content.get("schema_version") if isinstance(content := _loose(path), dict) else None
        if found is not None and found != SCHEMA_VERSION:
            raise _other_version(folder, found, kind) from None
        raise ArtifactError(f"{path} is damaged.", rebuild) from None
    parts = (manifest.config, manifest.inputs, manifest.outputs, manifest.facts)
    if not all(isinstance(part, dict) for part in parts):
        raise ArtifactError(f"{path} is damaged.", rebuild)
    if manifest.schema_version != SCHEMA_VERSION:
        raise _other_version(folder, manifest.schema_version, kind)
    if manifest.kind != kind:
        raise ArtifactError(
            f'{folder} is an artifact of kind "{manifest.kind}", and one of kind "{kind}" is needed.', rebuild
        )
    _check_files(folder, manifest.outputs, rebuild)
    if manifest != manifest.sealed():
        raise ArtifactError(f"{path} was changed after it was written.", rebuild)
    return manifest


def _check_files(folder: Path, outputs: Mapping[str, str], rebuild: str) -> None:
    for name, expected in outputs.items():
        file = folder / Path(name).name
        if not file.is_file():
            raise ArtifactError(f"{folder} lacks its file {name}.", rebuild)
        try:
            unchanged = file_digest(file) == expected
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}.", rebuild) from None
        if not unchanged:
            raise ArtifactError(f"{file} was changed after it was written.", rebuild)


def manifest_kind(folder: Path) -> str | None:
    """Return the kind that a folder says it has, unchecked; None where it says nothing."""
    content = _loose(folder / MANIFEST)
    return content.get("kind") if isinstance(content, dict) else None


def known_manifest(folder: Path) -> Manifest:
    """Return the manifest of what was made or checked just now: its files, which may be large, stay unread."""
    return Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def _loose(path: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _other_version(folder: Path, found: object, kind: str) -> ArtifactError:
    return ArtifactError(
        f"{folder} has schema version {found}, and this is iadsr {__version__}, which reads version {SCHEMA_VERSION}.",
        f"Make it again with: {_REBUILD[kind]} --force.",
    )


def checkpoint_of(folder: Path) -> Path:
    """Return where the training that makes `folder` keeps its state: a hidden file beside it."""
    return folder.absolute().with_name(f".{cut(folder.name)}.checkpoint")


@cache
def _code() -> str:
    """Return the SHA-256 (hex) of the package's code: a checkout has one version before and after a change."""
    content = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        content.update(file.read_bytes() + b"\0")
    return content.hexdigest()


def cache_name(key: Mapping[str, Any]) -> str:
    """Return the name of what this version makes from all that is in a key."""
    return digest({"key": dict(key), "schema": SCHEMA_VERSION, "package": __version__, "code": _code()})[:32]


def cached(cache: Path, kind: str, key: Mapping[str, Any], build: Callable[[Path], object], reporter: Reporter) -> Path:
    """Return the cache's folder for `key`, calling `build(folder)` only where it is missing or damaged.

    Of several processes one builds, and the others wait for it and use what it made. A cache that cannot be written
    serves what it has.

    Args:
        cache: the cache.
        kind: of artifact.
        key: everything that determines the content.
        build: writes the artifact into the folder.
        reporter: told of waiting, and of an entry that has to be made again.

    Raises:
        OutputError: if the entry has to be made and the cache cannot be written.
    """
    name = cache_name(key)
    folder = cache / kind / name
    if _damage(folder, kind) is None:
        # A process that was killed at the end of its training has left its last state.
        with suppress(OSError):
            checkpoint_of(folder).unlink(missing_ok=True)
        return folder
    with one_at_a_time(cache, f"{kind}-{name}", _MAKES[kind], reporter):
        damage = _damage(folder, kind)  # it may have been made while we waited
        if damage is None:
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try_writing(folder)
            if folder.exists():
                reporter.warn(f"A cache entry is made again: {damage}")
                shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(
                f"The cache folder {cache} cannot be written: {error.strerror}.", "Name another one with --cache-dir."
            ) from None
        sweep_all(folder.parent)
        build(folder)
    return folder


def _damage(folder: Path, kind: str) -> str | None:
    """Return what is wrong with an entry of the cache, None if it is whole."""
    try:
        read_manifest(folder, kind)
    except ArtifactError as error:
        return error.message
    return None
