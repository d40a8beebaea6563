"""How well the default method finds noise: by kind, against single scorers, with parts of it left out, whether that
costs cold items more than others, and how much of a log it takes for noise.

    python benchmarks/detection.py LOG [--label is_noise] [--kinds ...] [--tables ...] [--seeds 3] [--share 10%]
        [--judges 1]

Noise is injected into histories only and scorers see the log whole, as `denoise` would; labels are read after scoring.
Figures are means over seeds ± half of the 95% interval; shares and fits are of the first seed.
"""

import argparse
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import numpy as np
from measure import interval
from sklearn.ensemble import HistGradientBoostingClassifier

from iadsr_cli import noise
from iadsr_cli.cli.console import Face
from iadsr_cli.config import NOISE_KINDS, Config, DecisionSettings, EncoderSettings, RunSettings
from iadsr_cli.crossfit import Panel, head, lessons
from iadsr_cli.crossfit.evidence import FAMILIES
from iadsr_cli.crossfit.kinds import KINDS as LEARNED
from iadsr_cli.decisions import decide
from iadsr_cli.encoders.folder import load_vectors
from iadsr_cli.evaluation import baselines, labels, metrics
from iadsr_cli.pipeline import Workspace, open_log
from iadsr_cli.progress import Silent
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences, frequency_fifths
from iadsr_cli.settings import parse_share
from iadsr_cli.stages import vectors_by_code

KINDS = tuple(kind for kind in LEARNED if kind in NOISE_KINDS)
OF_OTHERS = ("insert-burst", "insert-account")
"""Noise that is another user's."""
TABLES = ("compared", "ablation", "bound", "left out", "copies", "shares", "small", "few", "bots", "fit")
Trial = tuple[Sequences, np.ndarray, np.ndarray, int]
"""A log, which of its rows are noise, which of them count, and the seed."""
LIMITS = {
    "by default": DecisionSettings(),
    **{f"--min-item-rows {least}": DecisionSettings(min_item_rows=least) for least in (0, 2)},
    **{f"--max-user-share {most}": DecisionSettings(max_user_share=most) for most in (0.2, 0.5)},
}
"""What is removed: by default, and where items keep no row or two, and users may lose less or more."""
SMALL = (300, 1000, 3000)
"""Users of small logs."""
FEW = (100, 300, 500)
"""Long histories, where one looks whether bots are seen that there are not."""
BOTS = ((60, 150), (5, 400), (1, 2000))
"""Bots that are put into a log, and how many items each has."""
SINGLE = ("random", "popularity", "text", "co-occurrence", "svd")
OF_ROWS = {name: kind for name, kind in LEARNED.items() if not kind.whole}
"""Kinds of noise that are told row by row."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no cross-fitting": {"folds": 1},
    "no texts": {"texts": False},
    "texts and repeats alone": {"families": ("text", "words", "repeats", "apart"), "kinds": OF_ROWS},
    "no predictor": {"families": tuple(name for name in FAMILIES if name != "expected")},
    "no times": {"families": tuple(name for name in FAMILIES if name not in ("when", "order"))},
    "no joint spaces": {"families": tuple(name for name in FAMILIES if " and " not in name)},
    "no whole histories": {"families": tuple(name for name in FAMILIES if name != "history"), "kinds": OF_ROWS},
    "no differences": {"families": tuple(name for name in FAMILIES if name not in ("apart", "text alone"))},
    "flexible heads": {"flexible": True},
}
"""What is left out. Without texts the log is judged as one that has none: there are no joint spaces then, the predictor
learns of items alone, and no noise that is near in text is learned from. Without joint spaces whole histories are still
looked at in them. Where these are not looked at, no bots are learned from, of whom nothing else is seen."""


class FlexibleHead:
    """Boosted trees of all pieces of evidence at once, free to rise or fall: what `head.NoiseHead` is not."""

    def __init__(self, evidence: np.ndarray, injected: np.ndarray, seed: int) -> None:
        """Learn as `head.fit` does."""
        self._learner = HistGradientBoostingClassifier(max_iter=200, early_stopping=False, random_state=seed)
        # Scikit-learn's trees take no column that is missing everywhere.
        self._seen = ~np.isnan(evidence).all(axis=0)
        self._learner.fit(evidence[:, self._seen], injected)
        self._prior = float(np.log(injected.mean() / (1 - injected.mean())))

    def ratio(self, evidence: np.ndarray) -> np.ndarray:
        """Return the ratio of densities [n]."""
        return np.exp(np.clip(self._learner.decision_function(evidence[:, self._seen]) - self._prior, -50, 50))


class FlexibleHeads(list[FlexibleHead]):
    """Those of several kinds, in place of `head.Heads`."""

    @classmethod
    def of(cls, heads: Sequence[FlexibleHead]) -> "FlexibleHeads":
        """Return heads as one."""
        return cls(heads)

    def ratios(self, evidence: np.ndarray) -> np.ndarray:
        """Return the ratios of densities [n, K]."""
        return np.stack([one.ratio(evidence) for one in self], axis=1)

    def judge(
        self, evidence: np.ndarray, weights: np.ndarray, given: Mapping[int, head.Odds] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return their weighted sum [n], and in place of parts the evidence: nothing here is a sum."""
        return self.ratios(evidence) @ weights, evidence


@dataclass(eq=False)
class Bench:
    """A log and what all of its copies with noise share; `judges` is how often it is judged."""

    sequences: Sequences
    vectors: np.ndarray
    known: np.ndarray
    texts: Sequence[str | None]
    judges: int | None = None

    @cached_property
    def nearest(self) -> np.ndarray:
        """What `noise.nearest_in_text` finds."""
        return noise.nearest_in_text(self.vectors, self.known)

    @classmethod
    def of(cls, workspace: Workspace) -> "Bench":
        """Return that of a log with its items' vectors and texts."""
        folder, sequences = workspace.vectors, workspace.trainable
        vectors, known = vectors_by_code(sequences.items, load_vectors(folder) if folder else None)
        return cls(sequences, vectors, known, workspace.item_texts, workspace.config.decision.judges)

    def some(self, users: np.ndarray) -> "Bench":
        """Return that of the log of some users, bool [U], and of the items that they have."""
        sequences = self.sequences.where(users[self.sequences.user_index])
        held, numbers = np.unique(sequences.codes, return_inverse=True)
        fewer = replace(sequences, codes=numbers + 1, items=sequences.items.take(held - 1))
        codes = np.append(0, held)
        texts = [self.texts[code - 1] for code in held]
        return replace(self, sequences=fewer, vectors=self.vectors[codes], known=self.known[codes], texts=texts)

    def noisy(self, kind: str, rate: float, seed: int) -> tuple[Sequences, np.ndarray, np.ndarray]:
        """Return a log with noise, its labels, and which rows count."""
        if not rate:
            clean = np.zeros(len(self.sequences.codes), dtype=bool)
            return self.sequences, clean, noise.in_history(self.sequences)
        made = noise.inject(self.sequences, kind, rate, seed, self.nearest)
        return made.sequences, made.is_noise, noise.in_history(made.sequences)

    def judge(self, sequences: Sequences, seed: int, **options: Any) -> tuple[dict[str, float], np.ndarray]:
        """Return the estimated shares of noise, and noise scores, float64 [N]."""
        scores = self.scores(sequences, seed, **options)
        return scores.shares or {}, scores.noise.astype(np.float64)

    def scores(
        self, sequences: Sequences, seed: int, *, flexible: bool = False, texts: bool = True, **options: Any
    ) -> Scores:
        """Return all that the judges say, evidence included, if asked of a log without texts or by trees."""
        fit, heads = (FlexibleHead, FlexibleHeads) if flexible else (head.fit, head.Heads)
        vectors, told = self.vectors, self.texts
        if not texts:
            (vectors, _), told = vectors_by_code(sequences.items, None), [None] * len(told)
        with mock.patch.multiple(head, fit=fit, Heads=heads):
            return Panel(sequences, vectors, told, seed, Silent(), self.judges, **options).scores()

    def single(self, name: str, sequences: Sequences, seed: int) -> np.ndarray:
        """Return what one simple scorer says."""

        def untrained() -> NoReturn:
            raise AssertionError("this scorer trains nothing")

        material = baselines.Material(
            sequences, self.vectors, self.known, seed, untrained, untrained, untrained, Silent()
        )
        return baselines.SCORERS[name](material)


def auroc(score: np.ndarray, is_noise: np.ndarray) -> float:
    """Return the AUROC, which there has to be."""
    found = metrics.auroc(score, is_noise)
    assert found is not None, "some rows are noise and some are not"
    return found


def top(score: np.ndarray, is_noise: np.ndarray) -> float:
    """Return the share of noise among the 2% of rows with the highest scores."""
    return float(is_noise[metrics.worst(score, len(score) // 50)].mean())


def lost_by_frequency(score: np.ndarray, sequences: Sequences, is_noise: np.ndarray) -> list[float]:
    """Return the share of genuine rows among the 5% with the highest scores, by fifth of the items, rarest first."""
    gone = metrics.worst(score, len(score) // 20)
    fifth = frequency_fifths(sequences.counts()[1:])[sequences.codes - 1]
    genuine = [~is_noise & (fifth == number) for number in range(5)]
    return [float(gone[rows].mean()) for rows in genuine]


def compare(bench: Bench, kind: str, trials: list[Trial]) -> None:
    """Print what the method and single scorers reach on one kind of noise."""
    found: dict[str, list[float]] = defaultdict(list)
    extra: dict[str, list[float]] = defaultdict(list)
    for sequences, is_noise, counted, seed in trials:
        shares, score = bench.judge(sequences, seed)
        found["crossfit"].append(auroc(score[counted], is_noise[counted]))
        extra["precision among the top 2%"].append(top(score[counted], is_noise[counted]))
        for option, decision in LIMITS.items():
            removed = ~decide(score, sequences.user_index, sequences.codes, decision).keep
            whole = metrics.detection(score, is_noise, removed, sequences.codes)
            for name in ("removed_share", "precision", "recall", "over_denoising", "over_denoising_gap"):
                extra[f"{option}: {name}"].append(whole[name] or 0.0)
        extra["share estimated"].append(sum(shares.values()))
        extra["share of noise"].append(float(is_noise.mean()))
        error = metrics.calibration(score, is_noise)["expected_calibration_error"]
        extra["expected calibration error"].append(error)
        for name in SINGLE:
            found[name].append(auroc(bench.single(name, sequences, seed)[counted], is_noise[counted]))
    for name, values in found.items():
        print(f"  {kind}: AUROC of {name} {interval(values)}", flush=True)
    for name, values in extra.items():
        print(f"  {kind}: {name} {interval(values)}", flush=True)


def ablate(bench: Bench, kind: str, trials: list[Trial]) -> None:
    """Print what the method reaches without some of it, and what it loses in each trial by that."""
    whole: list[float] = []
    for name, options in ABLATIONS.items():
        reached: list[float] = []
        lost: list[list[float]] = []
        for sequences, is_noise, counted, seed in trials:
            _, score = bench.judge(sequences, seed, **options)
            reached.append(auroc(score[counted], is_noise[counted]))
            lost.append(lost_by_frequency(score, sequences, is_noise))
        whole = whole or reached
        change = interval([one - all_of_it for one, all_of_it in zip(reached, whole, strict=True)])
        fifths = " ".join(f"{share:.1%}" for share in np.mean(lost, axis=0))
        gap = interval([fifth[0] - fifth[-1] for fifth in lost])
        print(f"  {kind}, {name}: AUROC {interval(reached)}, change {change}", flush=True)
        print(
            f"  {kind}, {name}: genuine rows lost with the worst 5%, rarest fifth of items first: {fifths}, gap {gap}",
            flush=True,
        )


def bound(bench: Bench, kind: str, trials: list[Trial]) -> None:
    """Print what the same evidence gives to heads that are told which rows of half of the users are the noise."""
    learners: dict[str, tuple[Any, Any]] = {
        "additive heads": (head.fit, head.Heads),
        "trees of all evidence": (FlexibleHead, FlexibleHeads),
    }
    reached: dict[str, list[float]] = defaultdict(list)
    for sequences, is_noise, counted, seed in trials:
        scores = bench.scores(sequences, seed)
        evidence, usable = scores.terms, ~np.isnan(scores.noise)
        side = np.random.default_rng(seed).integers(0, 2, len(sequences.lengths))[sequences.user_index]
        for name, (fit, heads) in learners.items():
            told = np.empty(len(is_noise))
            for own in (0, 1):
                learned = fit(evidence[usable & (side != own)], is_noise[usable & (side != own)], seed)
                told[side == own] = heads.of([learned]).ratios(evidence[side == own])[:, 0]
            reached[name].append(auroc(told[counted & usable], is_noise[counted & usable]))
    for name, values in reached.items():
        print(f"  {kind}, {name} told the truth about other users: AUROC {interval(values)}", flush=True)


def leave_out(bench: Bench, kind: str, trials: list[Trial]) -> None:
    """Print what it reaches on a kind of noise that it has not learned from."""
    if kind not in LEARNED:
        return
    rest = {name: other for name, other in LEARNED.items() if other.injected != kind}
    reached: list[float] = []
    errors: list[float] = []
    for sequences, is_noise, counted, seed in trials:
        _, score = bench.judge(sequences, seed, kinds=rest)
        reached.append(auroc(score[counted], is_noise[counted]))
        errors.append(metrics.calibration(score, is_noise)["expected_calibration_error"])
    told = f"AUROC {interval(reached)}, calibration error {interval(errors)}"
    print(f"  {kind}, never learned from: {told}", flush=True)


def copies(bench: Bench, rate: float, seeds: range) -> None:
    """Print how well another user's rows are found in a log of half of the users: with that user among them, and not.

    Users stand in pairs. In the second log each has rows of their partner's, and one of each pair is in it.
    """
    for kind, name in itertools.product(OF_OTHERS, ("stands in the log too", "does not")):
        found: dict[str, list[float]] = defaultdict(list)
        for seed in seeds:
            place = np.random.default_rng(seed).permutation(len(bench.sequences.lengths))
            stay = place % 2 == 0
            whole, pairs = (bench.some(stay), None) if name == "stands in the log too" else (bench, place // 2)
            made = noise.inject(whole.sequences, kind, rate, seed, groups=pairs)
            log = replace(whole, sequences=made.sequences).some(stay)
            sequences, is_noise = log.sequences, made.is_noise[stay[made.sequences.user_index]]
            counted = noise.in_history(sequences)
            shares, score = log.judge(sequences, seed)
            removed = ~decide(score, sequences.user_index, sequences.codes, DecisionSettings()).keep
            found["AUROC"].append(auroc(score[counted], is_noise[counted]))
            found["share of noise"].append(float(is_noise.mean()))
            found["estimated"].append(sum(shares.values()))
            found["of the noise goes"].append(float(removed[is_noise].mean()))
        told = ", ".join(f"{what} {interval(values)}" for what, values in found.items())
        print(f"  {kind} whose original {name}, half of the users: {told}", flush=True)


def estimate(bench: Bench) -> None:
    """Print how much noise is seen where more and more is injected."""
    for injected in (0.0, 0.1, 0.2, 0.3):
        sequences, is_noise, _ = bench.noisy(KINDS[0], injected, 0)
        shares, score = bench.judge(sequences, 0)
        share = sum(shares.values())
        print(
            f"  {injected:.0%} injected: {is_noise.mean():.1%} of rows are, {share:.1%} estimated, "
            f"{(score > 0.5).mean():.1%} score above 0.5",
            flush=True,
        )


def small(bench: Bench, seeds: range, truth: np.ndarray | None) -> None:
    """Print how much noise is seen in logs of few of the users, and what goes, with and without noise in the whole log.

    Where there are labels, bool [N], these say what is noise.
    """
    users_of_all = len(bench.sequences.lengths)
    rates = (0.0, 0.06, 0.15) if truth is None else (0.0,)
    for count, injected in itertools.product((count for count in SMALL if count < users_of_all), rates):
        logs = []
        for seed in seeds:
            # Into the whole log, for who clicks amiss does not click on what this log has alone.
            sequences, is_noise, _ = bench.noisy(KINDS[0], injected, seed)
            whole = replace(bench, sequences=sequences)
            users = np.random.default_rng(seed).permutation(users_of_all) < count
            logs.append((whole.some(users), (is_noise if truth is None else truth)[users[sequences.user_index]], seed))
        found: dict[str, list[float]] = defaultdict(list)
        for log, is_noise, seed in logs:
            sequences = log.sequences
            shares, score = log.judge(sequences, seed)
            removed = ~decide(score, sequences.user_index, sequences.codes, DecisionSettings()).keep
            found["rows"].append(len(is_noise))
            found["are noise"].append(is_noise.mean())
            found["AUROC"].append(auroc(score, is_noise) if is_noise.any() else np.nan)
            by_text = log.single("text", sequences, seed)
            found["AUROC of text"].append(auroc(by_text, is_noise) if is_noise.any() else np.nan)
            found["precision among the top 2%"].append(top(score, is_noise) if is_noise.any() else np.nan)
            found["estimated"].append(sum(shares.values()))
            found["noise that goes"].append((removed & is_noise).mean())
            found["genuine rows that go"].append((removed & ~is_noise).mean())
            found["of what goes noise"].append(is_noise[removed].mean() if removed.any() else np.nan)
        told = ", ".join(f"{name} {interval(values)}" for name, values in found.items())
        of_what = "labelled" if truth is not None else f"{injected:.0%} injected"
        print(f"  {count} users, {of_what}: {told}", flush=True)


def few_histories(bench: Bench, seeds: range) -> None:
    """Print how many users are taken for bots where few have long histories: as they are, and with noise injected."""
    long = np.flatnonzero(bench.sequences.lengths >= noise.LONG_HISTORY)
    for count, injected in itertools.product(FEW, (0.0, 0.3)):
        taken = []
        for seed in seeds:
            generator = np.random.default_rng(seed)
            users = generator.random(len(bench.sequences.lengths)) < count / len(long)
            users[long] = False
            users[generator.choice(long, count, replace=False)] = True
            log = bench.some(users)
            sequences, *_ = log.noisy(KINDS[0], injected, seed)
            with mock.patch.object(lessons, "_LEAST_LONG", 0):
                _, score = log.judge(sequences, seed)
            taken.append(int(taken_for_bots(sequences, score).sum()))
        told = ", ".join(map(str, taken))
        print(f"  taken for bots, of {count} long histories, {injected:.0%} injected: {told}", flush=True)


def taken_for_bots(sequences: Sequences, score: np.ndarray) -> np.ndarray:
    """Return which users go as bots by default, bool [U]: who is none keeps more than half."""
    removed = ~decide(score, sequences.user_index, sequences.codes, DecisionSettings()).keep
    return np.bincount(sequences.user_index[removed], minlength=len(sequences.lengths)) > sequences.lengths / 2


def long_bots(bench: Bench, seeds: range) -> None:
    """Print how many bots go that are longer than most users, and how many users with them.

    Every other one has items drawn evenly, the others by popularity; all of a bot's are different.
    """
    clean = bench.sequences
    users, held = len(clean.lengths), np.bincount(clean.codes, minlength=len(clean.items) + 1)[1:]
    for count, size in BOTS:
        gone, taken = [], []
        for seed in seeds:
            generator = np.random.default_rng(seed)
            chances = [None, held / held.sum()]
            new = [
                generator.choice(len(clean.items), size, replace=False, p=chances[(bot + seed) % 2]) + 1
                for bot in range(count)
            ]
            codes = np.concatenate([clean.codes, *new])
            offsets = np.append(clean.offsets, clean.offsets[-1] + size * np.arange(1, count + 1))
            sequences = Sequences(clean.items, codes, np.arange(len(codes)), offsets)
            _, score = bench.judge(sequences, seed)
            found = taken_for_bots(sequences, score)
            gone.append(int(found[users:].sum()))
            taken.append(int(found[:users].sum()))
        told = ", ".join(map(str, gone))
        others = ", ".join(map(str, taken))
        print(f"  of {count} bots with {size} items each go {told}, and of others {others}", flush=True)


def fits(bench: Bench) -> None:
    """Print how surely popular items are told from the rows of the log, as it is, half replaced, and users shuffled.

    And the same of some of its users, where many an item is one user's alone.
    """
    some = np.random.default_rng(0).permutation(len(bench.sequences.lengths)) < SMALL[-1]
    for users, log in {"all users": bench, f"{some.sum()} users": bench.some(some)}.items():
        sequences = log.sequences
        mixed = np.random.default_rng(0).permutation(sequences.codes)
        for name, made in {
            "as it is": sequences,
            "half of it replaced": noise.inject(sequences, "replace-uniform", 0.5, 0).sequences,
            "its users shuffled": replace(sequences, codes=mixed),
        }.items():
            panel = Panel(made, log.vectors, log.texts, 0, Silent(), log.judges)
            scores = panel.scores()
            score, told = scores.noise, "" if scores.shares else ", nothing is told"
            fit = np.mean([judge.fit for judge in panel.judges])
            above = f"{(score > 0.5).mean():.2%} of the rows score above 0.5"
            print(
                f"  popular items told from the log of {users}, {name}: AUROC {fit:.3f}{told}; {above}",
                flush=True,
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log")
    parser.add_argument("--label")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", default="10%")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--judges", type=int)
    parser.add_argument("--cache-dir")
    arguments = parser.parse_args()
    config = Config(
        encoder=EncoderSettings(encoder=arguments.encoder),
        decision=DecisionSettings(judges=arguments.judges),
        run=RunSettings(cache_dir=arguments.cache_dir),
    )
    workspace = open_log(arguments.log, None, config, Face(quiet=True))
    bench = Bench.of(workspace)
    rate, seeds = parse_share(arguments.share, "--share"), range(arguments.seeds)
    print(f"{Path(arguments.log).name}, {arguments.seeds} seeds: mean ± half of the 95% interval", flush=True)
    start = time.perf_counter()
    bench.judge(bench.sequences, 0)
    print(f"  judging the log as it is: {time.perf_counter() - start:.0f} s", flush=True)
    trials: dict[str, list[Trial]] = {}
    truth = None
    if arguments.label:
        truth = labels.read(workspace.log, arguments.label)[bench.sequences.row_ids]
        everything = np.ones(len(truth), dtype=bool)
        trials[arguments.label] = [(bench.sequences, truth, everything, seed) for seed in seeds]
    else:
        for kind in arguments.kinds:
            trials[kind] = [(*bench.noisy(kind, rate, seed), seed) for seed in seeds]
    by_kind = {"compared": compare, "ablation": ablate, "bound": bound, "left out": leave_out}
    for name, table in by_kind.items():
        for kind, several in trials.items():
            if name in arguments.tables:
                table(bench, kind, several)
    if "fit" in arguments.tables:
        fits(bench)
    if "small" in arguments.tables:
        small(bench, seeds, truth)
    injecting: dict[str, Callable[[], None]] = {
        "copies": lambda: copies(bench, rate, seeds),
        "shares": lambda: estimate(bench),
        "few": lambda: few_histories(bench, seeds),
        "bots": lambda: long_bots(bench, seeds),
    }
    for name, print_table in injecting.items():
        if name in arguments.tables and not arguments.label:
            print_table()


if __name__ == "__main__":
    main()
