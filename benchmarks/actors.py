"""Cleaning by actors of Ray against cleaning in parts in one process: whether both write the same file, and the times.

    python benchmarks/actors.py [LOG ...] [--rows 5000000] [--users 50000] [--items 20000] [--actors 2]

Each log is a Parquet file, cleaned by the default method with TF-IDF; the generated one, of `--rows` rows (0: none), is
cleaned with the model of benchmarks/parts.py. Threads are those that each engine takes by itself.
"""

import argparse
import filecmp
import tempfile
from pathlib import Path

from measure import iadsr
from parts import generate, make_model


def compare(log: Path, options: list[object], actors: int, folder: Path) -> None:
    """Clean a log by both engines; print what they wrote and how long it took."""
    seconds = {}
    for engine, arguments in (("local", ["--in-parts", "always"]), ("ray", ["--engine", "ray", "--actors", actors])):
        output = ["-o", folder / f"{engine}.parquet", "--force", "--cache-dir", folder / f"{engine}-cache"]
        seconds[engine], _, summary = iadsr("denoise", log, "--json", "--budget", "5%", *options, *output, *arguments)
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
        print(f"{log.name} {engine}: {seconds[engine]:.1f} s ({stages}), {summary['kept']:,} rows kept", flush=True)
    same = filecmp.cmp(folder / "local.parquet", folder / "ray.parquet", shallow=False)
    print(f"  {'the same file' if same else 'ANOTHER FILE'}; {seconds['ray'] / seconds['local']:.2f} times", flush=True)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="*")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--folder", help="where the logs go while it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        for log in arguments.logs:
            compare(log, ["--encoder", "tfidf"], arguments.actors, folder)
        if arguments.rows:
            make_model(folder / "model", arguments.items)
            generate(folder / "generated.parquet", arguments.rows, arguments.users, arguments.items)
            compare(folder / "generated.parquet", ["--model", folder / "model"], arguments.actors, folder)


if __name__ == "__main__":
    main()
