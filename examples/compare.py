"""Compare the scores of the example log with the truth about it.

    python examples/compare.py FILE

FILE is what `iadsr denoise examples/shop.csv --annotate -o FILE` wrote, as .csv or .parquet. A generated log has labels
(`shop-labels.csv`); a real one has none, which is why this is no part of iadsr.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

LABELS = Path(__file__).parent / "shop-labels.csv"


def main() -> None:
    """Print how the scores rank the planted noise, and what the decision got right."""
    path = Path(sys.argv[1])
    rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    labels = pd.read_csv(LABELS, keep_default_na=False)
    if len(rows) != len(labels):
        sys.exit(f"{path} has {len(rows)} rows and {LABELS} {len(labels)}: annotate examples/shop.csv as it is.")
    noise, removed = labels["is_noise"] == 1, ~rows["keep"]
    scored = rows["noise_score"].notna()
    print(f"AUROC of noise_score: {roc_auc_score(noise[scored], rows['noise_score'][scored]):.3f} (0.5 is chance)")
    print(f"noise in the log:     {noise.sum()} of {len(rows)} rows ({noise.mean():.1%})")
    print(f"removed:              {removed.sum()} rows, of which {(removed & noise).sum()} are noise")
    for kind in sorted(set(labels["kind"][noise])):
        of_kind = labels["kind"] == kind
        print(f"  {kind:19} {(removed & of_kind).sum()} of {of_kind.sum()} removed")


if __name__ == "__main__":
    main()
