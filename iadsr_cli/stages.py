"""The stages, each from artifacts to an artifact: embed, pretrain, align, score.

Every stage takes what it needs, writes one folder and returns its manifest. The commands call them one by one, with
--force or not; `pipeline.Workspace` calls them with folders in the cache, see `artifacts.write_artifact`.
"""

import hashlib
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli import __version__
from iadsr_cli.artifacts import Manifest, checkpoint_of, digest, known_manifest, read_manifest, write_artifact
from iadsr_cli.config import Config
from iadsr_cli.cosines import score_rows
from iadsr_cli.encoders import ItemVectors, embed_items
from iadsr_cli.encoders.contract import text_hash
from iadsr_cli.encoders.folder import load_vectors, save_vectors
from iadsr_cli.engines.work import Engine
from iadsr_cli.errors import ArtifactError
from iadsr_cli.logs.reader import ItemTexts, Log
from iadsr_cli.logs.values import numbered
from iadsr_cli.progress import Reporter
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences, check_shared, make_sequences

if TYPE_CHECKING:
    from iadsr_cli.checkpoints import Checkpoint


class Resume(Enum):
    """Whether a stage goes on from the checkpoint that an interrupted run left beside its folder."""

    NO = "no"
    ASKED = "asked"  # a checkpoint of another run is an error
    CACHED = "cached"  # the folder's name says which run it is: whatever cannot be used is passed over

    @classmethod
    def of(cls, asked: bool) -> "Resume":
        """Return what a command's --resume means."""
        return cls.ASKED if asked else cls.NO


def embed(
    texts: ItemTexts,
    config: Config,
    folder: Path,
    reporter: Reporter,
    engine: Engine | None = None,
    force: bool | None = None,
) -> Manifest:
    """Write the `embed` artifact: one semantic vector per item."""
    vectors = embed_items(
        texts.ids,
        texts.texts,
        config.encoder,
        device=config.run.device,
        cache_dir=config.run.cache,
        reporter=reporter,
        engine=engine,
    )
    return write_artifact(
        folder,
        "embed",
        lambda draft: save_vectors(draft, vectors),
        config={"encoder": vectors.encoder},
        inputs={"items": texts_digest(texts)},
        facts={"items": len(vectors.ids), "with_vector": int(vectors.known.sum())},
        force=force,
    )


def pretrain(
    sequences: Sequences,
    config: Config,
    folder: Path,
    reporter: Reporter,
    resume: Resume = Resume.NO,
    force: bool | None = None,
) -> Manifest:
    """Write the `pretrain` artifact: a sequential recommender of the log."""
    from iadsr_cli import training
    from iadsr_cli.models.store import Vocabulary, save_model
    from iadsr_cli.workers import train_together

    inputs = {"log": sequences.digest()}
    checkpoint = _checkpoint(folder, {**inputs, **pretrain_record(config)}, resume)
    train = partial(training.pretrain, sequences, config)
    backbone, history = train_together(train, config, reporter, checkpoint)
    ends = sequences.train_lengths(config.pretrain.hold_out)
    vocabulary = Vocabulary(sequences.items, sequences.counts(ends))
    manifest = write_artifact(
        folder,
        "pretrain",
        lambda draft: save_model(draft, backbone, vocabulary, history),
        config=pretrain_record(config),
        inputs=inputs,
        facts={"items": len(sequences.items), "epochs": len(history)},
        force=force,
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
    force: bool | None = None,
) -> Manifest:
    """Write the `align` artifact from a pretrained recommender and item vectors (None: collaboration alone).

    Raises:
        ArtifactError: if a folder is not the artifact it should be, or the recommender is of another log.
    """
    import torch

    from iadsr_cli import training
    from iadsr_cli.models.store import load_backbone, save_model
    from iadsr_cli.workers import train_together

    # Training moves it to its device, of which there may be several.
    backbone, vocabulary, source = load_backbone(pretrained, torch.device("cpu"))
    check_same_log(source, sequences, pretrained)
    matrix, known = vectors_by_code(vocabulary.items, load_vectors(vectors) if vectors else None)
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
    train = partial(training.align, sequences, backbone, matrix, known, hold_out, config)
    model, history = train_together(train, config, reporter, checkpoint)
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
        force=force,
    )
    checkpoint.clear()
    return manifest


def score(log: Log, model: Path, config: Config, folder: Path, reporter: Reporter) -> Manifest:
    """Write the `scores` artifact: the evidence of every row of `log` by an align artifact."""
    from iadsr_cli.hardware import pick_device
    from iadsr_cli.models.store import load_aligned

    device = pick_device(config.run.device)
    aligned, vocabulary, source = load_aligned(model, device)
    sequences = make_sequences(log.user_ids(), log.item_ids(), log.order(), vocabulary.items)
    check_shared(sequences.codes, vocabulary.items, log.name, str(model))
    has_ids = pc.and_(pc.is_valid(log.user_ids()), pc.is_valid(log.item_ids()))
    scores = score_rows(aligned, vocabulary.trained, sequences, has_ids.to_numpy(zero_copy_only=False), reporter)
    return _save_scores(scores.without_times(log.timeless), {}, {"align": source.seal, "log": rows_digest(log)}, folder)


def crossfit(
    log: Log,
    sequences: Sequences,
    vectors: Path | None,
    texts: ItemTexts,
    config: Config,
    folder: Path,
    reporter: Reporter,
) -> Manifest:
    """Write the `scores` artifact of the method crossfit, from item vectors (None: without) and texts."""
    found = _judged(sequences, vectors, texts, config, reporter)
    has_ids = pc.and_(pc.is_valid(log.user_ids()), pc.is_valid(log.item_ids())).to_numpy(zero_copy_only=False)
    scores = found.by_row(sequences.row_ids, has_ids).without_times(log.timeless)
    return _save_scores(scores, *_judged_by(vectors, texts, config, rows_digest(log)), folder)


def judge(
    sequences: Sequences,
    vectors: Path | None,
    texts: ItemTexts,
    config: Config,
    folder: Path,
    reporter: Reporter,
    explained: bool,
) -> Manifest:
    """Write the `scores` artifact of the method crossfit of sequences, a row for each of their interactions.

    Without what `explained` asks for, it holds no evidence.
    """
    scores = _judged(sequences, vectors, texts, config, reporter)
    if not explained:
        scores = replace(scores, terms=scores.terms[:, :0], parts=None)
    return _save_scores(scores, *_judged_by(vectors, texts, config, sequences.digest()), folder)


def _judged(sequences: Sequences, vectors: Path | None, texts: ItemTexts, config: Config, reporter: Reporter) -> Scores:
    from iadsr_cli.crossfit import Panel

    matrix, _ = vectors_by_code(sequences.items, load_vectors(vectors) if vectors else None)
    panel = Panel(sequences, matrix, texts.of(sequences.items), config.run.seed, reporter, config.decision.judges)
    return panel.scores()


def _judged_by(
    vectors: Path | None, texts: ItemTexts, config: Config, log: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings and the inputs of scores of the method crossfit, of a log with that digest."""
    inputs = {"log": log, "items": texts_digest(texts)}
    if vectors:
        inputs["embed"] = read_manifest(vectors, "embed").outputs["vectors.safetensors"]
    return {"seed": config.run.seed, "judges": config.decision.judges}, inputs


def _save_scores(scores: Scores, config: dict[str, Any], inputs: dict[str, str], folder: Path) -> Manifest:
    from safetensors.numpy import save_file

    arrays = {"noise": scores.noise, "terms": scores.terms, "status": scores.status}
    if scores.parts is not None:
        arrays["parts"] = scores.parts
    return write_artifact(
        folder,
        "scores",
        lambda draft: save_file(arrays, draft / "scores.safetensors"),
        config=config,
        inputs=inputs,
        facts={"rows": len(scores.noise), "shares": scores.shares},
    )


def load_scores(folder: Path) -> Scores:
    """Return what a `scores` artifact holds that was made or checked just now."""
    from safetensors.numpy import load_file

    return Scores(**load_file(folder / "scores.safetensors"), shares=known_manifest(folder).facts["shares"])


def _checkpoint(folder: Path, run: dict[str, Any], resume: Resume) -> "Checkpoint":
    """Return the checkpoint of the run that makes `folder`; empty unless resumed."""
    from iadsr_cli.checkpoints import Checkpoint

    checkpoint = Checkpoint(
        checkpoint_of(folder), digest({**run, "package": __version__}), strict=resume is Resume.ASKED
    )
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


def check_device(config: Config) -> None:
    """Check, before any work, that the device asked for is there, or as many of them.

    Raises:
        UsageError: if it is not.
    """
    from iadsr_cli.workers import check_devices

    if config.run.device not in {"auto", "cpu"}:
        from iadsr_cli.hardware import pick_device

        pick_device(config.run.device)
    check_devices(config)


def row_codes(ids: pa.Array) -> np.ndarray:
    """Return ids as integers 0.. in order of appearance, -1 where null; int64 [rows]."""
    return numbered(ids)[0]


def vectors_by_code(items: pa.Array, vectors: ItemVectors | None) -> tuple[np.ndarray, np.ndarray]:
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


def pretrain_record(config: Config) -> dict[str, Any]:
    """Return all settings that determine a pretrained recommender, the defaults filled in."""
    return {
        "backbone": config.backbone.record(),
        "pretrain": config.pretrain.record(),
        "loop": config.loop.record(),
        "seed": config.run.seed,
    }


def texts_digest(texts: ItemTexts) -> str:
    """Return the SHA-256 (hex) of item ids and their texts, in order."""
    return digest([[item, text and text_hash(text)] for item, text in zip(texts.ids, texts.texts, strict=True)])


def rows_digest(log: Log) -> str:
    """Return the SHA-256 (hex) of all that a score can depend on: ids and order, row by row."""
    content = hashlib.sha256()
    people = log.people_ids()
    for ids in (log.user_ids(), log.item_ids(), *([] if people is None else [people])):
        content.update(row_codes(ids).tobytes())
        content.update("\0".join(pc.unique(ids).drop_null().to_pylist()).encode())
    order = log.order()
    content.update(b"" if order is None else order.tobytes())
    if log.timeless.any():
        content.update(log.timeless.tobytes())
    return content.hexdigest()
