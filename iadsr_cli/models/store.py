"""Trained models on disk: `vocabulary.parquet`, `weights.safetensors` and `history.jsonl`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from iadsr_cli.artifacts import Manifest, manifest_kind, read_manifest
from iadsr_cli.config import BackboneSettings
from iadsr_cli.errors import ArtifactError, IadsrError, first_line
from iadsr_cli.models import Backbone, make_backbone
from iadsr_cli.models.alignment import AlignedModel

Model = TypeVar("Model", bound=nn.Module)
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
    if not pa.types.is_string(items.type) and not pa.types.is_large_string(items.type):
        raise TypeError(f"the item ids are {items.type} values")
    items.validate(full=True)
    return Vocabulary(items, table.column("trained_interactions").cast(pa.int64()).to_numpy())


def load_backbone(folder: Path, device: torch.device) -> tuple[Backbone, Vocabulary, Manifest]:
    """Return the recommender of a pretrain artifact, in evaluation mode.

    Raises:
        ArtifactError: if the folder is not such an artifact or its weights do not fit its manifest.
    """
    model, vocabulary, manifest = _loaded(folder, "pretrain", lambda backbone, manifest: backbone)
    return model.to(device).eval(), vocabulary, manifest


def load_aligned(folder: Path, device: torch.device) -> tuple[AlignedModel, Vocabulary, Manifest]:
    """Return the model of an align artifact, in evaluation mode.

    Raises:
        ArtifactError: if the folder is not such an artifact or its weights do not fit its manifest.
    """

    def aligned(backbone: Backbone, manifest: Manifest) -> AlignedModel:
        codes, size = backbone.item_embedding.num_embeddings, manifest.facts["semantic_size"]
        return AlignedModel(backbone, torch.zeros(codes, size), torch.zeros(codes, dtype=torch.bool))

    model, vocabulary, manifest = _loaded(folder, "align", aligned)
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


def _loaded(folder: Path, kind: str, made: Callable[[Backbone, Manifest], Model]) -> tuple[Model, Vocabulary, Manifest]:
    """Return the model that `made` makes of an artifact's untrained recommender, with its weights."""
    manifest = read_manifest(folder, kind)
    try:
        vocabulary = read_vocabulary(folder)
        settings = BackboneSettings(**manifest.config["backbone"])

        def model() -> Model:
            return made(make_backbone(settings, len(vocabulary.items)), manifest)

        # Without memory first: a manifest must not ask for more of it than the weights take.
        with torch.device("meta"):
            sizes = {name: list(tensor.shape) for name, tensor in model().state_dict().items()}
    except IadsrError as error:
        raise _unusable(folder, error.message) from None
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise _unusable(folder, str(error)) from None
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        if sizes != found:
            raise ValueError("other tensors, or tensors of other shapes")  # noqa: TRY301
        loaded = model()
        loaded.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise ArtifactError(
            f"The weights in {folder} do not fit its manifest: {first_line(error)}", "Make it again."
        ) from None
    return loaded, vocabulary, manifest


def _unusable(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(f"The settings or items in {folder} cannot be used: {first_line(reason)}", "Make it again.")
