"""What evidence of trained models adds to the default method, when they have not trained on the rows they judge.

    python benchmarks/neural_evidence.py LOG [--kinds insert-uniform insert-popular] [--seed 0] [--share 10%]

Half of the users train a recommender, its mirror image (histories read backwards) and an aligned IADSR model, which
then judge the other half: IADSR's three cosines, and the loss of the row's item given what came before and what came
after. These five are put beside the evidence of the default method. Prints the AUROC of each alone, and of the method
without and with them, and how many more genuine rows of the rarest fifth of items than of the most frequent are then
among the 5% of rows with the highest scores. Scorers see the log whole, as `denoise` would; labels are read after
scoring.
"""

import argparse
import collections.abc
import copy
import time
from dataclasses import replace

import numpy as np
from detection import Bench, auroc, lost_by_frequency

from iadsr_cli import training
from iadsr_cli.cli.console import Face
from iadsr_cli.config import AlignSettings, Config, EncoderSettings, PretrainSettings, RunSettings
from iadsr_cli.crossfit import Judge, Known
from iadsr_cli.evaluation import baselines
from iadsr_cli.explanations import IADSR_BARS
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.models.backbone import Backbone
from iadsr_cli.pipeline import open_log
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import Sequences, positions
from iadsr_cli.settings import parse_share

NAMES = (*IADSR_BARS, "expected from before", "expected from after")
HOLD_OUT = 1


def backwards(sequences: Sequences) -> tuple[Sequences, np.ndarray]:
    """Return the histories from their end to their start, and where each of their rows stands in the others."""
    step = positions(sequences.lengths)
    place = np.repeat(sequences.offsets[1:] - 1, sequences.lengths) - step
    return replace(sequences, codes=sequences.codes[place], row_ids=sequences.row_ids[place]), place


class WithModels(Judge):
    """The default method with five more pieces of evidence."""

    def __init__(self, bench: Bench, known: Known, config: Config) -> None:
        """Prepare to judge as `Judge` does."""
        super().__init__(known, config.run.seed, Silent())
        self._bench, self._config = bench, config

    def _gathered(self, parts: collections.abc.Sequence[tuple[Sequences, np.ndarray]]) -> list[np.ndarray]:
        found = super()._gathered(parts)
        more = [np.full((len(part.codes), len(NAMES)), np.nan, np.float32) for part, _ in parts]
        for own in (0, 1):
            models = self._trained(self._side != own)
            for (part, _), out in zip(parts, more, strict=True):
                judged = self._side[part.user_index] == own
                out[judged] = self._judged(part.where(judged), models)
        self.models_alone = more[0]
        return [np.hstack(pair) for pair in zip(found, more, strict=True)]

    def _trained(self, users: np.ndarray) -> tuple[Backbone, Backbone, AlignedModel]:
        bench, config = self._bench, self._config
        sequences = self._sequences.where(users[self._sequences.user_index])
        mirrored, _ = training.pretrain(backwards(sequences)[0], config, Silent())
        first, _ = training.pretrain(sequences, config, Silent())
        # Alignment goes on from it, and changes it.
        start = copy.deepcopy(first)
        aligned, _ = training.align(sequences, start, bench.vectors, bench.known, HOLD_OUT, config, Silent())
        return first, mirrored, aligned

    def _judged(self, part: Sequences, models: tuple[Backbone, Backbone, AlignedModel]) -> np.ndarray:
        first, mirrored, aligned = models

        def material(sequences: Sequences, backbone: Backbone) -> baselines.Material:
            bench = self._bench
            return baselines.Material(
                sequences,
                bench.vectors,
                bench.known,
                self._seed,
                lambda: backbone,
                lambda: aligned,
                Judge(self._known, self._seed, Silent()).scores,
                Silent(),
            )

        found = np.full((len(part.codes), len(NAMES)), np.nan, np.float32)
        found[:, :3] = baselines.published(material(part, first)).terms
        found[:, 3] = -baselines.next_item_loss(material(part, first))
        mirror, place = backwards(part)
        found[place, 4] = -baselines.next_item_loss(material(mirror, mirrored))
        return found


def main() -> None:
    """Print the AUROC of each model alone, and of the method without and with them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log")
    parser.add_argument("--kinds", nargs="+", default=["insert-uniform", "insert-popular"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", default="10%")
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--cache-dir")
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    parser.add_argument("--align-epochs", type=int, default=3)
    arguments = parser.parse_args()
    config = Config(
        encoder=EncoderSettings(encoder=arguments.encoder),
        pretrain=PretrainSettings(pretrain_epochs=arguments.pretrain_epochs, hold_out=HOLD_OUT),
        align=AlignSettings(align_epochs=arguments.align_epochs),
        run=RunSettings(cache_dir=arguments.cache_dir, seed=arguments.seed),
    )
    bench = Bench.of(open_log(arguments.log, None, config, Face(quiet=True)))
    for kind in arguments.kinds:
        sequences, is_noise, counted = bench.noisy(kind, parse_share(arguments.share, "--share"), arguments.seed)
        truth = is_noise[counted]
        known = Known.of(sequences, bench.vectors, bench.texts)
        alone = Judge(known, arguments.seed, Silent())
        without = alone.scores().noise.astype(np.float64)
        lost = lost_by_frequency(without, sequences, is_noise)
        reached = auroc(without[counted], truth)
        print(f"{kind}: AUROC of one judge by default {reached:.4f}, gap {lost[0] - lost[-1]:.4f}", flush=True)
        start = time.perf_counter()
        judge = WithModels(bench, known, config)
        score = judge.scores().noise.astype(np.float64)
        for name, column in zip(NAMES, judge.models_alone.T, strict=True):
            print(f"{kind}: AUROC of {name}, by models of other users {auroc(-column[counted], truth):.4f}", flush=True)
        seconds = time.perf_counter() - start
        lost = lost_by_frequency(score, sequences, is_noise)
        reached = auroc(score[counted], truth)
        print(f"{kind}: AUROC with all five {reached:.4f}, gap {lost[0] - lost[-1]:.4f} ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
