"""The stages, each from artifacts to an artifact, and `denoise` from end to end: what is missing is made.

Every stage takes what it needs, writes one folder and returns nothing but its manifest; the commands call them one by
one, `Workspace` calls them with folders in the cache whose names are hashes of all that determines their content.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.artifacts import Manifest, cached, digest, read_manifest, write_artifact
from iadsr_cli.config import FORMATS, Config
from iadsr_cli.decisions import Decisions, decide, explain
from iadsr_cli.encoders import ItemVectors, embed_items, make_encoder
from iadsr_cli.encoders.contract import text_hash
from iadsr_cli.encoders.folder import load_vectors, save_vectors
from iadsr_cli.errors import ArtifactError, InputError, OutputError, UsageError, closest
from iadsr_cli.evidence import Scores, score_rows
from iadsr_cli.logs.reader import ItemTexts, Log, read_items, read_log
from iadsr_cli.logs.writer import check_rows, check_target, write_rows
from iadsr_cli.progress import Reporter
from iadsr_cli.sequences import Sequences, check_shared, check_trainable, make_sequences

if TYPE_CHECKING:
    from iadsr_cli.checkpoints import Checkpoint

REMOVED = ("noise_score", "reason")
ANNOTATED = ("noise_score", "keep", "reason")


class Resume(Enum):
    """Whether a stage goes on from the checkpoint that an interrupted run left beside its folder."""

    NO = "no"
    ASKED = "asked"  # a checkpoint of another run is an error
    CACHED = "cached"  # the folder's name says which run it is: whatever cannot be used is passed over

    @classmethod
    def of(cls, asked: bool) -> "Resume":
        """Return what a command's --resume means."""
        return cls.ASKED if asked else cls.NO


def embed(texts: ItemTexts, config: Config, folder: Path, reporter: Reporter) -> Manifest:
    """Write the `embed` artifact: one semantic vector per item."""
    vectors = embed_items(
        texts.ids,
        texts.texts,
        config.encoder,
        device=config.run.device,
        cache_dir=cache_folder(config),
        reporter=reporter,
    )
    return write_artifact(
        folder,
        "embed",
        lambda draft: save_vectors(draft, vectors),
        config={"encoder": vectors.encoder},
        inputs={"items": _texts_digest(texts)},
        facts={"items": len(vectors.ids), "with_vector": int(vectors.known.sum())},
    )


def pretrain(
    sequences: Sequences, config: Config, folder: Path, reporter: Reporter, resume: Resume = Resume.NO
) -> Manifest:
    """Write the `pretrain` artifact: a sequential recommender of the log."""
    from iadsr_cli import training
    from iadsr_cli.models.store import Vocabulary, save_model

    inputs = {"log": sequences.digest()}
    checkpoint = _checkpoint(folder, {**inputs, **_pretrain_record(config)}, resume)
    backbone, history = training.pretrain(sequences, config, reporter, checkpoint)
    ends = sequences.train_lengths(config.pretrain.hold_out)
    vocabulary = Vocabulary(sequences.items, sequences.counts(ends))
    manifest = write_artifact(
        folder,
        "pretrain",
        lambda draft: save_model(draft, backbone, vocabulary, history),
        config=_pretrain_record(config),
        inputs=inputs,
        facts={"items": len(sequences.items), "epochs": len(history)},
    )
    checkpoint.clear()
    return manifest


def align(
    sequences: Sequences,
    pretrained: Path,
    vectors: Path | None,
    config: Config,
    folder: Path,
    reporter: Reporter,
    resume: Resume = Resume.NO,
) -> Manifest:
    """Write the `align` artifact from a pretrained recommender and item vectors (None: collaboration alone).

    Raises:
        ArtifactError: if a folder is not the artifact it should be, or the recommender is of another log.
    """
    from iadsr_cli import training
    from iadsr_cli.models.store import load_backbone, save_model

    device = training.pick_device(config.run.device)
    backbone, vocabulary, source = load_backbone(pretrained, device)
    check_same_log(source, sequences, pretrained)
    matrix, known = _vectors_by_code(vocabulary.items, load_vectors(vectors) if vectors else None)
    if vectors and not known.any():
        raise ArtifactError(
            f"{vectors} has a vector for none of the log's {len(vocabulary.items):,} items.",
            "Give the vectors of this log's items, or name the right column with --item-column.",
        )
    inputs = {"log": sequences.digest(), "pretrain": source.outputs["weights.safetensors"]}
    if vectors:
        inputs["embed"] = read_manifest(vectors, "embed").outputs["vectors.safetensors"]
    settings = {**source.config, "align": config.align.record(), "align_loop": config.loop.record()}
    settings["align_seed"] = config.run.seed
    checkpoint = _checkpoint(folder, {**inputs, **settings}, resume)
    hold_out = source.config["pretrain"]["hold_out"]
    model, history = training.align(sequences, backbone, matrix, known, hold_out, config, reporter, checkpoint)
    manifest = write_artifact(
        folder,
        "align",
        lambda draft: save_model(draft, model, vocabulary, history),
        config=settings,
        inputs=inputs,
        facts={
            "items": len(vocabulary.items),
            "with_vector": int(known.sum()),
            "semantic_size": matrix.shape[1],
            "epochs": len(history),
        },
    )
    checkpoint.clear()
    return manifest


def score(log: Log, model: Path, config: Config, folder: Path, reporter: Reporter) -> Manifest:
    """Write the `scores` artifact: the evidence of every row of `log` by an align artifact."""
    from safetensors.numpy import save_file

    from iadsr_cli import training
    from iadsr_cli.models.store import load_aligned

    device = training.pick_device(config.run.device)
    aligned, vocabulary, source = load_aligned(model, device)
    sequences = make_sequences(log.user_ids(), log.item_ids(), log.order(), vocabulary.items)
    check_shared(sequences, log.name, str(model))
    has_ids = pc.and_(pc.is_valid(log.user_ids()), pc.is_valid(log.item_ids()))
    scores = score_rows(aligned, vocabulary.trained, sequences, has_ids.to_numpy(zero_copy_only=False), reporter)
    return write_artifact(
        folder,
        "scores",
        lambda draft: save_file(
            {"noise": scores.noise, "terms": scores.terms, "status": scores.status},
            draft / "scores.safetensors",
        ),
        config={},
        inputs={"align": source.outputs["weights.safetensors"], "log": _rows_digest(log)},
        facts={"rows": log.num_rows},
    )


def load_scores(folder: Path) -> Scores:
    """Return what a `scores` artifact holds."""
    from safetensors.numpy import load_file

    read_manifest(folder, "scores")
    return Scores(**load_file(folder / "scores.safetensors"))


def _checkpoint(folder: Path, run: dict[str, Any], resume: Resume) -> "Checkpoint":
    """Return the checkpoint of the run that makes `folder`, a hidden file beside it; empty unless resumed."""
    from iadsr_cli.checkpoints import Checkpoint

    path = folder.absolute().with_name(f".{folder.name}.checkpoint")
    checkpoint = Checkpoint(path, digest(run), strict=resume is Resume.ASKED)
    if resume is Resume.NO:
        checkpoint.clear()
    return checkpoint


def check_same_log(manifest: Manifest, sequences: Sequences, folder: Path) -> None:
    """Check that a model was trained on these very sequences: only then is what it held out known.

    Raises:
        ArtifactError: if it was not.
    """
    if manifest.inputs["log"] != sequences.digest():
        raise ArtifactError(
            f"The model in {folder} was made from another log, or this one has changed since.",
            "Make it again from this log, with the same column options.",
        )


def cache_folder(config: Config) -> Path:
    """Return the cache folder: `--cache-dir`, else the platform's user cache."""
    if config.run.cache_dir is not None:
        return Path(config.run.cache_dir)
    from platformdirs import user_cache_path

    return user_cache_path("iadsr", appauthor=False)


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

    @property
    def users(self) -> int:
        """How many users the log has."""
        return len(self.user_ids)

    @property
    def items(self) -> int:
        """How many items the log has."""
        return len(self.texts.ids)

    @cached_property
    def sequences(self) -> Sequences:
        """The log as sequences, after checking that they can be learned from."""
        sequences = make_sequences(self.log.user_ids(), self.log.item_ids(), self.log.order())
        check_trainable(sequences, self.log.name)
        return sequences

    def vectors(self) -> Path | None:
        """Return the `embed` artifact of the log's items, or None, said aloud, where there is no text at all."""
        encoder = self.config.encoder.encoder
        if not encoder.startswith("vectors:") and not any(self.texts.texts):
            self.reporter.warn(
                "No item has a text: rows are judged on collaboration alone, which finds less. "
                "Name a column with --text-column, join one with --items, or bring --encoder vectors:FILE."
            )
            return None
        identity = make_encoder(self.config.encoder, self.config.run.device).identity
        key = {"encoder": identity, "items": _texts_digest(self.texts)}
        return self._made("embed", key, lambda folder: embed(self.texts, self.config, folder, self.reporter))

    def pretrained(self) -> Path:
        """Return the `pretrain` artifact of the log."""
        key = {"log": self.sequences.digest(), **_pretrain_record(self.config)}
        return self._made(
            "pretrain",
            key,
            lambda folder: pretrain(self.sequences, self.config, folder, self.reporter, Resume.CACHED),
        )

    def aligned(self) -> Path:
        """Return the `align` artifact of the log."""
        # Vectors first: an encoder that cannot be had should be known before hours of training.
        vectors, pretrained = self.vectors(), self.pretrained()
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
            lambda folder: align(
                self.sequences, pretrained, vectors, self.config, folder, self.reporter, Resume.CACHED
            ),
        )

    def scores(self, model: Path | None) -> Scores:
        """Return the evidence of every row, by an align artifact that was brought or by the log's own."""
        model = model or self.aligned()
        key = {"model": digest(read_manifest(model, "align").outputs), "log": _rows_digest(self.log)}
        return load_scores(
            self._made("scores", key, lambda folder: score(self.log, model, self.config, folder, self.reporter))
        )

    def _made(self, kind: str, key: dict[str, Any], build: Callable[[Path], Manifest]) -> Path:
        return cached(cache_folder(self.config), kind, key, build, self.reporter.warn)


@dataclass(frozen=True)
class Denoised:
    """The outcome of `denoise`: evidence, decisions and what they amount to."""

    scores: Scores
    decisions: Decisions
    summary: dict[str, Any]


def check_device(config: Config) -> None:
    """Check, before any work, that the device asked for is there.

    Raises:
        UsageError: if it is not.
    """
    if config.run.device not in {"auto", "cpu"}:
        from iadsr_cli.training import pick_device

        pick_device(config.run.device)


def open_texts(source: str, config: Config, reporter: Reporter) -> ItemTexts:
    """Read item texts alone, from an items file or a log."""
    check_device(config)
    with reporter.stage("read", None, "items") as stage:
        texts = read_items(source, config.log, joined=False)
        stage.advance(len(texts.ids))
    _tell_of(texts, reporter)
    return texts


def _tell_of(texts: ItemTexts, reporter: Reporter) -> None:
    if texts.rejected:
        reporter.warn(f"Not used as item text: {texts.rejected}.")
    if texts.conflicting:
        reporter.note(f"{texts.conflicting:,} items have several different texts; the first one is taken.")


def open_log(source: str, items: str | None, config: Config, reporter: Reporter) -> Workspace:
    """Read a log and its items' texts, and check what can be checked before any training."""
    check_device(config)
    with reporter.stage("read", None, "rows") as stage:
        log = read_log(source, config.log)
        texts = read_items(items, config.log) if items is not None else log.item_texts()
        stage.advance(log.num_rows)
    _tell_of(texts, reporter)
    # The log's items and no others: a catalogue may be much larger, and an item may be missing from it.
    by_id = dict(zip(texts.ids, texts.texts, strict=True))
    ids = pc.unique(log.item_ids()).drop_null().to_pylist()
    texts = replace(texts, ids=ids, texts=[by_id.get(item) for item in ids])
    if items is not None and not any(texts.texts):
        raise InputError(
            f"None of the log's {len(ids):,} items has a text in {items}.",
            "Name the right columns with --item-column and --text-column.",
        )
    return Workspace(log, texts, config, reporter)


@dataclass(frozen=True)
class OutputPlan:
    """Where the rows of a log go.

    Attributes:
        output: file for the cleaned (or annotated) log, "-" for standard output, None for none.
        removed: file for the removed rows, or None.
        annotate: whether `output` gets all rows with their scores instead of the kept ones as they were.
        format: format of the output, "auto" to go by its extension.
        force: whether files that exist are replaced.
    """

    output: str | None
    removed: str | None
    annotate: bool
    format: str
    force: bool

    @property
    def written(self) -> list[str]:
        """The files, by the names that people know them by."""
        return [_shown(target) for target in (self.output, self.removed) if target is not None]

    def check(self, source: str, *, terminal: bool) -> None:
        """Check, before any work, that the outputs can be written.

        Args:
            source: the log, as it was named.
            terminal: whether standard output is one.

        Raises:
            UsageError: if data would be poured over a terminal, both outputs are the same file, or the format is not
                known.
            OutputError: if a file exists or cannot be written, or is the log itself.
        """
        if self.format not in FORMATS:
            raise UsageError(
                f'--output-format cannot be "{self.format}".',
                f"Allowed: {', '.join(FORMATS)}. Nearest: {closest(self.format, FORMATS)[0]}.",
            )
        if self.output == "-" and terminal:
            raise UsageError(
                "No output was named, and standard output is a terminal.",
                "Name a file with -o clean.csv, pipe the output, or only look with --dry-run.",
            )
        if self.output is not None and self.removed is not None and _same_file(self.output, self.removed):
            raise UsageError(
                f"Both the cleaned log and the removed rows would go to {_shown(self.output)}.",
                "Name another file with --removed.",
            )
        for target in (self.output, self.removed):
            if target is not None:
                if not self.force and source != "-" and _same_file(target, source):
                    raise OutputError(
                        f"{target} is the log itself.", "Name another file; --force would put the output in its place."
                    )
                check_target(target, self.force)

    def check_log(self, log: Log) -> None:
        """Check, before any training, that the outputs' formats can hold the log's columns.

        Raises:
            UsageError: if a format is not known, or the log has a column of an added one's name.
            OutputError: if a column does not fit the format.
        """
        if self.output is not None:
            check_rows(log, self.output, ANNOTATED if self.annotate else (), self.format)
        if self.removed is not None:
            check_rows(log, self.removed, REMOVED)

    def write(self, log: Log, denoised: "Denoised", reporter: Reporter) -> None:
        """Write the outputs, each whole or not at all."""
        if not self.written:
            return
        scores, decisions = denoised.scores, denoised.decisions
        with reporter.stage("write", None, "rows") as stage:
            if self.removed is not None:
                gone = np.flatnonzero(~decisions.keep)
                reasons = pa.array(explain(scores, decisions, gone), pa.string())
                extra = dict(zip(REMOVED, (pa.array(scores.noise[gone]), reasons), strict=True))
                write_rows(log, self.removed, gone, extra=extra, force=self.force)
                stage.advance(len(gone))
            if self.output is not None and self.annotate:
                rows = np.arange(log.num_rows)
                noise = pa.array(scores.noise, mask=np.isnan(scores.noise))
                reasons = pa.array(explain(scores, decisions, rows), pa.string())
                columns = (noise, pa.array(decisions.keep), reasons)
                write_rows(
                    log,
                    self.output,
                    rows,
                    extra=dict(zip(ANNOTATED, columns, strict=True)),
                    force=self.force,
                    format_override=self.format,
                )
                stage.advance(len(rows))
            elif self.output is not None:
                write_rows(log, self.output, decisions.keep, force=self.force, format_override=self.format)
                stage.advance(int(decisions.keep.sum()))


def denoise(workspace: Workspace, model: Path | None) -> Denoised:
    """Score every row of a log and decide on it; nothing is written but to the cache."""
    log, config = workspace.log, workspace.config
    if model is None:
        _ = workspace.sequences
    scores = workspace.scores(model)
    users = _codes(log.user_ids())
    decisions = decide(scores.noise, users, config.decision)
    return Denoised(scores, decisions, _summary(log, users, scores, decisions))


def _summary(log: Log, users: np.ndarray, scores: Scores, decisions: Decisions) -> dict[str, Any]:
    items = _codes(log.item_ids())
    removed = ~decisions.keep
    unscored = np.isnan(scores.noise)
    groups = {"kept": decisions.keep, "removed": removed, "protected": decisions.protected, "unscored": unscored}
    return {
        "rows": log.num_rows,
        "users": _distinct(users),
        "items": _distinct(items),
        **{name: int(chosen.sum()) for name, chosen in groups.items()},
        "users_by_decision": {name: _distinct(users[chosen]) for name, chosen in groups.items()},
        "items_by_decision": {name: _distinct(items[chosen]) for name, chosen in groups.items()},
        "highest_score": None if unscored.all() else round(float(np.nanmax(scores.noise)), 6),
        "removed_share_by_item_frequency_fifth": _share_by_fifth(removed, items),
    }


def _distinct(codes: np.ndarray) -> int:
    return len(np.unique(codes[codes >= 0]))


def _share_by_fifth(removed: np.ndarray, items: np.ndarray) -> list[float]:
    """Return the removed share of the rows of the rarest fifth of items, and so on to the most frequent fifth."""
    rows = items >= 0
    counts = np.bincount(items[rows])
    fifth = np.empty(len(counts), dtype=np.int64)
    fifth[np.argsort(counts, kind="stable")] = np.arange(len(counts)) * 5 // max(1, len(counts))
    by_row = fifth[items[rows]]
    total = np.bincount(by_row, minlength=5)
    gone = np.bincount(by_row, weights=removed[rows], minlength=5)
    return [float(share) for share in gone / np.maximum(total, 1)]


def _codes(ids: pa.Array) -> np.ndarray:
    """Return ids as integers 0.. in order of appearance, -1 where null; int64 [rows]."""
    indices = pc.dictionary_encode(ids).indices.fill_null(-1)
    return indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _vectors_by_code(items: pa.Array, vectors: ItemVectors | None) -> tuple[np.ndarray, np.ndarray]:
    """Return semantic vectors float32 [V + 1, S] and which are known, bool [V + 1]; code 0 is padding."""
    known = np.zeros(len(items) + 1, dtype=bool)
    if vectors is None:
        return np.zeros((len(items) + 1, 1), dtype=np.float32), known
    place = pc.index_in(items, value_set=pa.array(vectors.ids, items.type)).fill_null(-1)
    rows = place.to_numpy(zero_copy_only=False).astype(np.int64)
    matrix = np.zeros((len(items) + 1, vectors.vectors.shape[1]), dtype=np.float32)
    known[1:] = (rows >= 0) & vectors.known[rows]
    matrix[1:][known[1:]] = vectors.vectors[rows[known[1:]]]
    return matrix, known


def _pretrain_record(config: Config) -> dict[str, Any]:
    return {
        "backbone": config.backbone.record(),
        "pretrain": {**config.pretrain.record(), "pretrain_learning_rate": config.pretrain_learning_rate},
        "loop": config.loop.record(),
        "seed": config.run.seed,
    }


def _texts_digest(texts: ItemTexts) -> str:
    return digest([[item, text and text_hash(text)] for item, text in zip(texts.ids, texts.texts, strict=True)])


def _rows_digest(log: Log) -> str:
    """Return the SHA-256 (hex) of all that a score can depend on: ids and order, row by row."""
    content = hashlib.sha256()
    for ids in (log.user_ids(), log.item_ids()):
        content.update(_codes(ids).tobytes())
        content.update("\0".join(pc.unique(ids).drop_null().to_pylist()).encode())
    order = log.order()
    content.update(b"" if order is None else order.tobytes())
    return content.hexdigest()


def _same_file(one: str, other: str) -> bool:
    return one == other or ("-" not in (one, other) and Path(one).resolve() == Path(other).resolve())


def _shown(target: str) -> str:
    return "standard output" if target == "-" else target
