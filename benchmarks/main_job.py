"""The main job, measured: start-up, cold and warm `denoise`, detection on the example, the recommender's ranking.

    python benchmarks/main_job.py LOG.parquet [--seeds 3] [--skip cold ranking]

Prints one line per figure. Times are of this machine and its load; run it on an idle one.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

EXAMPLES = Path(__file__).parents[1] / "examples"


def iadsr(*arguments: object) -> tuple[float, float, dict]:
    """Run the command; return its seconds, its peak memory in GB, and its JSON summary."""
    command = [sys.executable, "-m", "iadsr_cli", *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_maxrss / 1e6, json.loads(output) if output.startswith(b"{") else {}


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


def detection(seeds: int, folder: Path) -> None:
    """Print the AUROC of the noise score on the example's planted noise."""
    with (EXAMPLES / "shop-labels.csv").open() as file:
        noise = np.array([int(row["is_noise"]) for row in csv.DictReader(file)])
    for name, extra in (("with text", []), ("collaboration alone", ["--text-column", "none"])):
        values = []
        for seed in range(seeds):
            output = folder / f"{seed}.csv"
            arguments = ["-o", output, "--annotate", "--force", "--seed", seed, "--cache-dir", folder / "cache"]
            iadsr("denoise", EXAMPLES / "shop.csv", *arguments, "--quiet", *extra)
            with output.open() as file:
                score = np.array([float(row["noise_score"] or "nan") for row in csv.DictReader(file)])
            known = ~np.isnan(score)
            values.append(roc_auc_score(noise[known], score[known]))
        print(f"example, AUROC of the noise score, {name}: {interval(values)}")


def ranking(log: Path, seeds: int, folder: Path) -> None:
    """Print leave-one-out metrics of the recommender, no denoising."""
    found = [
        iadsr("evaluate", log, "--json", "--seed", seed, "--cache-dir", folder / "cache")[2]["test"]
        for seed in range(seeds)
    ]
    for metric in ("HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20"):
        print(f"{log.name}, gru4rec, full catalogue, {metric}: {interval([test[metric] for test in found])}")


def interval(values: list[float]) -> str:
    """Return the mean, and the half-width of its 95% interval over seeds by Student's t."""
    quantile = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(values), 1.96)
    if len(values) == 1:
        return f"{values[0]:.4f} (1 seed)"
    half = quantile * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.4f} ± {half:.4f} ({len(values)} seeds)"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="a real log, such as Amazon Beauty 5-core")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], choices=["start", "cold", "detection", "ranking"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "start" not in arguments.skip:
            start_up()
        if "cold" not in arguments.skip:
            cold_and_warm(arguments.log, folder)
        if "detection" not in arguments.skip:
            detection(arguments.seeds, folder)
        if "ranking" not in arguments.skip:
            ranking(arguments.log, arguments.seeds, folder)


if __name__ == "__main__":
    main()
