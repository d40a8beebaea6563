"""The two stages of training: what each trains, by which losses and from which seed, and what it validates by."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from iadsr_cli import validation
from iadsr_cli.batches import Batch
from iadsr_cli.checkpoints import Checkpoint
from iadsr_cli.config import AlignSettings, Config, LoopSettings
from iadsr_cli.devices import ALONE, Group
from iadsr_cli.errors import UsageError
from iadsr_cli.hardware import has_sparse_gradients, pick_device, pick_precision, randomness
from iadsr_cli.loop import PATIENCE, History, fit
from iadsr_cli.models import Backbone, make_backbone
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.models.losses import FullSoftmax, NextItemLoss, SampledSoftmax
from iadsr_cli.models.tiles import can_fuse
from iadsr_cli.progress import Reporter
from iadsr_cli.sequences import Sequences

# Items up to which the automatic loss goes over the whole catalogue.
_FULL_SOFTMAX_ITEMS = 50_000

# What is kept of item embeddings in training: they, those of the best epoch, and the two moments of Adam.
_TABLES = 4


def keeps_items_on_host(backbone: Backbone, loop: LoopSettings, device: torch.device) -> bool:
    """Return whether a recommender's item embedding is to stay on the host while it is trained on a device.

    Raises:
        UsageError: if that was asked for with the full softmax, of which each step takes the whole table; or if it is
            to stay on a device on which it cannot be trained by a sample.
    """
    items, size = backbone.item_embedding.num_embeddings - 1, backbone.item_embedding.embedding_dim
    sampled, asked = _samples(items, loop), loop.item_table
    if asked == "host" and not sampled:
        raise UsageError(
            f"--item-table is host, and the softmax over all {items:,} items takes the whole table at each step.",
            "Add --loss sampled, or leave out --item-table.",
        )
    if asked == "device" and sampled and not has_sparse_gradients(device):
        raise UsageError(
            f"--item-table is device, where {device.type} cannot train it by the sampled loss.",
            "Leave out --item-table, or add --device cpu.",
        )
    if asked != "auto":
        return asked == "host"
    return sampled and (not has_sparse_gradients(device) or 4 * _TABLES * items * size > _memory(device) / 2)


def _keeps_vectors_on_host(vectors: np.ndarray, device: torch.device) -> bool:
    """Return whether semantic vectors are to stay on the host while a model is aligned on a device."""
    return device.type != "cuda" or vectors.nbytes > _memory(device) / 4


def _memory(device: torch.device) -> float:
    """Return the bytes of a GPU's own memory; other devices have the host's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else np.inf


def _samples(items: int, loop: LoopSettings) -> bool:
    """Return whether the softmax over items is a sampled one; "auto" takes the full one for a small catalogue."""
    return loop.loss == "sampled" or (loop.loss == "auto" and items > _FULL_SOFTMAX_ITEMS)


def make_next_item_loss(backbone: Backbone, sequences: Sequences, hold_out: int, config: Config) -> NextItemLoss:
    """Return the loss that the settings ask for.

    With a sampled softmax, the recommender's item embedding is told to have sparse gradients.
    """
    device = backbone.device
    precision = pick_precision(config.loop.precision, device)
    sampled = _samples(len(sequences.items), config.loop)
    backbone.item_embedding.sparse = sampled
    if not sampled:
        return FullSoftmax(precision)
    counts = torch.from_numpy(sequences.counts(sequences.train_lengths(hold_out)))
    return SampledSoftmax(counts, config.loop.negatives, precision, device)


def pretrain(
    sequences: Sequences,
    config: Config,
    reporter: Reporter,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> tuple[Backbone, History]:
    """Train a recommender on next-item prediction, every position of a history being a target.

    All processes of a group have to be called with the same, and return the same.

    Returns:
        The recommender with the weights of its best epoch, and one record per epoch.
    """
    device = pick_device(config.run.device)
    with randomness(config.run.seed, device):
        backbone = make_backbone(config.backbone, len(sequences.items))
        backbone.item_embedding.stay_on_host(keeps_items_on_host(backbone, config.loop, device))
        backbone.to(device)
        next_item = make_next_item_loss(backbone, sequences, config.pretrain.hold_out, config)

        def losses(batch: Batch) -> dict[str, Tensor]:
            return {"loss": next_item(backbone, batch.items, backbone(batch.items), batch.targets, batch.share)}

        def validate(users: np.ndarray) -> tuple[dict[str, float], float]:
            record = validation.rank(backbone, sequences, config.pretrain.hold_out, users, group)
            return record, record["validation_NDCG"]

        history = fit(
            backbone,
            backbone,
            losses,
            validate,
            sequences,
            config.loop,
            hold_out=config.pretrain.hold_out,
            epochs=config.pretrain.pretrain_epochs,
            patience=config.loop.patience,
            learning_rate=config.pretrain.pretrain_learning_rate,
            seed=config.run.seed,
            stage_name="pretrain",
            reporter=reporter,
            checkpoint=checkpoint,
            group=group,
            replays=_replays(next_item, backbone, config.loop, group),
        )
    return backbone, history


def align(
    sequences: Sequences,
    backbone: Backbone,
    vectors: np.ndarray,
    known: np.ndarray,
    hold_out: int,
    config: Config,
    reporter: Reporter,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> tuple[AlignedModel, History]:
    """Continue from a pretrained recommender with IADSR's four-term loss.

    The mask of an epoch is kept for every interaction and multiplies its input embedding in the next epoch.

    Args:
        sequences: whole histories; those held out are not trained on.
        backbone: the pretrained recommender; it is trained further in place.
        vectors: semantic vector per item code, float32 [V + 1, S].
        known: whether an item code has one, bool [V + 1].
        hold_out: as in pretraining: last interactions of a user that are not trained on.
        config: the settings of alignment, loop and run.
        reporter: told of the progress.
        checkpoint: where the state is kept after each epoch, and taken up from if it is there.
        group: the processes that train together; all have to be called with the same, and return the same.

    Returns:
        The aligned model with the weights of its best epoch, and one record per epoch.
    """
    device = pick_device(config.run.device)
    with randomness(config.run.seed, device):
        backbone.item_embedding.stay_on_host(keeps_items_on_host(backbone, config.loop, device))
        model = AlignedModel(backbone, torch.from_numpy(vectors), torch.from_numpy(known)).to(device)
        model.keep_vectors_on_host(_keeps_vectors_on_host(vectors, device))
        settings: AlignSettings = config.align
        precision = pick_precision(config.loop.precision, device)
        next_item = make_next_item_loss(backbone, sequences, hold_out, config)
        last_masks = torch.ones(len(sequences.codes), device=device)
        # One more than there are interactions, for padding.
        masks = torch.ones(len(sequences.codes) + 1, device=device)
        whole = _replays(next_item, backbone, config.loop, group)

        def losses(batch: Batch) -> dict[str, Tensor]:
            # Standard Gumbel draws; the clamp keeps log(-log(u)) finite.
            # Drawn for the whole batch, as one process would.
            uniform = torch.rand(batch.size, batch.items.shape[1], device=device)[batch.share.rows]
            uniform.clamp_(1e-20, 1 - 1e-7)
            terms, mask = model.losses(
                batch.items,
                batch.targets,
                last_masks[batch.flat],
                -torch.log(-torch.log(uniform)),
                settings.temperature,
                settings.gumbel_tau,
                next_item,
                precision,
                batch.share,
                batch.prepared,
            )
            if batch.share.keeps:
                masks[batch.flat.masked_fill(batch.items == 0, len(last_masks))] = mask
            return {
                "loss": terms.total(),
                "next_item": terms.next_item,
                "info_nce_short": terms.short,
                "info_nce_long": terms.long,
                "reconstruction": terms.reconstruction,
            }

        def validate(users: np.ndarray) -> tuple[dict[str, float], float]:
            # Ones stay where another process computes, and where nobody does.
            group.take_lowest(masks)
            last_masks.copy_(masks[:-1])
            masks.fill_(1)
            loss = validation.held_out_loss(model, sequences, hold_out, users, config, group)
            record = validation.rank(backbone, sequences, hold_out, users, group)
            return {**record, "validation_loss": loss}, -loss

        history = fit(
            model,
            backbone,
            losses,
            validate,
            sequences,
            config.loop,
            hold_out=hold_out,
            epochs=settings.align_epochs,
            patience=config.loop.patience or PATIENCE,
            learning_rate=settings.align_learning_rate,
            seed=config.run.seed,
            stage_name="align",
            reporter=reporter,
            checkpoint=checkpoint,
            group=group,
            kept={"masks": last_masks},
            prepare=partial(model.prepare, whole=whole),
            replays=whole,
        )
        model.keep_vectors_on_host(True)
    return model, history


def _replays(next_item: NextItemLoss, backbone: Backbone, loop: LoopSettings, group: Group) -> bool:
    """Return whether steps can be recorded and replayed: where no part of one has the host wait for the device.

    The sampled softmax does, and its optimizer; so do processes for each other.
    """
    precision = pick_precision(loop.precision, backbone.device)
    size = max(backbone.item_embedding.embedding_dim, backbone.hidden_size)
    return can_fuse(backbone.device, precision, size) and isinstance(next_item, FullSoftmax) and group.size == 1
