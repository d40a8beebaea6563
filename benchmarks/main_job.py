"""The main job, measured: start-up, cold and warm `denoise`, scoring with a ready model, detection on the example.

    python benchmarks/main_job.py LOG.parquet [--seeds 3] [--skip published]

Prints one line per figure. Times are of this machine and its load; run it on an idle one.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from measure import iadsr, interval
from sklearn.metrics import roc_auc_score

EXAMPLES = Path(__file__).parents[1] / "examples"


def start_up() -> None:
    """Print the time of --help, the best of five."""
    print(f"iadsr --help: {min(iadsr('--help')[0] for _ in range(5)):.2f} s (best of 5)")


def cold_and_warm(log: Path, folder: Path) -> None:
    """Print time and memory of the first and of the second run on a log."""
    for name in ("cold", "warm"):
        seconds, memory, summary = iadsr(
            "denoise", log, "-o", folder / f"{name}.parquet", "--cache-dir", folder / "cache", "--json"
        )
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
        print(f"denoise {log.name}, {summary['rows']:,} rows, {name}: {seconds:.1f} s, peak {memory:.2f} GB ({stages})")
    same = (folder / "cold.parquet").read_bytes() == (folder / "warm.parquet").read_bytes()
    print(f"cold and warm output bytes are the same: {same}; removed {summary['removed']:,} rows")


def published(log: Path, folder: Path) -> None:
    """Print time and memory of the published method, and how many rows it scores with a ready model."""
    cache = folder / "published"
    options = ["--method", "iadsr", "--cache-dir", cache, "--json"]
    seconds, memory, summary = iadsr("denoise", log, "-o", folder / "published.parquet", *options)
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
    print(
        f"--method iadsr, cold: {seconds:.1f} s, peak {memory:.2f} GB ({stages}); removed {summary['removed']:,} rows"
    )
    (model,) = (path.parent for path in (cache / "align").glob("*/manifest.json"))
    again = ["-o", folder / "again.parquet", "--model", model, "--force", "--json"]
    runs = [iadsr("denoise", log, *again, "--cache-dir", folder / f"again{run}") for run in range(5)]
    seconds, _, summary = min(runs, key=lambda run: run[0])
    print(
        f"denoise --model, best of 5: {summary['rows'] / summary['seconds']['score']:,.0f} rows/s scored, "
        f"{summary['rows'] / seconds:,.0f} rows/s for the whole command ({seconds:.1f} s)"
    )


def detection(seeds: int, folder: Path) -> None:
    """Print the AUROC of the noise score on the example's planted noise."""
    with (EXAMPLES / "shop-labels.csv").open() as file:
        noise = np.array([int(row["is_noise"]) for row in csv.DictReader(file)])
    for name, extra in (
        ("with text", []),
        ("collaboration alone", ["--text-column", "none"]),
        ("--method iadsr", ["--method", "iadsr"]),
    ):
        values = []
        for seed in range(seeds):
            output = folder / f"{seed}.csv"
            arguments = ["-o", output, "--annotate", "--force", "--seed", seed, "--cache-dir", folder / "cache"]
            iadsr("denoise", EXAMPLES / "shop.csv", *arguments, "--quiet", *extra)
            with output.open() as file:
                score = np.array([float(row["noise_score"] or "nan") for row in csv.DictReader(file)])
            known = ~np.isnan(score)
            values.append(roc_auc_score(noise[known], score[known]))
        print(f"example, AUROC of the noise score, {name}: {interval(values)} ({seeds} seeds)")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="a real log, such as Amazon Beauty 5-core")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], choices=["start", "cold", "published", "detection"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "start" not in arguments.skip:
            start_up()
        if "cold" not in arguments.skip:
            cold_and_warm(arguments.log, folder)
        if "published" not in arguments.skip:
            published(arguments.log, folder)
        if "detection" not in arguments.skip:
            detection(arguments.seeds, folder)


if __name__ == "__main__":
    main()
