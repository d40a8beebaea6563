"""Copies on this machine of what is at addresses, under names that messages give back as addresses.

s3://bucket/logs/a.csv has its copy at <folder>/s3/bucket/logs/a.csv, and an output for s3://bucket/clean/ is first
written to <folder>/s3/bucket/clean: so what holds for files and folders of this machine holds for addresses, and one
place knows of both. The folder is in the cache and goes when the run ends; what a killed run leaves, the next removes.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath

from iadsr_cli.addresses import is_remote, parts, path_of
from iadsr_cli.config import RunSettings
from iadsr_cli.drafts import followed, scratch_folder
from iadsr_cli.errors import IadsrError, InputError, OutputError, UsageError, reason
from iadsr_cli.progress import Reporter
from iadsr_cli.remote.stores import Objects, Store, store_of

# Stands for the host of hdfs:///logs.
_NO_HOST = "~"


class Staging:
    """The copies of one run; made by `staged`."""

    def __init__(self, folder: Callable[[], Path], reporter: Reporter) -> None:
        """Take what makes the folder, when the first address turns up."""
        self._make, self._reporter = folder, reporter
        self._folder: Path | None = None
        self._fetched: list[tuple[Store, dict[str, tuple[int | None, str]]]] = []
        # With what may go: of a folder what a killed run had left there, of a file itself if it is to be replaced.
        self._claimed: dict[Path, tuple[Objects, set[str]]] = {}

    def shown(self, text: str) -> str:
        """Return a text with addresses in place of the names of their copies."""
        if self._folder is None:
            return text
        copies = re.escape(f"{self._folder}/") + rf"([a-zA-Z][a-zA-Z0-9+.-]*)/(?:{_NO_HOST}(?=/))?"
        return re.sub(copies, r"\1://", text)

    def fetched(self, source: str) -> str:
        """Return a log or an items' file, or its copy if it is at an address: of a file, a folder or a pattern.

        Files whose names begin with "." or "_" are no part of a log: their copies are empty.

        Raises:
            InputError: it cannot be read, or is changed in the meantime.
            UsageError: nothing reads such addresses.
        """
        if not is_remote(source):
            return path_of(source)
        from iadsr_cli.logs.files import hidden

        store = store_of(source)
        found = store.files()
        if not found:
            raise InputError(f"{store.name} does not exist.", "Check the address.")
        base = self._local(store.base)
        places = {name: _below(base, name, store) for name in found}
        for place in places.values():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        wanted = {name: place for name, place in places.items() if not hidden(PurePosixPath(name))}
        sizes = [found[name][0] for name in wanted]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        with self._reporter.stage("fetch", total, "bytes") as stage:
            store.fetch(wanted, stage.advance)
        for name, place in wanted.items():
            size = found[name][0]
            if size is not None and place.stat().st_size != size:
                raise InputError(f"{store.name} was changed while it was read.", "Run again when nobody writes to it.")
        self._fetched.append((store, {name: found[name] for name in wanted}))
        return str(self._local(store.name))

    def claimed(self, target: str | None, force: bool) -> str | None:
        """Return an output, or where to write it first if it is at an address, which is looked at and tried out.

        Raises:
            OutputError: a file is there and is not to be replaced, a folder is that holds more than what a killed run
                had sent, or the address cannot be written.
            UsageError: nothing writes to such addresses.
        """
        if target is None or not is_remote(target):
            return target and path_of(target)
        store = store_of(target)
        if not isinstance(store, Objects):
            raise UsageError(f"{store.name} cannot be written to: a web server only gives.", "Name a file, or s3://...")
        place = self._local(store.name)
        if place in self._claimed:
            raise UsageError(f"Two outputs would go to {store.name}.", "Name another file for one of them.")
        found = _found(store)
        if "" in found and not force:
            raise _exists(store)
        left = _left(store, found)
        if left and (others := sorted(found.keys() - left)):
            raise OutputError(
                f"{store.name} was not sent whole, and holds {others[0]}, which iadsr did not send.",
                "Name another address, or move that file away first.",
            )
        if found and "" not in found and not left:
            raise OutputError(
                f"{store.name} holds {len(found)} files, and a folder at an address cannot be replaced in one step.",
                "Name another address, or remove what is there first.",
            )
        store.try_writing()
        place.parent.mkdir(parents=True, exist_ok=True)
        self._claimed[place] = store, {*left, ""} if force else left
        return f"{place}/" if target.endswith("/") else str(place)

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Warn of what has been changed since it was copied; send the outputs that are written in the block.

        A file appears whole or not at all, a folder's marker last.

        Raises:
            OutputError: one cannot be sent, or somebody else's file has appeared in its place; a folder's files that
                were sent are removed again.
        """
        self._warn_of_changes()
        yield
        self._deliver()

    def _warn_of_changes(self) -> None:
        for store, files in self._fetched:
            now: dict[str, tuple[int | None, str]] = {}
            with suppress(InputError):
                now = store.files()
            if any(now.get(name) != state for name, state in files.items()):
                self._reporter.warn(f"{store.name} was changed since it was copied: the copy is what was cleaned.")

    def _deliver(self) -> None:
        outputs = []
        for place, (store, left) in self._claimed.items():
            if not place.exists():
                continue
            names = {"": place}
            if place.is_dir():
                names = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
            others = sorted((_found(store).keys() & names.keys()) - left)
            if others and place.is_dir():
                raise OutputError(
                    f"{store.name} holds {others[0]} by now, and no folder at an address can be replaced in one step.",
                    "Name another address, or remove what is there first.",
                )
            if others:
                raise _exists(store)
            outputs.append((place, store, left, names))
        for place, store, left, names in outputs:
            size = sum(path.stat().st_size for path in names.values())
            with self._reporter.stage("send", size, "bytes") as stage:
                if place.is_dir():
                    _send_folder(store, names, left - {""}, stage.advance)
                else:
                    store.send(names, stage.advance)

    def _local(self, address: str) -> Path:
        if self._folder is None:
            self._folder = self._make()
        scheme, host, path = parts(address)
        return _below(self._folder, f"{scheme}/{host or _NO_HOST}/{path.strip('/')}".rstrip("/"), None)


@contextmanager
def staged(settings: RunSettings, reporter: Reporter) -> Iterator[Staging]:
    """Yield what copies files of addresses to a folder in the cache; errors name the addresses.

    Raises:
        OutputError: if the folder cannot be made.
    """
    with ExitStack() as stack:

        def make() -> Path:
            cache = settings.cache
            place = followed(cache) / "remote" / "copies"
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                return stack.enter_context(scratch_folder(place))
            except OSError as error:
                raise OutputError(
                    f"The cache folder {cache} cannot be written: {reason(error)}.",
                    "What is at an address is copied there: name another one with --cache-dir.",
                ) from error

        staging = Staging(make, reporter)
        try:
            yield staging
        except IadsrError as error:
            raise type(error)(staging.shown(error.message), staging.shown(error.hint)) from error


def _below(folder: Path, name: str, store: Store | None) -> Path:
    levels = name.split("/") if name else []
    if any(level in {"", ".", ".."} or "\0" in level for level in levels):
        raise InputError(
            f"{store.name if store else name} holds {name!r}, which cannot be the name of a file here.",
            "Rename it, or choose other files with a quoted pattern.",
        )
    return folder.joinpath(*levels)


def _found(store: Objects) -> dict[str, tuple[int | None, str]]:
    try:
        return store.files()
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise


def _exists(store: Objects) -> OutputError:
    return OutputError(f"{store.name} exists.", "Name another file, or pass --force to replace it.")


def _left(store: Objects, found: dict[str, tuple[int | None, str]]) -> set[str]:
    """Return which files in a folder a run has left that was killed while it sent them: its marker lists them."""
    from iadsr_cli.logs.folders import MARKER

    if MARKER not in found:
        return set()
    try:
        told = json.loads(store.read(MARKER))
        return {MARKER, *told.get("files", [])} & found.keys() if told["unfinished"] is True else set()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _send_folder(store: Objects, places: dict[str, Path], left: set[str], tell: Callable[[int], None]) -> None:
    """Send the files of a folder in place of what a killed run had left; whatever else is there by now stays."""
    from iadsr_cli.logs.folders import MARKER

    store.make_folder()
    # Before any of them is there, so that of a run that is killed now another knows what it may remove.
    told = {"unfinished": True, "files": sorted({*places, *left} - {MARKER})}
    store.write(MARKER, json.dumps(told).encode())
    store.remove(*sorted(left - {MARKER}))
    try:
        store.send({name: place for name, place in places.items() if name != MARKER}, tell)
        store.send({MARKER: places[MARKER]}, tell)
    except BaseException:
        with suppress(OutputError, InputError):
            store.remove(*sorted(_found(store).keys() & places.keys(), key=lambda name: name == MARKER))
        raise
