"""Who finds noise in a log, and what cleaning does to recommenders: the tables of `iadsr evaluate`, as Markdown.

    python benchmarks/study.py LOG [options of iadsr evaluate]
    python benchmarks/study.py beauty.parquet --noise insert-uniform --noise insert-burst --seeds 3 --budget 10%
    python benchmarks/study.py toys.parquet --label is_noise
    python benchmarks/study.py beauty.parquet --backbone sasrec --ranking-noise 30% --scorer random

Figures are means over seeds ± half of the 95% interval. Give --cache-dir to go on where an earlier run stopped.
"""

import sys
from collections import defaultdict
from typing import Any

from measure import iadsr, interval

from iadsr_cli.evaluation import wording


def detection_table(found: dict[str, Any], metric: str) -> None:
    """Print a metric of all scorers, kind by kind."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in found["detection"]:
        kind = " ".join(filter(None, (record["kind"], record["rate"])))
        values[record["scorer"]][kind].append(record[metric])
    kinds = list(next(iter(values.values())))
    print(f"\n| {metric} | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for scorer, by_kind in values.items():
        print(f"| {scorer} | {' | '.join(interval(by_kind[kind]) for kind in kinds)} |")


def ranking_table(record: dict[str, Any]) -> None:
    """Print the arms of one recommender."""
    print(f"\n{record['recommender']}, {record['noise'] or 'the log as it is'}, {record['seeds']} seeds")
    print("| trained on | HR@10 | NDCG@10 | change of HR@10 | cold HR@10 | coverage |\n|---|---|---|---|---|---|")
    for arm in record["arms"]:
        change = told(arm["change"])
        cold = "-" if arm["cold_HR@10"] is None else f"{arm['cold_HR@10']:.4f}"
        print(
            f"| {arm['arm']} | {arm['HR@10']:.4f} | {arm['NDCG@10']:.4f} | {change} | {cold} | {arm['coverage']:.0%} |"
        )
    if record["recovered_share"] is not None:
        print(f"recovered share: {record['recovered_share']:.2f}")


def told(change: dict[str, Any] | None) -> str:
    """Return a change of HR@10 and its interval."""
    return wording.change_within(change["HR@10"]) if change else "-"


def threshold_table(found: dict[str, Any]) -> None:
    """Print what thresholds are worth."""
    print(f"\n{found['recommender']} by threshold, {found['seeds']} seeds")
    print("| threshold | removed | before the last | change | last | change |\n|---|---|---|---|---|---|")
    for one in [found["own"], *found["thresholds"]]:
        places = [f"{at['HR@10']:.4f} | {told(at['change'])}" for at in (one["validation"], one["test"])]
        print(f"| {one.get('threshold', 'as set')} | {one['removed_share']:.1%} | {' | '.join(places)} |")
    print(found["advice"])


def main() -> None:
    """Run the study and print its tables."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    seconds, memory, found = iadsr("evaluate", *sys.argv[1:], "--json")
    print(f"{' '.join(sys.argv[1:])}\n{seconds:.0f} s, {memory:.2f} GB\n\n{found['verdict']}")
    for metric in ("auroc", "average_precision"):
        detection_table(found, metric)
    for record in found["ranking"]:
        ranking_table(record)
    if found["thresholds"]:
        threshold_table(found["thresholds"])


if __name__ == "__main__":
    main()
