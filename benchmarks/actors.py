"""Cleaning by actors of Ray against cleaning in parts in one process: whether both write the same bytes, and the times.

    python benchmarks/actors.py [LOG ...] [--rows 5000000] [--users 50000] [--items 20000] [--actors 2]
        [--store s3://bucket/folder]

Each log is Parquet, cleaned by the default method with TF-IDF; the generated one, a folder of files with `--rows` rows
in all (0: none), is cleaned with the model of benchmarks/parts.py. Threads are those that each engine takes by itself.
With a store, an address whose folder has to be empty, the generated log is also cleaned by actors from there to there.
"""

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from measure import iadsr
from parts import generate, make_model

from iadsr_cli.artifacts import file_digest


def contents(folder: Path, engine: str, several: bool) -> dict[str, str]:
    """Return the digests of what an engine wrote, by name."""
    if not several:
        return {"": file_digest(folder / f"{engine}.parquet")}
    files = sorted((folder / engine).rglob("*.parquet"))
    return {str(path.relative_to(folder / engine)): file_digest(path) for path in files}


def generate_folder(folder: Path, rows: int, users: int, items: int) -> None:
    """Write a generated log as a folder: a file for each of its row groups."""
    folder.mkdir()
    generate(folder.with_suffix(".parquet"), rows, users, items)
    with pq.ParquetFile(folder.with_suffix(".parquet")) as file:
        for number in range(file.num_row_groups):
            pq.write_table(file.read_row_group(number), folder / f"part-{number}.parquet")


def clean(name: object, log: object, *options: object) -> float:
    """Clean a log, print how long it took, and return that."""
    seconds, _, summary = iadsr("denoise", log, "--json", "--budget", "5%", *options)
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
    print(f"{name}: {seconds:.1f} s ({stages}), {summary['kept']:,} rows kept", flush=True)
    return seconds


def compare(log: Path, options: list[object], actors: int, folder: Path) -> None:
    """Clean a log by both engines; print what they wrote and how long it took."""
    seconds = {}
    for engine, arguments in (("local", ["--in-parts", "always"]), ("ray", ["--engine", "ray", "--actors", actors])):
        output = [
            "-o",
            f"{folder / engine}{'/' if log.is_dir() else '.parquet'}",
            "--force",
            "--cache-dir",
            folder / f"{engine}-cache",
        ]
        seconds[engine] = clean(f"{log.name} {engine}", log, *options, *output, *arguments)
    local, ray = (contents(folder, engine, log.is_dir()) for engine in seconds)
    same = "the same bytes" if local == ray else "OTHER BYTES"
    print(f"  {same} in {len(ray)} files; {seconds['ray'] / seconds['local']:.2f} times", flush=True)


def compare_store(store: str, log: Path, options: list[object], actors: int, folder: Path) -> None:
    """Clean a copy of a folder that is in a store; print whether the same comes to be there as came to be here."""
    files, path = url_to_fs(store)
    files.put(f"{log}/", f"{path}/log/", recursive=True)
    place = ["-o", f"{store}/clean/", "--cache-dir", folder / "store-cache", "--engine", "ray", "--actors", actors]
    clean(f"{store}/log", f"{store}/log/", *options, *place)
    files.get(f"{path}/clean/", f"{folder / 'store'}/", recursive=True)
    same = "the same bytes" if contents(folder, "store", True) == contents(folder, "local", True) else "OTHER BYTES"
    print(f"  {same} as here", flush=True)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="*")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--store", help="address of an empty folder in a store")
    parser.add_argument("--folder", help="where the logs go while it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        for log in arguments.logs:
            compare(log, ["--encoder", "tfidf"], arguments.actors, folder)
        if arguments.rows:
            make_model(folder / "model", arguments.items)
            generate_folder(folder / "generated", arguments.rows, arguments.users, arguments.items)
            options: list[object] = ["--model", folder / "model"]
            compare(folder / "generated", options, arguments.actors, folder)
            if arguments.store:
                compare_store(arguments.store.rstrip("/"), folder / "generated", options, arguments.actors, folder)


if __name__ == "__main__":
    main()
