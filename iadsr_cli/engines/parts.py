"""`denoise` for logs that do not fit into memory: split by user, judge bucket by bucket, give back part by part.

Memory is that of the model, of the log's item ids, of one bucket and of one batch of rows, whatever the number of rows.
Every bucket that has been judged stays on disk until the output is whole, so that an interrupted run goes on.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.artifacts import digest, file_digest
from iadsr_cli.config import Config, parse_share
from iadsr_cli.crossfit import Judge
from iadsr_cli.decisions import within_limits
from iadsr_cli.encoders.folder import load_vectors
from iadsr_cli.engines import buckets
from iadsr_cli.errors import GateError, UsageError
from iadsr_cli.evidence import Scores, Status
from iadsr_cli.explanations import Whys, reasons, verdict_of, whys
from iadsr_cli.logs.parts import PartedLog, memory_needed, writing
from iadsr_cli.logs.reader import ItemTexts, read_items
from iadsr_cli.logs.source import Source
from iadsr_cli.logs.tables import filtered
from iadsr_cli.outputs import ANNOTATED, EXTRA, REMOVED, OutputPlan
from iadsr_cli.pipeline import crossfit_key, embedded, gate, made
from iadsr_cli.progress import Reporter, Silent
from iadsr_cli.protections import last_of_users, protected_by, wishes
from iadsr_cli.sequences import check_shared, check_trainable, frequency_fifths, in_sequence
from iadsr_cli.stages import check_device, vectors_by_code

_MISSING = {"noise": np.nan, "allowed": False, "status": Status.NO_ID, "by": -1, "judged": True}
_WHY = {"said_0": -1, "said_1": -1, "below_0": np.nan, "below_1": np.nan, "value": np.nan}
# Users of so many buckets teach the default method: about two million rows.
_TEACHING_BUCKETS = 2


@dataclass(frozen=True)
class DenoisedParts:
    """The outcome: see `pipeline.Denoised`.

    Attributes:
        summary: what the decisions amount to.
        cutoff: the noise score above which rows were to go, or None under a budget.
        wishes: what rows were protected with, as it was typed.
        refusal: why nothing was written, or None.
    """

    summary: dict[str, Any]
    cutoff: float | None
    wishes: tuple[str, ...]
    refusal: GateError | None


class Scorer(Protocol):
    """What judges the buckets of one log."""

    def key(self) -> dict[str, Any]:
        """Return what the scores depend on, the log aside."""

    def prepare(self, split: buckets.Split) -> None:
        """Do what has to be done before the first bucket is judged."""

    def judge(self, number: int, bucket: buckets.Bucket) -> Scores:
        """Return the evidence of a bucket's rows."""

    @property
    def shares(self) -> dict[str, float] | None:
        """The estimated share of each kind of noise, where the method estimates it."""


class ModelScorer:
    """IADSR as published, by the model of an `align` artifact."""

    def __init__(self, model: Path, config: Config) -> None:
        """Load the model.

        Raises:
            ArtifactError: if the folder is not such an artifact.
        """
        from iadsr_cli import training
        from iadsr_cli.models.store import load_aligned

        self._name = str(model)
        self._model, self._vocabulary, self._source = load_aligned(model, training.pick_device(config.run.device))
        self._codes = np.zeros(0, dtype=np.int64)

    def key(self) -> dict[str, Any]:
        """Return the digest of the model."""
        return {"model": digest(self._source.outputs)}

    def prepare(self, split: buckets.Split) -> None:
        """Find the log's items in the model's vocabulary.

        Raises:
            ArtifactError: if it knows none of them.
        """
        places = pc.index_in(split.items, value_set=self._vocabulary.items)
        self._codes = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        known = np.flatnonzero(self._codes)
        one_each = in_sequence(np.zeros(len(known), np.int64), self._codes[known], known, None, self._vocabulary.items)
        check_shared(one_each, split.name, self._name)

    def judge(self, number: int, bucket: buckets.Bucket) -> Scores:
        """Return the evidence of a bucket's rows; those of unknown items have none."""
        from iadsr_cli.evidence import score_rows

        codes = np.where(bucket.items < 0, 0, self._codes[bucket.items])
        known = np.flatnonzero(codes)
        order = None if bucket.order is None else bucket.order[known]
        sequences = in_sequence(bucket.users[known], codes[known], known, order, self._vocabulary.items)
        return score_rows(self._model, self._vocabulary.trained, sequences, bucket.items >= 0, Silent())

    @property
    def shares(self) -> None:
        """Nothing: the method estimates none."""


class CrossfitScorer:
    """The default method: the users of the first buckets are judged by each other and teach how to judge the others."""

    def __init__(self, texts: ItemTexts, config: Config, reporter: Reporter) -> None:
        """Embed the items' texts, if there are any."""
        self._texts, self._config, self._reporter = texts, config, reporter
        self._vectors = embedded(texts, config, reporter)
        self._taught: list[Scores] = []
        self._judge: Judge | None = None
        self._items = pa.array([], pa.large_string())

    def key(self) -> dict[str, Any]:
        """Return what is learned from, and how."""
        return {**crossfit_key(self._vectors, self._texts, self._config), "buckets": _TEACHING_BUCKETS}

    def prepare(self, split: buckets.Split) -> None:
        """Learn from the first buckets.

        Raises:
            InputError: if nothing can be learned from their users.
        """
        self._items = split.items
        teaching = [split.bucket(number) for number in range(min(_TEACHING_BUCKETS, split.count))]
        together = buckets.joined(teaching)
        sequences = together.sequences(self._items)
        check_trainable(sequences, split.name)
        matrix, _ = vectors_by_code(self._items, load_vectors(self._vectors) if self._vectors else None)
        by_id = dict(zip(self._texts.ids, self._texts.texts, strict=True))
        texts = [by_id.get(item) for item in self._items.to_pylist()]
        self._judge = Judge(sequences, matrix, texts, self._config.run.seed, self._reporter)
        scores = self._judge.scores().by_row(sequences.row_ids, together.items >= 0)
        ends = np.cumsum([0, *(len(bucket.rows) for bucket in teaching)])
        self._taught = [scores.take(np.arange(first, end)) for first, end in pairwise(ends.tolist())]

    def judge(self, number: int, bucket: buckets.Bucket) -> Scores:
        """Return the evidence of a bucket's rows."""
        assert self._judge is not None
        if number < len(self._taught):
            return self._taught[number]
        sequences = bucket.sequences(self._items)
        return self._judge.others(sequences).by_row(sequences.row_ids, bucket.items >= 0)

    @property
    def shares(self) -> dict[str, float] | None:
        """The estimated share of each kind of noise."""
        return self._judge.shares if self._judge else None


@dataclass(frozen=True)
class _Rule:
    """Which of the rows that may go do: those above `cutoff`, and at it those up to row `last`.

    A row that may not go is protected if it scores above `least`, as some row does that goes.
    """

    cutoff: float
    last: int
    least: float

    def removed(self, found: dict[str, np.ndarray]) -> np.ndarray:
        return self.reached(found) & found["allowed"]

    def protected(self, found: dict[str, np.ndarray]) -> np.ndarray:
        return (found["noise"] > self.least) & ~found["allowed"] & found["judged"]

    def reached(self, found: dict[str, np.ndarray]) -> np.ndarray:
        return (found["noise"] > self.cutoff) | ((found["noise"] == self.cutoff) & (found["row"] <= self.last))


def chosen(source: str, model: Path | None, config: Config) -> bool:
    """Return whether a log is to be cleaned in parts: as the settings say, else where it would fill half the memory."""
    if config.run.in_parts != "auto" or source == "-" or not source.endswith((".parquet", ".pq")):
        return config.run.in_parts == "always"
    if config.log.format not in {"auto", "parquet"} or not Path(source).is_file():
        return False
    if model is None and config.decision.method != "crossfit":
        return False
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return memory_needed(source) > memory / 2


def run(
    source: str, items: str | None, model: Path | None, plan: OutputPlan, config: Config, reporter: Reporter
) -> DenoisedParts:
    """Clean a log in parts, from opening it to its outputs."""
    check_device(config)
    log = PartedLog.open(source, config.log)
    plan.check_parts(log)
    if model is None and config.decision.method != "crossfit":
        raise UsageError(
            f"--method {config.decision.method} trains on the whole log, which is not done in parts.",
            "Train on a part of it with pretrain and align, and pass the folder as --model.",
        )
    scorer: Scorer
    if model is not None:
        scorer = ModelScorer(model, config)
    else:
        texts = log.item_texts(reporter) if items is None else read_items(items, config.log)
        scorer = CrossfitScorer(texts, config, reporter)
    return denoise(log, scorer, plan, config, reporter)


def denoise(log: PartedLog, scorer: Scorer, plan: OutputPlan, config: Config, reporter: Reporter) -> DenoisedParts:
    """Score every row of a log, decide on it and write the outputs.

    What is reached on the way is kept in the cache until the outputs are written.
    """
    state = log.path.stat()
    source = Source(log.name, state.st_size, state.st_mtime_ns, file_digest(log.path))
    content, count = source.sha256, buckets.count(log.num_rows)
    split_key = {
        "log": content,
        "roles": [log.roles.user, log.roles.item, log.roles.time],
        "null_ids": [log.settings.null_ids, *log.settings.missing],
        "buckets": count,
        "protection": [config.protection.protect, config.protection.event_column, config.protection.events],
    }
    folder = made(
        "buckets",
        split_key,
        lambda draft: buckets.split(log, config.protection, count, {"log": content}, draft, reporter),
        config,
        reporter,
    )
    split = buckets.Split(folder, log.name, count)
    decision = [config.decision.record(), config.protection.protect_last]
    judged_key = {"split": split_key, "scorer": scorer.key(), "decision": decision}
    judged = folder.with_name(f"judged-{digest(judged_key)[:32]}")
    judged.mkdir(exist_ok=True)
    files = [buckets.path(judged, number) for number in range(count)]
    explained = plan.removed is not None or plan.annotate
    scorer.prepare(split)
    with reporter.stage("score", log.num_rows, "rows") as stage:
        for number, file in enumerate(files):
            bucket = split.bucket(number)
            if not file.exists():
                found = _judged(bucket, split.items, scorer.judge(number, bucket), config, explained)
                buckets.write_found(file, found, log.num_rows)
            stage.advance(len(bucket.rows))
    rule = _rule(files, log.num_rows, config)
    shares = scorer.shares
    summary = {
        **_summary(files, rule, log.num_rows, split),
        "estimated_noise_share": None if shares is None else round(sum(shares.values()), 6),
        "estimated_noise_share_by_kind": shares and {kind: round(share, 6) for kind, share in shares.items()},
    }
    refusal = gate(summary["removed"], log.num_rows, config)
    summary["refused"] = refusal and refusal.message
    source.check_unchanged()
    if refusal is None:
        _write(log, files, rule, plan, config, reporter)
        shutil.rmtree(judged)
        shutil.rmtree(folder)
    cutoff = config.decision.threshold if config.decision.budget is None else None
    return DenoisedParts(summary, cutoff, wishes(config.protection), refusal)


def _judged(
    bucket: buckets.Bucket, items: pa.Array, scores: Scores, config: Config, explained: bool
) -> dict[str, np.ndarray]:
    """Return what is found about a bucket's rows, by column; `items` are all items of the log."""
    last = None
    if config.protection.protect_last:
        sequences = bucket.sequences(items)
        last = np.zeros(len(bucket.rows), dtype=bool)
        last[sequences.row_ids[last_of_users(sequences, config.protection)]] = True
    by = protected_by(len(bucket.rows), last, None if config.protection.protect is None else bucket.held)
    may_go = ~np.isnan(scores.noise) & (by < 0) & bucket.judged
    found = {
        "row": bucket.rows,
        "user": bucket.users.astype(np.int32),
        "item": bucket.items.astype(np.int32),
        "noise": scores.noise,
        "allowed": within_limits(scores.noise, bucket.users, may_go, config.decision),
        "status": scores.status,
        "by": by,
        "judged": bucket.judged,
    }
    if explained:
        # A bucket's users are a random choice: what is lowest among its rows is so in the log.
        rows = np.flatnonzero(scores.status == Status.SCORED)
        why = whys(scores, rows)
        values = (*why.said.T, *why.below.T, why.value)
        for (name, missing), value in zip(_WHY.items(), values, strict=True):
            found[name] = np.full(len(bucket.rows), missing, value.dtype)
            found[name][rows] = value
    return found


def _rule(files: list[Path], rows: int, config: Config) -> _Rule:
    """Return the rule of the settings; a budget takes the highest scores of rows that may go, earlier rows first."""
    if config.decision.budget is None:
        return _Rule(config.decision.threshold, -1, config.decision.threshold)
    size = int(np.floor(parse_share(config.decision.budget, "--budget") * rows + 1e-9))

    def allowed() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for file in files:
            for found in buckets.read_found(file):
                yield found["noise"][found["allowed"]], found["row"][found["allowed"]]

    # The bits of floats that are not negative are in their order: the cutoff is found half by half.
    bits, above = 0, 0
    for shift, mask in ((16, 0), (0, 0xFFFF0000)):
        tally = np.zeros(1 << 16, dtype=np.int64)
        for noise, _ in allowed():
            keys = noise.view(np.uint32)
            tally += np.bincount((keys[(keys & mask) == bits] >> shift) & 0xFFFF, minlength=1 << 16)
        from_top = above + np.cumsum(tally[::-1])
        place = int(np.searchsorted(from_top, size))
        if place == 1 << 16:
            # All that may go, go.
            return _Rule(-1.0, -1, min((float(noise.min(initial=np.inf)) for noise, _ in allowed()), default=np.inf))
        above = int(from_top[place - 1]) if place else above
        bits |= (0xFFFF - place) << shift
    cutoff = float(np.uint32(bits).view(np.float32))
    ties = np.concatenate([part[noise == np.float32(cutoff)] for noise, part in allowed()])
    wanted = size - above
    return _Rule(cutoff, int(np.partition(ties, wanted - 1)[wanted - 1]) if wanted else -1, cutoff)


def _summary(files: list[Path], rule: _Rule, rows: int, split: buckets.Split) -> dict[str, Any]:
    names, item_rows = ("kept", "removed", "protected", "unscored", "unjudged"), split.item_rows
    counted = dict.fromkeys(names, 0)
    users, users_in_all = dict.fromkeys(names, 0), 0
    items = {name: np.zeros(len(item_rows), dtype=bool) for name in names}
    gone = np.zeros(len(item_rows), dtype=np.int64)
    highest, in_buckets = -np.inf, 0
    for file in files:
        seen = {name: np.zeros(0, dtype=bool) for name in names}
        for found in buckets.read_found(file):
            removed, unscored = rule.removed(found), np.isnan(found["noise"])
            groups = {
                "kept": ~removed,
                "removed": removed,
                "protected": rule.protected(found),
                "unscored": unscored,
                "unjudged": ~found["judged"],
            }
            for name, chosen in groups.items():
                counted[name] += int(chosen.sum())
                items[name][found["item"][chosen & (found["item"] >= 0)]] = True
                seen[name] = _marked(seen[name], found["user"], chosen)
            gone += np.bincount(found["item"][removed], minlength=len(gone))
            highest = max(highest, float(np.nanmax(found["noise"][found["judged"]], initial=-np.inf)))
            in_buckets += len(removed)
        users_in_all += int((seen["kept"] | seen["removed"]).sum())
        for name in names:
            users[name] += int(seen[name].sum())
    for name in ("kept", "unscored"):
        counted[name] += rows - in_buckets  # rows without a user
        items[name] |= split.userless > 0
    counted["unjudged"] += split.unjudged_alone
    fifth = frequency_fifths(item_rows)
    total = np.bincount(fifth, weights=item_rows, minlength=5)
    return {
        "rows": rows,
        "users": users_in_all,
        "items": len(item_rows),
        **counted,
        "users_by_decision": users,
        "items_by_decision": {name: int(chosen.sum()) for name, chosen in items.items()},
        "highest_score": None if highest == -np.inf else round(highest, 6),
        "removed_share_by_item_frequency_fifth": (
            np.bincount(fifth, weights=gone, minlength=5) / np.maximum(total, 1)
        ).tolist(),
    }


def _marked(seen: np.ndarray, users: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return which users are among the seen or the chosen ones, bool [U], as long as needed."""
    grown = np.zeros(max(len(seen), int(users.max(initial=-1)) + 1), dtype=bool)
    grown[: len(seen)] = seen
    grown[users[chosen]] = True
    return grown


def _write(
    log: PartedLog, files: list[Path], rule: _Rule, plan: OutputPlan, config: Config, reporter: Reporter
) -> None:
    if not plan.written:
        return
    explained = plan.removed is not None or plan.annotate
    decided = buckets.Found(files, {**_MISSING, **(_WHY if explained else {})})
    with ExitStack() as stack, reporter.stage("write", log.num_rows, "rows") as stage:

        def opened(target: str, names: tuple[str, ...], format: str) -> Callable[[pa.Table], None]:
            extra = {name: EXTRA[name] for name in names}
            return stack.enter_context(writing(log, target, extra, plan.force, format))

        output = plan.output and opened(plan.output, ANNOTATED if plan.annotate else (), plan.format)
        removed = plan.removed and opened(plan.removed, REMOVED, "auto")
        for first, table in log.groups():
            found = decided.rows(first, first + table.num_rows)
            found["row"] = np.arange(first, first + table.num_rows)
            keep = ~rule.removed(found)
            if explained:
                reason = _reasons(found, keep, rule, wishes(config.protection))
                noise = pa.array(found["noise"], mask=np.isnan(found["noise"]))
                all_columns = {"noise_score": noise, "keep": pa.array(keep), "reason": reason}
            if removed:
                removed(filtered(_with(table, all_columns, REMOVED), ~keep))
            if output and plan.annotate:
                output(_with(table, all_columns, ANNOTATED))
            elif output and keep.any():
                output(filtered(table, keep))
            stage.advance(table.num_rows)


def _with(table: pa.Table, columns: dict[str, pa.Array], names: tuple[str, ...]) -> pa.Table:
    for name in names:
        table = table.append_column(name, columns[name])
    return table


def _reasons(found: dict[str, np.ndarray], keep: np.ndarray, rule: _Rule, names: tuple[str, ...]) -> pa.Array:
    told = np.flatnonzero(~keep | rule.protected(found))
    why = Whys(
        np.stack([found["said_0"][told], found["said_1"][told]], axis=1),
        np.stack([found["below_0"][told], found["below_1"][told]], axis=1),
        found["value"][told],
    )
    verdicts = ["removed" if not keep[row] else verdict_of(names, found["by"][row]) for row in told]
    return pa.array(reasons(found["status"], found["judged"], told, verdicts, why), pa.string())
