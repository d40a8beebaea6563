"""What tells the best epoch of a training: how the users that validate are ranked, and the loss on their items."""

import numpy as np
import torch
from torch import Tensor

from iadsr_cli.config import Config
from iadsr_cli.devices import Group
from iadsr_cli.models import Backbone
from iadsr_cli.models.alignment import AlignedModel, Prepared
from iadsr_cli.ranking import held_out_ranks, hit_rate, ndcg
from iadsr_cli.sequences import Sequences, last_windows
from iadsr_cli.transfers import ahead, pinned, sent

# Users that validate; more would sharpen early stopping less than they cost. With many items there are fewer, because
# each is compared with all of them.
_VALIDATION_USERS, _FEWEST_VALIDATION_USERS = 20_000, 2_000
_VALIDATION_SCORES = 2_000_000_000


def validators(sequences: Sequences, generator: np.random.Generator) -> np.ndarray:
    """Return the users that validate: those with an item to hold out, a random part of them if there are many."""
    users = np.flatnonzero(sequences.lengths >= 3)
    most = int(np.clip(_VALIDATION_SCORES // len(sequences.items), _FEWEST_VALIDATION_USERS, _VALIDATION_USERS))
    if len(users) > most:
        users = np.sort(generator.choice(users, most, replace=False))
    return users


def rank(backbone: Backbone, sequences: Sequences, hold_out: int, users: np.ndarray, group: Group) -> dict[str, float]:
    """Return HR@10 and NDCG of the items that the users hold out; all processes of a group return the same."""
    own = users[group.rank :: group.size]
    found = [ranks for _, ranks in held_out_ranks(backbone, sequences, hold_out, own)]
    # There may be fewer users than processes.
    ranks = group.gathered(torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *found]))).numpy()
    metrics = {"HR@10": hit_rate(ranks, 10), "NDCG@10": ndcg(ranks, 10), "NDCG": ndcg(ranks, len(sequences.items))}
    return {f"validation_{name}": float(values.mean()) for name, values in metrics.items()}


@torch.no_grad()
def held_out_loss(
    model: AlignedModel, sequences: Sequences, hold_out: int, users: np.ndarray, config: Config, group: Group
) -> float:
    """Return the mean loss of alignment on validation items: next item and both InfoNCE terms, nothing sampled."""
    device, size = model.device, config.loop.batch_size
    windows = last_windows(sequences, sequences.lengths - hold_out + 1, model.backbone.settings.window)
    ordered = users[np.argsort(windows.length[users], kind="stable")]

    def made(start: int) -> tuple[Tensor, Tensor, Prepared]:
        part = windows.take(ordered[start : start + size])
        flat, valid = part.grid()
        items = torch.from_numpy(sequences.codes[flat] * valid)
        last = torch.from_numpy(part.length - 1)
        return pinned(items, device), pinned(last, device), model.prepare(items).pinned(device)

    # Whole batches to each process: what is contrasted with what stays the same.
    starts = range(size * group.rank, len(ordered), size * group.size)
    found = [
        (
            model.held_out_loss(
                sent(items, device), sent(last, device), config.align.temperature, prepared.sent(device)
            ),
            len(items),
        )
        for items, last, prepared in ahead(made, starts, device)
    ]
    # Asked for at the end, as each question waits for the device.
    total = sum(loss.item() * count for loss, count in found)
    return group.gathered(torch.tensor([total], dtype=torch.float64)).sum().item() / len(users)
