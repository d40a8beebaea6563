"""Whether any row is lost, added or changed: thousands of generated logs, written in every format.

    python benchmarks/conservation.py [--tables 2000] [--pair parquet csv]

For each pair of formats it generates logs of all types and oddities (`tests/generated.py`), writes a random part of
each and the rest, and compares both files with what was generated. Prints how many were tried, how many were refused
before anything was written and why, and how many rows were lost, added or changed; any of those ends it with 1.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from generated import KINDS, conserve


def main() -> None:
    """Generate, write, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000, help="logs for each pair of formats")
    parser.add_argument("--pair", nargs=2, choices=KINDS, metavar=("FROM", "TO"), help="this pair alone")
    arguments = parser.parse_args()
    pairs = [tuple(arguments.pair)] if arguments.pair else [(kind, target) for kind in KINDS for target in KINDS]
    failures = 0
    for kind, target in pairs:
        start = time.perf_counter()
        refused: Counter[str] = Counter()
        rows = lost = added = changed = 0
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(arguments.tables):
                try:
                    outcome = conserve(Path(folder), Random(f"{kind} {target} {seed}"), kind, target)
                except Exception as error:
                    failures += 1
                    print(f"  {kind} {target} {seed}: {type(error).__name__}: {error}", flush=True)
                    continue
                refused.update([outcome.refused] if outcome.refused else [])
                rows, lost = rows + outcome.rows, lost + outcome.lost
                added, changed = added + outcome.added, changed + outcome.changed
                if outcome.lost or outcome.added or outcome.changed:
                    failures += 1
                    print(f"  {kind} {target} {seed}: {outcome}", flush=True)
        print(
            f"{kind} -> {target}: {arguments.tables:,} logs, {refused.total():,} refused, {rows:,} rows written; "
            f"{lost} lost, {added} added, {changed} changed ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
        for reason, count in refused.most_common():
            print(f"  refused: {reason}: {count:,}", flush=True)
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
