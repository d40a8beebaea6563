"""Trained models on disk: `vocabulary.parquet`, `weights.safetensors` and `history.jsonl`."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from iadsr_cli.artifacts import Manifest, manifest_kind, read_manifest
from iadsr_cli.config import BackboneSettings
from iadsr_cli.errors import ArtifactError, IadsrError
from iadsr_cli.models import Backbone, make_backbone
from iadsr_cli.models.alignment import AlignedModel

VOCABULARY, WEIGHTS, HISTORY = "vocabulary.parquet", "weights.safetensors", "history.jsonl"


@dataclass(frozen=True)
class Vocabulary:
    """The items a model knows.

    Attributes:
        items: item ids, V strings; the item of code c is `items[c - 1]`.
        trained: interactions of each code that were trained on, int64 [V + 1]; 0 for padding.
    """

    items: pa.Array
    trained: np.ndarray


def save_model(folder: Path, model: nn.Module, vocabulary: Vocabulary, history: list[dict[str, float]]) -> None:
    """Write a model's three files into `folder`."""
    codes = pa.array(np.arange(len(vocabulary.items) + 1))
    items = pa.concat_arrays([pa.nulls(1, vocabulary.items.type), vocabulary.items])
    table = pa.table({"code": codes, "item_id": items, "trained_interactions": vocabulary.trained})
    pq.write_table(table, folder / VOCABULARY, compression="zstd")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    with (folder / HISTORY).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in history)


def read_vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary of a pretrain or align artifact whose manifest was read."""
    table = pq.read_table(folder / VOCABULARY)
    items = table.column("item_id").combine_chunks().slice(1)
    return Vocabulary(items, table.column("trained_interactions").to_numpy())


def load_backbone(folder: Path, device: torch.device) -> tuple[Backbone, Vocabulary, Manifest]:
    """Return the recommender of a pretrain artifact, in evaluation mode.

    Raises:
        ArtifactError: if the folder is not such an artifact or its weights do not fit its manifest.
    """
    backbone, vocabulary, manifest = _untrained(folder, "pretrain")
    _load_weights(backbone, folder)
    return backbone.to(device).eval(), vocabulary, manifest


def load_aligned(folder: Path, device: torch.device) -> tuple[AlignedModel, Vocabulary, Manifest]:
    """Return the model of an align artifact, in evaluation mode.

    Raises:
        ArtifactError: if the folder is not such an artifact or its weights do not fit its manifest.
    """
    backbone, vocabulary, manifest = _untrained(folder, "align")
    codes = len(vocabulary.items) + 1
    size = int(manifest.facts["semantic_size"])
    model = AlignedModel(backbone, torch.zeros(codes, size), torch.zeros(codes, dtype=torch.bool))
    _load_weights(model, folder)
    return model.to(device).eval(), vocabulary, manifest


def load_recommender(folder: Path, device: torch.device) -> tuple[Backbone, Vocabulary, Manifest]:
    """Return the recommender of a pretrain or an align artifact, in evaluation mode.

    Raises:
        ArtifactError: if the folder is neither.
    """
    if manifest_kind(folder) == "align":
        model, vocabulary, manifest = load_aligned(folder, device)
        return model.backbone, vocabulary, manifest
    return load_backbone(folder, device)


def _untrained(folder: Path, kind: str) -> tuple[Backbone, Vocabulary, Manifest]:
    """Return a recommender of the artifact's kind and size, whose weights are still to be loaded."""
    manifest = read_manifest(folder, kind)
    vocabulary = read_vocabulary(folder)
    try:
        settings = BackboneSettings(**manifest.config["backbone"])
    except (KeyError, TypeError, IadsrError) as error:
        raise ArtifactError(f"The settings in {folder}'s manifest cannot be used: {error}", "Make it again.") from None
    return make_backbone(settings, len(vocabulary.items)), vocabulary, manifest


def _load_weights(model: nn.Module, folder: Path) -> None:
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"The weights in {folder} do not fit its manifest: {reason}", "Make it again.") from None
