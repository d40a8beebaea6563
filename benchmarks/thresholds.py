"""What a recommender wins back by thresholds, of the loss by noise: at the validation items and at the targets.

    python benchmarks/thresholds.py LOG [--recommender neighbours] [--share 30%] [--thresholds 0.3 0.4 ...] [--seeds 3]
    python benchmarks/thresholds.py toys-labelled-noise.parquet --label is_noise --recommender sasrec

Noise of any item is injected into histories, or others have labelled it. The training part is judged and cleaned as
`iadsr evaluate` does it: a threshold is to be chosen by the validation items, and what it is worth to be read at the
targets. "random removal" takes as many rows as the default does. Changes are those of the mean over seeds, with the 95%
interval over users.
"""

import argparse
from collections import defaultdict
from dataclasses import replace

import numpy as np
from detection import Bench
from study import told

from iadsr_cli.cli.console import Face
from iadsr_cli.config import BackboneSettings, Config, DecisionSettings, RunSettings
from iadsr_cli.evaluation import arms, labels, metrics
from iadsr_cli.evaluation.arms import Arm
from iadsr_cli.evaluation.neighbours import ItemNeighbours
from iadsr_cli.hardware import pick_device
from iadsr_cli.models.store import load_backbone
from iadsr_cli.pipeline import Workspace, open_log
from iadsr_cli.ranking import held_out_ranks
from iadsr_cli.settings import parse_share

PLACES = {"validation": 2, "test": 1}
"""What is ranked, by its place from the end."""


def hits(workspace: Workspace, recommender: str, arm: Arm, from_end: int) -> np.ndarray:
    """Return whose item is among the first ten, bool [U], of a recommender that was trained on an arm."""
    if recommender == "neighbours":
        fitted = ItemNeighbours.fit(arm.training, arm.training.train_lengths(arms.HELD_OUT))
        chunks = fitted.ranks(arm.history, from_end)
    else:
        backbone, *_ = load_backbone(workspace.pretrained(arm.training), pick_device("auto"))
        chunks = held_out_ranks(backbone, arm.history, from_end)
    found = [np.stack(both) for both in chunks]
    users, ranks = np.concatenate(found, axis=1)
    return ranks[np.argsort(users)] <= 10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log")
    parser.add_argument("--recommender", default="neighbours", help="or the name of a backbone")
    parser.add_argument("--share", default="30%")
    parser.add_argument("--label")
    parser.add_argument("--thresholds", type=float, nargs="+", default=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache-dir")
    arguments = parser.parse_args()
    name = arguments.recommender
    backbone = BackboneSettings() if name == "neighbours" else BackboneSettings(backbone=name)
    config = Config(backbone=backbone, run=RunSettings(cache_dir=arguments.cache_dir))
    workspace = open_log(arguments.log, None, config, Face(quiet=True))
    bench = Bench.of(workspace)
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    figures: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for seed in range(arguments.seeds):
        if arguments.label:
            sequences = bench.sequences
            noisy = labels.read(workspace.log, arguments.label)[sequences.row_ids]
        else:
            sequences, noisy, _ = bench.noisy("insert-uniform", parse_share(arguments.share, "--share"), seed)
        part, is_noise = arms.training_part(sequences), noisy[~arms.held_out(sequences)]
        _, score = bench.judge(part, seed)
        default = DecisionSettings()
        made = []
        for threshold in sorted({default.threshold, *arguments.thresholds}):
            settings = replace(default, threshold=threshold)
            removed = ~arms.decide_on_training(score, sequences, settings).keep
            several = {one.name: one for one in arms.make_arms(sequences, removed, settings, seed, is_noise)}
            cleaned = several[arms.CLEANED_HISTORY]
            made.append(replace(cleaned, name=f"{threshold:g}"))
            of_all = metrics.detection(score, is_noise, removed, part.codes)
            figures[f"{threshold:g}"].append(
                (float(of_all["removed_share"]), float(of_all["precision"] or 0), float(of_all["cold_gap"] or 0))
            )
            if threshold == default.threshold:
                made += [several[control] for control in (arms.RAW, arms.RANDOM, arms.ORACLE)]
        for arm in made:
            for place, from_end in PLACES.items():
                found[place][arm.name].append(hits(workspace.with_seed(seed), name, arm, from_end))
        what = arguments.label or f"{arguments.share} of any item"
        print(f"{name}, {what}, seeds 0 to {seed}", flush=True)
        print("| rows above | go | of them noise | the rarest fifth loses more by | validation | | test | |")
        print("|---|---|---|---|---|---|---|---|")
        for row in found["test"]:
            cells = [f"{value:.3f}" for value in np.mean(figures[row], axis=0)] if row in figures else ["", "", ""]
            for by_arm in found.values():
                worth = {other: np.mean(values, axis=0) for other, values in by_arm.items()}
                raw, oracle = worth[arms.RAW], worth[arms.ORACLE]
                cells.append(
                    f"{worth[row].mean():.4f}, {told({'HR@10': metrics.relative_bootstrap(raw, worth[row], 0)})}"
                )
                lost = oracle.mean() - raw.mean()
                cells.append(f"{(worth[row].mean() - raw.mean()) / lost:.2f}" if lost > 0 else "-")
            print(f"| {row} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
