"""`denoise` from end to end: what is missing is made, the rest is found in the cache.

Folders in the cache are named by a hash of all that determines their content, so nothing is made twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.artifacts import Manifest, cached, known_manifest, read_manifest
from iadsr_cli.config import Config, LogSettings
from iadsr_cli.decisions import Decisions, decide
from iadsr_cli.encoders import described, make_encoder
from iadsr_cli.engines.work import Engine
from iadsr_cli.errors import GateError, InputError, UsageError
from iadsr_cli.logs.parts import PartedLog
from iadsr_cli.logs.reader import ItemTexts, Log, read_items, read_log
from iadsr_cli.logs.schema import NONE, candidates
from iadsr_cli.logs.stand_ins import warn_of_stand_ins
from iadsr_cli.logs.ties import Ties
from iadsr_cli.progress import Reporter
from iadsr_cli.protections import find_protections
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences, check_trainable, make_sequences, share_by_fifth
from iadsr_cli.settings import parse_share
from iadsr_cli.stages import (
    Resume,
    align,
    check_device,
    crossfit,
    embed,
    judge,
    load_scores,
    pretrain,
    pretrain_record,
    row_codes,
    rows_digest,
    score,
    texts_digest,
)


@dataclass(frozen=True)
class Workspace:
    """What `denoise` and `evaluate` need of one log, made on first use and kept in the cache.

    Attributes:
        log: the log as read.
        texts: its items' texts.
        config: all settings.
        reporter: told of the progress.
    """

    log: Log
    texts: ItemTexts
    config: Config
    reporter: Reporter

    @cached_property
    def user_ids(self) -> pa.Array:
        """The log's distinct user ids, in order of appearance."""
        return pc.unique(self.log.user_ids()).drop_null()

    def ids_of(self, users: np.ndarray) -> pa.Array:
        """Return the ids of users, given by their numbers in the sequences."""
        first = self.sequences.row_ids[self.sequences.offsets[users]]
        return self.log.user_ids().take(pa.array(first))

    def with_seed(self, seed: int) -> "Workspace":
        """Return the same workspace with another seed; what does not depend on it is not made again."""
        other = replace(self, config=replace(self.config, run=replace(self.config.run, seed=seed)))
        kept = {
            name: made
            for name, made in vars(self).items()
            if isinstance(getattr(type(self), name, None), cached_property)
        }
        vars(other).update(kept)
        return other

    @property
    def users(self) -> int:
        """How many users the log has."""
        return len(self.user_ids)

    @property
    def items(self) -> int:
        """How many items the log has."""
        return len(self.texts.ids)

    @property
    def ties(self) -> Ties:
        """Where the order of the log's rows says nothing."""
        return self.log.ties

    def check_unchanged(self) -> None:
        """Check, before anything is written, that the files are what was read from them.

        Raises:
            InputError: if one is not, or is gone.
        """
        for source in (*self.log.sources, *self.texts.sources):
            source.check_unchanged()

    @cached_property
    def sequences(self) -> Sequences:
        """The log as sequences."""
        log = self.log
        return make_sequences(log.user_ids(), log.item_ids(), log.order(), people=log.people_ids())

    @property
    def trainable(self) -> Sequences:
        """The log as sequences, after checking that they can be learned from."""
        check_trainable(self.sequences, self.log.name)
        return self.sequences

    @cached_property
    def item_texts(self) -> list[str | None]:
        """The text of each item of the sequences, None where there is none; that of code c is at c - 1."""
        return self.texts.of(self.sequences.items)

    @cached_property
    def vectors(self) -> Path | None:
        """The `embed` artifact of the log's items, or None, said aloud, where there is no text at all."""
        return embedded(self.texts, self.config, self.reporter)

    def pretrained(self, sequences: Sequences | None = None) -> Path:
        """Return the `pretrain` artifact of the log, or of other sequences of its items."""
        sequences = sequences or self.sequences
        key = {"log": sequences.digest(), **pretrain_record(self.config)}
        return self._made(
            "pretrain",
            key,
            lambda folder: pretrain(sequences, self.config, folder, self.reporter, Resume.CACHED),
        )

    def aligned(self, sequences: Sequences | None = None) -> Path:
        """Return the `align` artifact of the log, or of other sequences of its items."""
        sequences = sequences or self.sequences
        # Vectors first: an encoder that cannot be had should be known before hours of training.
        vectors, pretrained = self.vectors, self.pretrained(sequences)
        key = {
            "vectors": vectors.name if vectors else None,
            "pretrained": pretrained.name,
            "align": self.config.align.record(),
            "loop": self.config.loop.record(),
            "seed": self.config.run.seed,
        }
        return self._made(
            "align",
            key,
            lambda folder: align(sequences, pretrained, vectors, self.config, folder, self.reporter, Resume.CACHED),
        )

    def scored(self, model: Path | None) -> Path:
        """Return the `scores` artifact: the evidence of every row, by the method of the settings or IADSR's `model`."""
        if model is None and self.config.decision.method == "crossfit":
            vectors = self.vectors
            key = {**crossfit_key(vectors, self.texts, self.config), "log": rows_digest(self.log)}
            return self._made(
                "scores",
                key,
                lambda folder: crossfit(
                    self.log, self.sequences, vectors, self.texts, self.config, folder, self.reporter
                ),
            )
        model = model or self.aligned()
        key = {"model": read_manifest(model, "align").seal, "log": rows_digest(self.log)}
        return self._made("scores", key, lambda folder: score(self.log, model, self.config, folder, self.reporter))

    def judged(self, sequences: Sequences, *, explained: bool) -> Path:
        """Return the `scores` artifact of other sequences of the log's items by the default method.

        Its rows are those of the sequences. Without what `explained` asks for it says nothing of why, and takes a
        hundredth of the room.
        """
        vectors = self.vectors
        key = {**crossfit_key(vectors, self.texts, self.config), "log": sequences.digest(), "explained": explained}
        return self._made(
            "scores",
            key,
            lambda folder: judge(sequences, vectors, self.texts, self.config, folder, self.reporter, explained),
        )

    def _made(self, kind: str, key: dict[str, Any], build: Callable[[Path], Manifest]) -> Path:
        return made(kind, key, build, self.config, self.reporter)


def made(kind: str, key: dict[str, Any], build: Callable[[Path], Manifest], config: Config, reporter: Reporter) -> Path:
    """Return the artifact of a kind and key in the cache, built where it is missing."""
    return cached(config.run.cache, kind, key, build, reporter)


def embedded(texts: ItemTexts, config: Config, reporter: Reporter, engine: Engine | None = None) -> Path | None:
    """Return the `embed` artifact of some items, or None, said aloud, where there is no text at all."""
    if not config.encoder.encoder.startswith("vectors:") and not any(texts.texts):
        reporter.warn(
            "No item has a text: rows are judged on collaboration alone, which finds less. "
            "Name a column with --text-column, join one with --items, or bring --encoder vectors:FILE."
        )
        return None
    identity = make_encoder(config.encoder, config.run.device).identity
    reporter.note(f"encoder: {described(config.encoder, identity)}")
    key = {"encoder": identity, "items": texts_digest(texts)}
    return made("embed", key, lambda folder: embed(texts, config, folder, reporter, engine), config, reporter)


def crossfit_key(vectors: Path | None, texts: ItemTexts, config: Config) -> dict[str, Any]:
    """Return what scores of the method crossfit depend on, the log aside."""
    return {
        "method": "crossfit",
        "vectors": vectors.name if vectors else None,
        "texts": texts_digest(texts),
        "seed": config.run.seed,
        "judges": config.decision.judges,
    }


@dataclass(frozen=True)
class Denoised:
    """The outcome of `denoise`: evidence, decisions and what they amount to.

    `refusal` says that more would go than the user allows, so that nothing may be written; None where it may. `inputs`
    are the digests of what the scores were made from.
    """

    scores: Scores
    inputs: dict[str, str]
    decisions: Decisions
    summary: dict[str, Any]
    refusal: GateError | None = None

    @property
    def cutoff(self) -> float | None:
        """The noise score above which rows were to go, or None under a budget."""
        return self.decisions.cutoff

    @property
    def wishes(self) -> tuple[str, ...]:
        """What rows were protected with, as it was typed."""
        return self.decisions.protections.names if self.decisions.protections else ()


def open_texts(source: str, config: Config, reporter: Reporter) -> ItemTexts:
    """Read item texts alone, from an items file or a log."""
    check_device(config)
    with reporter.stage("read", None, "items") as stage:
        texts = read_items(source, config.log, joined=False)
        stage.advance(len(texts.ids))
    _tell_of(texts, reporter)
    return texts


def _some(ids: list[str]) -> str:
    return " and ".join(f'"{each}"' for each in ids[:2]) or "none"


def _tell_of(texts: ItemTexts, reporter: Reporter) -> None:
    for warning in texts.warnings:
        reporter.warn(warning)
    if texts.rejected:
        reporter.warn(f"Not used as item text: {texts.rejected}.")
    if texts.conflicting:
        reporter.note(f"{texts.conflicting:,} items have several different texts; the first one is taken.")


def open_log(source: str, items: str | None, config: Config, reporter: Reporter) -> Workspace:
    """Read a log and its items' texts, and check what can be checked before any training."""
    check_device(config)
    with reporter.stage("read", None, "rows") as stage:
        with log_settings(items, config) as settings:
            log = read_log(source, settings)
        texts = log.item_texts()
        stage.advance(log.num_rows)
    warn_of_stand_ins(log.stand_ins, log.num_rows, reporter)
    log.ties.tell(log.roles.time, reporter)
    for warning in log.warnings:
        reporter.warn(warning)
    return Workspace(log, joined_texts(texts, items, log, config, reporter), config, reporter)


@contextmanager
def log_settings(items: str | None, config: Config) -> Iterator[LogSettings]:
    """Tell how a log is read: beside an items file without texts, as the text columns are those of the file.

    The error of a log without the column of --item-column says how to name that of the file, if there is one.
    """
    try:
        yield config.log if items is None else replace(config.log, text_column=(NONE,))
    except UsageError as error:
        if items is not None and error.message.startswith(f'Column "{config.log.item_column}" not found'):
            error.hint += " If it is a column of the --items file alone, name it with --items-item-column."
        raise


def joined_texts(
    own: ItemTexts, items: str | None, log: Log | PartedLog, config: Config, reporter: Reporter
) -> ItemTexts:
    """Return the texts of a log's items, and say what is odd about them.

    Args:
        own: all items of the log, with the texts that it has itself.
        items: the file with their texts, or None.
        log: the log.
        config: the settings.
        reporter: of the run.

    Raises:
        InputError: the items file cannot be used, or has a text for none of the log's items.
        UsageError: its columns cannot be told.
    """
    texts = own if items is None else read_items(items, config.items.of(config.log), log.roles.item)
    _tell_of(texts, reporter)
    if items is None:
        return own
    # The log's items and no others: a catalogue may be much larger, and an item may be missing from it.
    joined = replace(texts, ids=own.ids, texts=texts.of(pa.array(own.ids, pa.large_string())))
    if not any(joined.texts):
        raise InputError(
            f"None of the log's {len(own.ids):,} items has a text in {items}: its ids are such as {_some(texts.ids)}, "
            f"and the log's such as {_some(own.ids)}.",
            "Name the right columns with --item-column, --items-item-column and --text-column, or write ids as the log "
            "does.",
        )
    _warn_of_few(own.ids, texts.ids, items, reporter)
    lacking, unread = sum(not text for text in joined.texts), candidates("text", log.column_names)
    if lacking and unread:
        reporter.note(
            f"{lacking:,} of the log's {len(own.ids):,} items have no text in {items}, which alone is read for texts, "
            f'not column "{unread[0]}" of the log.'
        )
    return joined


def _warn_of_few(ours: list[str], theirs: list[str], items: str, reporter: Reporter) -> None:
    """Warn where fewer than half of a log's items are in the items file: its ids may be others by the same name.

    How many have a text says nothing of that: a catalogue with the right ids may have few texts.
    """
    there = {*theirs}
    lacking = [item for item in ours if item not in there]
    if 2 * len(lacking) <= len(ours):
        return
    known = {*ours}
    other = [item for item in theirs if item not in known]
    alone = f"; items that are in it alone are such as {_some(other)}" if other else ""
    reporter.warn(
        f"Only {len(ours) - len(lacking):,} of the log's {len(ours):,} items are in {items}, and none such as "
        f"{_some(lacking)}{alone}. If its ids are others than the log's, texts are those of wrong items: name the "
        "right columns with --item-column and --items-item-column, or write ids as the log does. Rows of items without "
        "a text are judged on behaviour alone."
    )


def denoise(workspace: Workspace, model: Path | None) -> Denoised:
    """Score every row of a log and decide on it; nothing is written but to the cache.

    Raises:
        InputError: if the log, or the file of its items' texts, was changed meanwhile.
    """
    log, config = workspace.log, workspace.config
    if model is None:
        _ = workspace.trainable  # a log that cannot be learned from is refused before anything is embedded
    protections = find_protections(log, workspace.sequences, config.protection, workspace.reporter)
    scored = workspace.scored(model)
    scores = load_scores(scored)
    warn_of_no_fit(scores.shares, workspace.reporter)
    users, items = row_codes(log.user_ids()), row_codes(log.item_ids())
    noise = np.where(protections.judged, scores.noise, np.nan)
    decisions = decide(noise, users, items, config.decision, protections.protected)
    decisions = replace(decisions, protections=protections)
    workspace.check_unchanged()
    refusal = gate(int((~decisions.keep).sum()), log.num_rows, config)
    summary = {**_summary(users, items, scores, decisions, protections.judged), "refused": refusal and refusal.message}
    return Denoised(scores, known_manifest(scored).inputs, decisions, summary, refusal)


def gate(removed: int, rows: int, config: Config) -> GateError | None:
    """Return the error of removing more of a log's rows than --max-removed allows, or None."""
    most = config.protection.max_removed
    if most is None or removed <= parse_share(most, "--max-removed") * rows + 1e-9:
        return None
    rule = "a higher --threshold" if config.decision.budget is None else "a smaller --budget"
    return GateError(
        f"{removed:,} of {rows:,} rows ({removed / rows:.1%}) would be removed, more than --max-removed {most}: "
        "nothing was written.",
        f"Remove less with {rule}, or allow more with --max-removed.",
    )


def noise_shares(shares: dict[str, float] | None) -> dict[str, Any]:
    """Return the part of the summary that says how much noise of each kind there is; None where it is not estimated."""
    return {
        "estimated_noise_share": round(sum(shares.values()), 6) if shares else None,
        "estimated_noise_share_by_kind": {kind: round(share, 6) for kind, share in shares.items()} if shares else None,
    }


NO_FIT = (
    "The rows of this log fit their users hardly better than items drawn at random, so nothing can be told of any of "
    "them: are the user and the item column the right ones?"
)


def warn_of_no_fit(shares: dict[str, float] | None, reporter: Reporter) -> None:
    """Warn where the default method could tell nothing of a log: see `Scores.shares`."""
    if shares == {}:
        reporter.warn(NO_FIT)


def _summary(
    users: np.ndarray, items: np.ndarray, scores: Scores, decisions: Decisions, judged: np.ndarray
) -> dict[str, Any]:
    removed = ~decisions.keep
    unscored = np.isnan(scores.noise)
    highest = scores.noise[judged & ~unscored]
    groups = {
        "kept": decisions.keep,
        "removed": removed,
        "protected": decisions.protected,
        "unscored": unscored,
        "unjudged": ~judged,
    }
    return {
        "rows": len(users),
        "users": _distinct(users),
        "items": _distinct(items),
        **{name: int(chosen.sum()) for name, chosen in groups.items()},
        "users_by_decision": {name: _distinct(users[chosen]) for name, chosen in groups.items()},
        "users_removed_whole": len(np.setdiff1d(users[removed], users[decisions.keep])),
        "items_by_decision": {name: _distinct(items[chosen]) for name, chosen in groups.items()},
        **noise_shares(scores.shares),
        "highest_score": round(float(highest.max()), 6) if len(highest) else None,
        "removed_share_by_item_frequency_fifth": _removed_by_fifth(removed, items),
    }


def _distinct(codes: np.ndarray) -> int:
    return len(np.unique(codes[codes >= 0]))


def _removed_by_fifth(removed: np.ndarray, items: np.ndarray) -> list[float]:
    rows = np.bincount(items[items >= 0])
    return share_by_fifth(rows, np.bincount(items[removed & (items >= 0)], minlength=len(rows)))
