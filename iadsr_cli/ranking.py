"""Ranks of held-out items over the full catalogue, and what they are worth: HR@K, NDCG@K, MRR@K."""

from collections.abc import Iterator

import numpy as np
import torch

from iadsr_cli.models.backbone import Backbone, distinct
from iadsr_cli.sequences import Sequences, last_windows

# Scores held at once while ranking; bounds memory whatever the catalogue's size.
_SCORES_AT_ONCE = 16_000_000


@torch.no_grad()
def held_out_ranks(
    backbone: Backbone,
    sequences: Sequences,
    from_end: int,
    users: np.ndarray | None = None,
    shown: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, chunk by chunk, users [n] and the rank [n] of their `from_end`-th last item given all before it.

    Rank 1 is best. The whole catalogue competes, items of the history included, and a tie counts against the item.
    Users with fewer than three interactions have none to hold out and are passed over.

    Args:
        backbone: the recommender; it is put in evaluation mode.
        sequences: whole histories.
        from_end: 1 for the last item (test), 2 for the one before (validation).
        users: indices of the users to rank, all if None.
        shown: bool [V + 1], where given: the codes among anyone's first ten are set in it.
    """
    backbone.eval()
    device = backbone.device
    windows = last_windows(sequences, sequences.lengths - from_end, backbone.settings.window)
    eligible = sequences.lengths >= 3
    chosen = np.flatnonzero(eligible) if users is None else users[eligible[users]]
    chosen = chosen[np.argsort(windows.length[chosen], kind="stable")]
    size = int(np.clip(_SCORES_AT_ONCE // len(sequences.items), 1, 512))
    # Written over by each chunk: fresh memory costs more than the arithmetic on it.
    buffer = torch.empty(min(size, len(chosen)), len(sequences.items), device=device)
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        flat, valid = windows.take(part).grid()
        items = torch.from_numpy(sequences.codes[flat] * valid).to(device)
        last = torch.from_numpy(windows.length[part] - 1).to(device)
        states = backbone(items)[torch.arange(len(part), device=device), last]
        targets = torch.from_numpy(sequences.codes[sequences.offsets[part + 1] - from_end]).to(device)
        scores = backbone.logits(states, distinct(items), out=buffer[: len(part)])
        if shown is not None:
            first_ten = scores.topk(min(10, scores.shape[1]), dim=1).indices + 1
            shown[first_ten.flatten().cpu().numpy()] = True
        below = scores.lt_(scores.gather(1, targets.unsqueeze(1) - 1))
        # Summed as they are, which is exact up to 16 million items. What is no number is below nothing.
        yield part, len(sequences.items) - below.sum(1).long().cpu().numpy()


def hit_rate(ranks: np.ndarray, k: int) -> np.ndarray:
    """Return 1 where the item is among the first k, else 0; float [n]. Its mean is HR@k."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """Return 1 / log2(1 + rank) where the item is among the first k, else 0; float [n]. Its mean is NDCG@k."""
    return np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)


def reciprocal_rank(ranks: np.ndarray, k: int) -> np.ndarray:
    """Return 1 / rank where the item is among the first k, else 0; float [n]. Its mean is MRR@k."""
    return np.where(ranks <= k, 1 / ranks, 0.0)


def summarise(ranks: np.ndarray, ks: tuple[int, ...] = (5, 10, 20)) -> dict[str, float]:
    """Return the mean HR@k, NDCG@k and MRR@k over ranks [n], by name; NaN without any rank."""
    if not len(ranks):
        ranks = np.array([np.nan])
    metrics = {"HR": hit_rate, "NDCG": ndcg, "MRR": reciprocal_rank}
    return {f"{name}@{k}": float(np.mean(metric(ranks, k))) for name, metric in metrics.items() for k in ks}
