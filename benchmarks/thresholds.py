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

from iadsr_cli.cli.console import Face
from iadsr_cli.config import BackboneSettings, Config, DecisionSettings, RunSettings
from iadsr_cli.evaluation import arms, labels, metrics, thresholds, wording
from iadsr_cli.evaluation.arms import Arm
from iadsr_cli.hardware import pick_device
from iadsr_cli.models.store import load_backbone
from iadsr_cli.pipeline import Workspace, open_log
from iadsr_cli.ranking import held_out_ranks
from iadsr_cli.settings import parse_share


def hits(workspace: Workspace, recommender: str, arm: Arm) -> dict[str, np.ndarray]:
    """Return for each place whose item there is among the first ten, bool [U], by what was trained on an arm."""
    if recommender == "neighbours":
        return thresholds.hits(arm)
    backbone, *_ = load_backbone(workspace.pretrained(arm.training), pick_device("auto"))
    found = {}
    for place, from_end in thresholds.PLACES.items():
        users, ranks = (
            np.concatenate(each) for each in zip(*held_out_ranks(backbone, arm.history, from_end), strict=True)
        )
        found[place] = ranks[np.argsort(users)] <= 10
    return found


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
            made.append(replace(arms.cleaned(sequences, removed), name=f"{threshold:g}"))
            of_all = metrics.detection(score, is_noise, removed, part.codes)
            figures[f"{threshold:g}"].append(
                (
                    float(of_all["removed_share"]),
                    float(of_all["precision"] or 0),
                    float(of_all["over_denoising_gap"] or 0),
                )
            )
            if threshold == default.threshold:
                several = arms.make_arms(sequences, removed, settings, seed, is_noise)
                made += [arm for arm in several if arm.name in (arms.RAW, arms.RANDOM, arms.ORACLE)]
        for arm in made:
            for place, hit in hits(workspace.with_seed(seed), name, arm).items():
                found[place][arm.name].append(hit)
        what = arguments.label or f"{arguments.share} of any item"
        print(f"{name}, {what}, seeds 0 to {seed}", flush=True)
        print("| rows above | go | of them noise | the rarest fifth loses more by | validation | | test | |")
        print("|---|---|---|---|---|---|---|---|")
        for row in found["test"]:
            cells = [f"{value:.3f}" for value in np.mean(figures[row], axis=0)] if row in figures else ["", "", ""]
            for by_arm in found.values():
                worth = {other: np.mean(values, axis=0) for other, values in by_arm.items()}
                raw, oracle = worth[arms.RAW], worth[arms.ORACLE]
                change = metrics.relative_bootstrap(raw, worth[row], 0)
                cells.append(f"{worth[row].mean():.4f}, {wording.change_within(change)}")
                lost = oracle.mean() - raw.mean()
                cells.append(f"{(worth[row].mean() - raw.mean()) / lost:.2f}" if lost > 0 else "-")
            print(f"| {row} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
