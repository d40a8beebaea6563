"""The recommenders alone, no denoising: leave-one-out over the full catalogue, several seeds.

    python benchmarks/backbones.py LOG... [--backbones gru4rec sasrec caser] [--seeds 3]

Prints one table per log: mean and 95% interval over seeds. Published anchors for Amazon Beauty 5-core are in ANCHORS.
"""

import argparse
import tempfile
from pathlib import Path

from measure import iadsr, interval

METRICS = ("HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20")

# Full catalogue, Amazon Beauty 5-core, published by others (ConsRec's table).
ANCHORS = {"gru4rec": "HR@10 0.053, NDCG@10 0.027", "sasrec": "HR@10 0.083, NDCG@10 0.037"}


def main() -> None:
    """Train and rank with every backbone and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+", help="real logs, such as Amazon Beauty 5-core")
    parser.add_argument("--backbones", nargs="+", default=["gru4rec", "sasrec", "caser"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for log in arguments.logs:
        print(f"{log.name}, full catalogue, {arguments.seeds} seeds: mean ± half of the 95% interval", flush=True)
        for backbone in arguments.backbones:
            seconds, tests = [], []
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as temporary:
                    model = Path(temporary) / "model"
                    _, _, trained = iadsr(
                        "pretrain", log, "-o", model, "--backbone", backbone, "--seed", seed, "--json"
                    )
                    seconds.append(trained["seconds"]["pretrain"])
                    tests.append(iadsr("evaluate", log, "--model", model, "--json")[2]["test"])
            figures = ", ".join(f"{metric} {interval([test[metric] for test in tests])}" for metric in METRICS)
            print(f"  {backbone}: {figures}; {sum(seconds) / len(seconds):.0f} s of training", flush=True)
            if backbone in ANCHORS and "beauty" in log.name:
                print(f"    published: {ANCHORS[backbone]}", flush=True)


if __name__ == "__main__":
    main()
