"""What aligning does, backbone by backbone: to ranking, and to the detection of labelled noise.

    python benchmarks/alignment.py LOG.parquet [--label is_noise] [--backbones gru4rec sasrec caser] [--seeds 3]

Prints HR@10 and NDCG@10 before and after alignment and the AUROC of the noise score against the label column, which no
model sees: it is read from the annotated output, after the run.
"""

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from measure import iadsr, interval
from sklearn.metrics import roc_auc_score


def auroc(scored: Path, label: str) -> float:
    """Return the AUROC of the noise score in an annotated log, over its scored rows."""
    table = pq.read_table(scored, columns=["noise_score", label]).to_pandas().dropna()
    return float(roc_auc_score(table[label].astype(bool), table["noise_score"]))


def main() -> None:
    """Train, align, rank twice and score, with every backbone and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="a Parquet log with a label column")
    parser.add_argument("--label", default="is_noise")
    parser.add_argument("--backbones", nargs="+", default=["gru4rec", "sasrec", "caser"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{arguments.log.name}, {arguments.seeds} seeds: mean ± half of the 95% interval", flush=True)
    for backbone in arguments.backbones:
        found: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            iadsr("embed", arguments.log, "-o", folder / "vectors", "--cache-dir", folder / "cache", "--quiet")
            for seed in range(arguments.seeds):
                before, after, scored = (folder / f"{name}{seed}" for name in ("before", "after", "scored"))
                shared = ["--seed", seed, "--quiet"]
                iadsr("pretrain", arguments.log, "-o", before, "--backbone", backbone, *shared)
                paths = ["--pretrained", before, "--vectors", folder / "vectors", "-o", after]
                iadsr("align", arguments.log, *paths, *shared)
                for name, model in (("before", before), ("after", after)):
                    test = iadsr("evaluate", arguments.log, "--model", model, "--json")[2]["test"]
                    for metric in ("HR@10", "NDCG@10"):
                        found.setdefault(f"{metric} {name} alignment", []).append(test[metric])
                output = scored.with_suffix(".parquet")
                options = ["--annotate", "--quiet", "--cache-dir", folder / "cache"]
                iadsr("denoise", arguments.log, "--model", after, "-o", output, *options)
                found.setdefault("AUROC of the noise score", []).append(auroc(output, arguments.label))
        for name, values in found.items():
            print(f"  {backbone}: {name} {interval(values)}", flush=True)


if __name__ == "__main__":
    main()
