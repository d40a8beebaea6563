"""The study behind `evaluate`: does the score find noise, does cleaning help a recommender, and whom does it hurt?

Everything that trains leaves its artifact in the cache, so an interrupted study goes on where it was.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from iadsr_cli import noise
from iadsr_cli.artifacts import read_manifest
from iadsr_cli.config import TRAINED_SCORERS, Config
from iadsr_cli.decisions import decide
from iadsr_cli.encoders.folder import load_vectors
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.evaluation import arms, baselines, findings, labels, metrics, thresholds, wording
from iadsr_cli.evaluation.findings import Outcome
from iadsr_cli.evaluation.neighbours import ItemNeighbours
from iadsr_cli.pipeline import Workspace, warn_of_no_fit
from iadsr_cli.ranking import hit_rate, ndcg, reciprocal_rank
from iadsr_cli.sequences import Sequences, check_trainable, frequency_fifths, positions
from iadsr_cli.settings import parse_share
from iadsr_cli.stages import load_scores, texts_digest, vectors_by_code

_QUICK = {"pretrain_epochs": 8, "align_epochs": 3}
_NEED_TEXT = ("text", "semantic")


def study(workspace: Workspace) -> Outcome:
    """Compare scorers on injected or labelled noise, and recommenders on the log raw and cleaned.

    Raises:
        UsageError: if a name, share or label column cannot be used.
        InputError: if the log is too small to hold anything out, or was changed meanwhile.
    """
    config = _resolved(workspace.config)
    lab = _Lab(replace(workspace, config=config))
    lab.check()
    if workspace.config.study.quick and not workspace.config.study.scorer:
        left = ", ".join(name for name in TRAINED_SCORERS if name not in config.study.scorer)
        lab.note(f"A quick study leaves out {left}, which train a recommender first: ask for one with --scorer.")
    detection, curves = lab.detection()
    ranking = list(lab.ranking())
    tried = lab.thresholds()
    by_seed = lab.judged_by_seed()
    cleaning = findings.cleaning(by_seed)
    workspace.check_unchanged()
    return findings.outcome(
        workspace,
        by_seed[config.run.seed],
        {
            **findings.verdict(cleaning, ranking),
            "notes": [*findings.notes(*(judged.scores for judged in by_seed.values())), *lab.notes],
            "settings": findings.settings(
                config, "study", "encoder", "decision", "backbone", "pretrain", "align", "loop"
            ),
            "detection": detection,
            **curves,
            "ranking": ranking,
            "thresholds": tried,
            "cleaning": cleaning,
            "judged": {"of": wording.TRAINING, "seed": config.run.seed},
        },
        lab.inputs(),
        lab.injected,
    )


def _resolved(config: Config) -> Config:
    """Return the settings with the names filled in that were left open."""
    asked = config.study
    if asked.quick:
        most = _QUICK["pretrain_epochs"]
        config = replace(
            config,
            pretrain=replace(config.pretrain, pretrain_epochs=min(config.pretrain.pretrain_epochs or most, most)),
            align=replace(config.align, align_epochs=min(config.align.align_epochs, _QUICK["align_epochs"])),
        )
    return replace(config, study=asked.resolved(config.decision.method))


@dataclass(frozen=True)
class _Trial:
    """A log that scorers see whole, as `denoise` would, and the truth about it.

    Attributes:
        kind: of noise, "labels" where the log itself says what is noise.
        share: how much of it was injected, as it was typed; None for labels.
        seed: of noise and scorers.
        sequences: the log.
        is_noise: the truth, bool [N].
        counted: which rows count, bool [N].
        noisy: what was injected, None for labels.
    """

    kind: str
    share: str | None
    seed: int
    sequences: Sequences
    is_noise: np.ndarray
    counted: np.ndarray
    noisy: noise.Noisy | None = None

    @property
    def name(self) -> str:
        """What it is called when somebody is told of it."""
        return f"{' '.join(filter(None, (self.kind, self.share)))}, seed {self.seed}"


class _Lab:
    """A log, its vectors, and the models that are trained on it or on noisy copies of it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.config, self.reporter = workspace, workspace.config, workspace.reporter
        self.sequences = workspace.trainable
        self.notes: list[str] = []
        self.injected: list[pa.Table] = []
        self._ranked: dict[tuple[str, int | None, str, str], arms.Outcome] = {}

    @cached_property
    def _vectors(self) -> tuple[np.ndarray, np.ndarray]:
        folder = self.workspace.vectors
        return vectors_by_code(self.sequences.items, load_vectors(folder) if folder else None)

    @cached_property
    def _labels(self) -> np.ndarray | None:
        """Which interactions the log itself calls noise, bool [N]."""
        label = self.config.study.label
        return None if label is None else labels.read(self.workspace.log, label)[self.sequences.row_ids]

    @cached_property
    def _neighbours(self) -> np.ndarray:
        return noise.nearest_in_text(*self._vectors)

    @property
    def _seeds(self) -> range:
        count = self.config.study.seeds
        assert count is not None, "a study is of settings that leave nothing open"
        return range(self.config.run.seed, self.config.run.seed + count)

    def check(self) -> None:
        """Check before any work that the log can be studied, and leave out what it has no text or rows for."""
        if self.config.pretrain.hold_out < arms.HELD_OUT:
            raise UsageError(
                "--hold-out 1 leaves no item to test: the one held out chooses when training stops.",
                "Evaluate with --hold-out 2.",
            )
        check_trainable(arms.training_part(self.sequences), f"{self.workspace.log.name}, its last items held out,")
        if self._labels is not None and (self._labels.all() or not self._labels.any()):
            some = "every" if self._labels.any() else "no"
            raise InputError(
                f"By --label {self.config.study.label} {some} row is noise, so there is nothing to tell apart.",
                "Give another label.",
            )
        self._leave_out(
            "replace-history",
            self.sequences.lengths.max() < noise.LONG_HISTORY + arms.HELD_OUT,
            f"No history has {noise.LONG_HISTORY} interactions that could all be replaced: that is left out.",
        )
        if self._vectors[1].any():
            self._leave_out(
                "insert-similar",
                len(self.sequences.items) > noise.MOST_SIMILAR_ITEMS,
                f"More than {noise.MOST_SIMILAR_ITEMS:,} items: noise that is alike in text is left out.",
            )
            return
        study = self.config.study
        scorers = tuple(name for name in study.scorer if name not in _NEED_TEXT)
        kinds = tuple(kind for kind in study.noise if kind != "insert-similar")
        if (scorers, kinds) != (study.scorer, study.noise):
            self.note("No item has a text: scorers and noise that go by text are left out.")
        if not scorers or not kinds:
            raise InputError(
                "No item has a text, and all that was asked for goes by text.",
                "Bring texts by --text-column, or ask for other scorers and noise.",
            )
        self.config = replace(self.config, study=replace(study, scorer=scorers, noise=kinds))

    def _leave_out(self, kind: str, unfit: bool, why: str) -> None:
        """Leave a kind of noise out that the log is unfit for, unless it is all that was asked for."""
        kinds = tuple(other for other in self.config.study.noise if other != kind)
        if unfit and kinds and kinds != self.config.study.noise:
            self.note(why)
            self.config = replace(self.config, study=replace(self.config.study, noise=kinds))

    def inputs(self) -> dict[str, str]:
        """Return digests of all that the study is made from."""
        found = {"log": self.sequences.digest(), "items": texts_digest(self.workspace.texts)}
        if self.workspace.vectors:
            found["embed"] = read_manifest(self.workspace.vectors, "embed").outputs["vectors.safetensors"]
        if self._labels is not None:
            found["labels"] = hashlib.sha256(self._labels.tobytes()).hexdigest()
        return found

    def note(self, text: str) -> None:
        """Say something now, and in the report."""
        self.reporter.note(text)
        self.notes.append(text)

    def material(self, sequences: Sequences, seed: int, *, explained: bool = False) -> baselines.Material:
        """Return what scorers judge by; models are trained, and rows judged, when one asks for it.

        `explained` is whether it will be asked why.
        """
        from iadsr_cli.hardware import pick_device
        from iadsr_cli.models.store import load_aligned, load_backbone

        workspace, device = self.workspace.with_seed(seed), pick_device(self.config.run.device)
        return baselines.Material(
            sequences=sequences,
            vectors=self._vectors[0],
            known=self._vectors[1],
            seed=seed,
            backbone=cache(lambda: load_backbone(workspace.pretrained(sequences), device)[0]),
            aligned=cache(lambda: load_aligned(workspace.aligned(sequences), device)[0]),
            crossfitted=cache(lambda: load_scores(workspace.judged(sequences, explained=explained))),
            reporter=self.reporter,
            hold_out=self.config.pretrain.hold_out,
        )

    @cache  # noqa: B019 - a lab lives as long as its study
    def judged(self, seed: int) -> findings.Judged:
        """Judge the training part of the log as it is."""
        self.reporter.note(f"the log as it is, seed {seed}: all rows but the last two of each user are judged")
        return self._judge(self.sequences, seed, explained=seed == self.config.run.seed)

    def judged_by_seed(self) -> dict[int, findings.Judged]:
        """Judge the training part of the log as it is with each seed."""
        return {seed: self.judged(seed) for seed in self._seeds}

    def _judge(self, whole: Sequences, seed: int, *, explained: bool = False) -> findings.Judged:
        """Judge the training part of the log, or of a copy with noise, as `denoise` would judge a log."""
        part = arms.training_part(whole)
        scores = baselines.METHODS[self.config.decision.method](self.material(part, seed, explained=explained))
        warn_of_no_fit(scores.shares, self.reporter)
        return findings.Judged(part, scores, arms.decide_on_training(scores.noise, whole, self.config.decision))

    def noisy(self, kind: str, share: str, seed: int) -> noise.Noisy:
        """Return the log with noise: a copy, which nobody keeps for longer than it is looked at."""
        rate = parse_share(share, "--noise-share")
        similar = self._neighbours if kind == "insert-similar" else None
        return noise.inject(self.sequences, kind, rate, seed, similar, arms.HELD_OUT)

    def detection(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return one record per scorer, noise and seed, and the curves of the first noise and seed."""
        records: list[dict[str, Any]] = []
        curves: dict[str, Any] = {}
        for trial in self._trials():
            is_noise = trial.is_noise[trial.counted]
            about = {"kind": trial.kind, "rate": trial.share, "seed": trial.seed}
            self.reporter.note(f"{trial.name}: {is_noise.sum():,} of {len(is_noise):,} rows are noise")
            material = self.material(trial.sequences, trial.seed)
            scores = {scorer: baselines.SCORERS[scorer](material) for scorer in self.config.study.scorer}
            for scorer, score in scores.items():
                removed = self._removed(scorer, score, trial)
                codes = trial.sequences.codes[trial.counted]
                found = metrics.detection(score[trial.counted], is_noise, removed, codes)
                records.append({"scorer": scorer, **about, **found})
            if not curves:
                curves = self._curves(about, {name: score[trial.counted] for name, score in scores.items()}, is_noise)
            if trial.noisy is not None:
                self.injected.append(self._labels_of(trial.noisy, about, scores.get(self.config.decision.method)))
        return records, curves

    def _removed(self, scorer: str, score: np.ndarray, trial: _Trial) -> np.ndarray:
        """Return which of the rows that count a scorer would have removed."""
        if scorer == self.config.decision.method:
            decisions = decide(score, trial.sequences.user_index, trial.sequences.codes, self.config.decision)
            return ~decisions.keep[trial.counted]
        # As many rows as there is noise: other scores have no threshold.
        return metrics.worst(score[trial.counted], int(trial.is_noise[trial.counted].sum()))

    def _curves(self, about: dict[str, Any], scores: dict[str, np.ndarray], is_noise: np.ndarray) -> dict[str, Any]:
        """Return what is drawn of one noise and seed: curves of all scorers, and more of the tool's own."""
        curves = [{"scorer": name, **metrics.precision_recall(score, is_noise)} for name, score in scores.items()]
        drawn: dict[str, Any] = {"precision_recall": {**about, "share": float(is_noise.mean()), "curves": curves}}
        own = scores.get(self.config.decision.method)
        if own is not None:
            drawn["calibration"] = {**about, **metrics.calibration(own, is_noise)}
            noise_name = "labelled noise" if about["rate"] is None else "injected noise"
            drawn["histogram"] = {
                **about,
                **findings.histogram({"other rows": own[~is_noise], noise_name: own[is_noise]}),
            }
        return drawn

    def _trials(self) -> Iterator[_Trial]:
        """Yield what scorers are tried on.

        Injected noise is in the histories only: a user's last two rows, and those of whoever has no more, are context,
        and are not counted.
        """
        for seed in self._seeds:
            if self._labels is not None:
                all_rows = np.ones(len(self._labels), dtype=bool)
                yield _Trial("labels", None, seed, self.sequences, self._labels, all_rows)
                continue
            for kind in self.config.study.noise:
                for share in self.config.study.noise_share:
                    noisy = self.noisy(kind, share, seed)
                    counted = noise.in_history(noisy.sequences, arms.HELD_OUT)
                    yield _Trial(kind, share, seed, noisy.sequences, noisy.is_noise, counted, noisy)

    def _labels_of(self, noisy: noise.Noisy, about: dict[str, Any], score: np.ndarray | None) -> pa.Table:
        """Return what was injected, a row each, with the tool's own score of it."""
        sequences, places = noisy.sequences, np.flatnonzero(noisy.is_noise)
        number = len(places)
        replaced = np.where(noisy.origin[places] >= 0, self.sequences.codes[noisy.origin[places]] - 1, -1)
        return pa.table(
            {
                **{name: pa.repeat(value, number) for name, value in about.items()},
                "user_id": self.workspace.ids_of(sequences.user_index[places]),
                "position": positions(sequences.lengths)[places],
                "item_id": sequences.items.take(pa.array(sequences.codes[places] - 1)),
                "replaced": sequences.items.take(pa.array(replaced, mask=replaced < 0)),
                "noise_score": pa.nulls(number, pa.float64())
                if score is None
                else pa.array(score[places], from_pandas=True),
            }
        )

    def ranking(self) -> Iterator[dict[str, Any]]:
        """Yield one record per recommender, for the log as it is and with noise."""
        for share in (None, *self.config.study.ranking_noise):
            prepared = {seed: self._arms(share, seed) for seed in self._seeds}
            for recommender in self.config.study.recommender:
                outcomes: dict[str, list[arms.Outcome]] = {}
                for seed, made in prepared.items():
                    for arm in made:
                        outcomes.setdefault(arm.name, []).append(self._rank(recommender, arm, seed))
                name = self.config.backbone.backbone if recommender == "backbone" else recommender
                yield self._compared_arms(name, f"insert-uniform {share}" if share else None, outcomes)

    def thresholds(self) -> dict[str, Any] | None:
        """Return which threshold serves item neighbours best on the log as it is, or None where they are not asked."""
        if "neighbours" not in self.config.study.recommender:
            return None
        noise = [judged.scores.noise for judged in self.judged_by_seed().values()]
        return thresholds.compare(self.sequences, noise, self.config.decision, self.config.run.seed, self.reporter)

    def _arms(self, share: str | None, seed: int) -> list[arms.Arm]:
        if share is None:
            return arms.make_arms(self.sequences, self.judged(seed).removed, self.config.decision, seed)
        noisy = self.noisy("insert-uniform", share, seed)
        removed = self._judge(noisy.sequences, seed).removed
        is_noise = noisy.is_noise[~arms.held_out(noisy.sequences)]
        return arms.make_arms(noisy.sequences, removed, self.config.decision, seed, is_noise)

    def _rank(self, recommender: str, arm: arms.Arm, seed: int) -> arms.Outcome:
        """Train and rank, once for arms of the same rows: where nothing was removed, all are."""
        about = f"{recommender}, {arm.name}, seed {seed}"
        # Neighbours have no seed.
        key = (recommender, None if recommender == "neighbours" else seed, arm.training.digest(), arm.history.digest())
        if key in self._ranked:
            self.reporter.note(f"{about}: the same rows as before")
            return self._ranked[key]
        self.reporter.note(about)
        shown = np.zeros(len(self.sequences.items) + 1, dtype=bool)
        if recommender == "neighbours":
            fitted = ItemNeighbours.fit(arm.training, arm.training.train_lengths(arms.HELD_OUT))
            chunks = fitted.ranks(arm.history, 1, shown=shown)
        else:
            from iadsr_cli.hardware import pick_device
            from iadsr_cli.models.store import load_backbone
            from iadsr_cli.ranking import held_out_ranks

            folder = self.workspace.with_seed(seed).pretrained(arm.training)
            backbone, _, _ = load_backbone(folder, pick_device(self.config.run.device))
            chunks = held_out_ranks(backbone, arm.history, 1, shown=shown)
        found = []
        with self.reporter.stage("rank", int((arm.history.lengths > arms.HELD_OUT).sum()), "users") as stage:
            for users, ranks in chunks:
                found.append((users, ranks))
                stage.advance(len(users))
        users = np.concatenate([users for users, _ in found])
        ranks = np.concatenate([ranks for _, ranks in found])
        self._ranked[key] = arms.Outcome(
            ranks[np.argsort(users)], shown, int(arm.training.train_lengths(arms.HELD_OUT).sum())
        )
        return self._ranked[key]

    def _compared_arms(
        self, recommender: str, noise_name: str | None, outcomes: dict[str, list[arms.Outcome]]
    ) -> dict[str, Any]:
        ranked = self.sequences.lengths >= arms.HELD_OUT + 1
        targets = self.sequences.codes[self.sequences.offsets[1:][ranked] - 1]
        counts = arms.training_part(self.sequences).counts()
        cold = frequency_fifths(counts[1:])[targets - 1] == 0
        functions = {"HR@10": hit_rate, "NDCG@10": ndcg, "MRR@10": reciprocal_rank}
        worth = {
            arm: {
                name: np.mean([function(outcome.ranks, 10) for outcome in runs], axis=0)
                for name, function in functions.items()
            }
            for arm, runs in outcomes.items()
        }
        records: list[dict[str, Any]] = [
            {
                "arm": arm,
                **{name: float(values.mean()) for name, values in by_metric.items()},
                "cold_HR@10": float(by_metric["HR@10"][cold].mean()) if cold.any() else None,
                "training_rows": float(np.mean([run.rows for run in outcomes[arm]])),
                "coverage": float(np.mean([run.shown[1:].mean() for run in outcomes[arm]])),
                "change": None
                if arm == arms.RAW
                else {
                    name: metrics.relative_bootstrap(worth[arms.RAW][name], values, self.config.run.seed)
                    for name, values in by_metric.items()
                },
            }
            for arm, by_metric in worth.items()
        ]
        recovered, withheld = _recovered({record["arm"]: record for record in records})
        return {
            "recommender": recommender,
            "noise": noise_name,
            "seeds": len(self._seeds),
            "users": int(ranked.sum()),
            "cold_users": int(cold.sum()),
            "arms": records,
            "recovered_share": recovered,
            "recovered_share_withheld": withheld,
        }


def _recovered(by_arm: dict[str, dict[str, Any]]) -> tuple[float | None, str | None]:
    """Return the share of what noise costs that cleaning wins back, or why it is withheld; of the log as it is neither.

    A share of a cost that may be none at all says nothing.
    """
    if arms.ORACLE not in by_arm:
        return None, None
    if (by_arm[arms.ORACLE]["change"]["HR@10"]["low"] or 0) <= 0:
        return None, (
            "What share of the loss to noise is recovered is not told, as no loss is shown: "
            "the interval of what the oracle gains is not above zero."
        )
    raw, cleaned, oracle = (by_arm[name]["HR@10"] for name in (arms.RAW, arms.CLEANED_HISTORY, arms.ORACLE))
    return (cleaned - raw) / (oracle - raw), None
