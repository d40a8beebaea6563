"""What the noise score is compared with: simple scorers, a recommender's own loss, and IADSR and its two halves.

A scorer takes a log's `Material` and returns float64 [N], flat-aligned with its sequences: high = more likely noise,
NaN = cannot say. Only the order of a scorer's values means something; each has a scale of its own. All but
`random_order` and `popularity` compare a row with its user's history, so a history of one interaction gets NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from iadsr_cli.cosines import behaviour, score_rows
from iadsr_cli.progress import Reporter
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences, positions, scoring_batches, stretches, user_items

if TYPE_CHECKING:
    from torch import Tensor

    from iadsr_cli.models.alignment import AlignedModel
    from iadsr_cli.models.backbone import Backbone

# Directions of the truncated SVD, and the length, relative to the longest, under which an item's factor is rounding
# noise.
_DIRECTIONS = 64
_NO_FACTOR = 1e-6

# A user's last interactions, which alone enter the co-occurrence counts: bounds work at this much per row.
_MOST_TOGETHER = 500

# Each bounds the memory of one loop. Users are never split, where interactions of whole histories are counted.
_VALUES_AT_ONCE = 4_000_000
_PAIRS_AT_ONCE = 2_000_000
_INTERACTIONS_AT_ONCE = 65_536
_LOGITS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Material:
    """All that a scorer may look at.

    Attributes:
        sequences: the log to judge.
        vectors: semantic vector of each item code, float32 [V + 1, S]: unit rows, zero where unknown.
        known: which codes have one, bool [V + 1].
        seed: of scorers that draw.
        backbone: returns the pretrained recommender; called only by scorers that need it.
        aligned: returns the aligned model; called only by scorers that need it.
        crossfitted: returns what the default method says, flat-aligned; called only by scorers that need it.
        reporter: told of the progress of the longer ones.
        hold_out: last interactions of a user that the models were not trained on.
    """

    sequences: Sequences
    vectors: np.ndarray
    known: np.ndarray
    seed: int
    backbone: "Callable[[], Backbone]"
    aligned: "Callable[[], AlignedModel]"
    crossfitted: Callable[[], Scores]
    reporter: Reporter
    hold_out: int = 2


Scorer = Callable[[Material], np.ndarray]


def random_order(material: Material) -> np.ndarray:
    """Score by chance, uniform in [0, 1).

    A cold item: like any other.
    """
    return np.random.default_rng(material.seed).random(len(material.sequences.codes))


def popularity(material: Material) -> np.ndarray:
    """Score by minus the logarithm of how often the item occurs in the log: rare is suspicious.

    A cold item: the most suspicious of all, whoever has it.
    """
    codes = material.sequences.codes
    return -np.log(material.sequences.counts()[codes])


def text(material: Material) -> np.ndarray:
    """Score by minus the cosine of the item's semantic vector to the mean vector of the rest of the history.

    NaN where the item, or all of the rest, has no text.

    A cold item: like any other with text.
    """
    return np.where(_judged_by_text(material), -_cosine_to_rest(material.sequences, material.vectors), np.nan)


def co_occurrence(material: Material) -> np.ndarray:
    """Score by minus the mean strength of the item's ties to the other items of the history, in other users' histories.

    The tie of items i and j is C_ij / sqrt(c_i c_j), where C_ij of the other users have both and c_i have i: the user's
    own history vouches for none of its rows. Each item counts once per user, whose last 500 interactions alone enter
    the counts and are what a row is compared with; rows before them are judged all the same. NaN where these hold no
    other item.

    A cold item: no other user has it, so it has no ties, and gets 0, the highest score there is.
    """
    sequences = material.sequences
    recent = positions(sequences.lengths) >= (sequences.lengths - _MOST_TOGETHER)[sequences.user_index]
    held = user_items(sequences, recent)
    together = (held.T @ held).tocsr()
    together.sort_indices()
    users = together.diagonal().astype(np.float64)
    # Whoever has the other item is the row's own user among them: one less.
    weight = 1 / np.sqrt(np.maximum(users - 1, 1))
    held_from, held_count = held.indptr[sequences.user_index], np.diff(held.indptr)[sequences.user_index]
    tie = np.full(len(sequences.codes), np.nan)
    with material.reporter.stage("co-occurrence", len(tie), "rows") as stage:
        for begin, end in stretches(held_count, _PAIRS_AT_ONCE):
            items, count = sequences.codes[begin:end] - 1, held_count[begin:end]
            row = np.repeat(np.arange(end - begin), count)
            item, other = items[row], held.indices[np.repeat(held_from[begin:end], count) + positions(count)]
            same = item == other
            # 1 where the user's own history is among the counts of the row's item, else 0.
            own = np.bincount(row, same, minlength=end - begin)
            strength = (together[item, other] - own[row]) * weight[other] * ~same
            total = np.bincount(row, strength, minlength=end - begin)
            # Without another user, the total is 0 whatever it is divided by.
            scale = np.sqrt(np.maximum(users[items] - own, 1)) * (count - own)
            np.divide(total, scale, out=tie[begin:end], where=count > own)
            stage.advance(end - begin)
    return -tie


def svd(material: Material) -> np.ndarray:
    """Score by minus the cosine of the item's factor to the mean factor of the rest of the history, in sample.

    Factors are those of the truncated SVD of the binary user-item matrix: 64 directions scaled by their singular
    values, made unit length so that popular items do not decide the mean. NaN where the item, or all of the rest,
    lies outside these directions.

    A cold item: its few users make its factor, so it looks like them and is hardly suspicious.
    """
    from sklearn.utils.extmath import randomized_svd

    sequences = material.sequences
    held = user_items(sequences, np.ones(len(sequences.codes), dtype=bool)).astype(np.float64)
    size = min(_DIRECTIONS, *held.shape)
    _, strength, directions = randomized_svd(held, n_components=size, random_state=material.seed)
    factors = directions.T * strength
    length = np.linalg.norm(factors, axis=1, keepdims=True)
    unit = np.divide(factors, length, out=np.zeros_like(factors), where=length > _NO_FACTOR * length.max())
    return -_cosine_to_rest(sequences, np.concatenate([np.zeros_like(unit[:1]), unit]))


def next_item_loss(material: Material) -> np.ndarray:
    """Score by the recommender's loss at the row: minus the log-probability of the item given the user's past.

    The softmax goes over the whole catalogue. The past is what a window of the recommender holds of it, and in long
    histories at least half a window. NaN at the first interaction of a history.

    A cold item: hardly ever expected, so suspicious.
    """
    import torch
    from torch.nn import functional as F

    from iadsr_cli.models.backbone import seen_before

    sequences = material.sequences
    backbone = material.backbone().eval()
    device = backbone.device
    at_once = max(1, _LOGITS_AT_ONCE // len(sequences.items))
    loss = np.full(len(sequences.codes), np.nan)
    judged_rows = int(np.maximum(sequences.lengths - 1, 0).sum())
    with torch.inference_mode(), material.reporter.stage("next-item loss", judged_rows, "rows") as stage:
        # One place more than the recommender's window: the last item of a window is only predicted.
        for flat, valid, judged in scoring_batches(sequences.lengths, backbone.settings.window + 1, least=2):
            items = torch.from_numpy(sequences.codes[flat] * valid).to(device)
            past, following = items[:, :-1], torch.from_numpy(judged[:, 1:]).to(device)
            states, seen = backbone(past)[following], seen_before(past)[following]
            targets = items[:, 1:][following] - 1
            pieces = zip(states.split(at_once), seen.split(at_once), targets.split(at_once), strict=True)
            losses = [
                F.cross_entropy(backbone.logits(state, before), target, reduction="none")
                for state, before, target in pieces
            ]
            loss[flat[:, 1:][judged[:, 1:]]] = torch.cat(losses).cpu().numpy()
            stage.advance(len(targets))
    return loss


def collaborative(material: Material) -> np.ndarray:
    """Score by IADSR from behaviour alone: minus the cosine of c_long to c_short at the row.

    A cold item: its embedding hardly moves the state, which is that of the rows before it, so it is hardly suspicious.
    """
    from torch.nn import functional as F

    def cosine(model: "AlignedModel", codes: np.ndarray, lengths: np.ndarray) -> "Tensor":
        c_short, c_long, user = behaviour(model.backbone, codes, lengths)
        return F.cosine_similarity(c_long[user], c_short, dim=-1)

    alone = material.sequences.lengths < 2
    return np.where(alone[material.sequences.user_index], np.nan, -_by_histories(material, "collaborative", cosine))


def semantic(material: Material) -> np.ndarray:
    """Score by IADSR from text alone: minus the cosine of s_long to s_short of the row's item.

    NaN where the item, or all of the rest of the history, has no text.

    A cold item: like any other with text.
    """
    import torch
    from torch.nn import functional as F

    def cosine(model: "AlignedModel", codes: np.ndarray, lengths: np.ndarray) -> "Tensor":
        items = torch.from_numpy(codes).to(model.device)
        user = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(model.device)
        vectors = model.vectors_of(items)
        s_long = model.semantic_long(items, vectors, user, len(lengths))
        return F.cosine_similarity(s_long[user], model.semantic_short(items, vectors), dim=-1)

    return np.where(_judged_by_text(material), -_by_histories(material, "semantic", cosine), np.nan)


def iadsr(material: Material) -> np.ndarray:
    """Score by IADSR as published: p_noise of `cosines.score_rows`, 0 to 1.

    A cold item: judged by its text; NaN if it has none and the model was never trained on it.
    """
    return published(material).noise.astype(np.float64)


def crossfit(material: Material) -> np.ndarray:
    """Score by the default method: p_noise of `crossfit.Panel`, 0 to 1.

    A cold item: judged by its text, and by what few other users have with it.
    """
    return material.crossfitted().noise.astype(np.float64)


def published(material: Material) -> Scores:
    """Return the whole evidence of IADSR as published, flat-aligned with the sequences."""
    # Rows of the result are then those of the sequences.
    sequences = replace(material.sequences, row_ids=np.arange(len(material.sequences.codes)))
    trained = sequences.counts(sequences.train_lengths(material.hold_out))
    has_ids = np.ones(len(sequences.codes), dtype=bool)
    return score_rows(material.aligned(), trained, sequences, has_ids, material.reporter)


SCORERS: dict[str, Scorer] = {
    "random": random_order,
    "popularity": popularity,
    "text": text,
    "co-occurrence": co_occurrence,
    "svd": svd,
    "backbone": next_item_loss,
    "collaborative": collaborative,
    "semantic": semantic,
    "iadsr": iadsr,
    "crossfit": crossfit,
}
# What returns the whole evidence of each method that `denoise` offers.
METHODS: dict[str, Callable[[Material], Scores]] = {
    "crossfit": lambda material: material.crossfitted(),
    "iadsr": published,
}


def _judged_by_text(material: Material) -> np.ndarray:
    """Return which rows have text, as has another row of their history, bool [N]."""
    user, known = material.sequences.user_index, material.known[material.sequences.codes]
    return known & (np.bincount(user, known)[user] > 1)


def _cosine_to_rest(sequences: Sequences, vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of each row's vector to the mean vector of the rest of its history, float64 [N].

    `vectors` [V + 1, S] are unit or zero. Only the row itself is left out: an item that stands elsewhere in the history
    too is judged beside its like. NaN where the vector or that mean is zero.
    """
    cosine = np.full(len(sequences.codes), np.nan)
    for first, last in stretches(sequences.lengths, max(1, _VALUES_AT_ONCE // max(1, vectors.shape[1]))):
        bounds = sequences.offsets[first : last + 1]
        part = slice(bounds[0], bounds[-1])
        # In float64 the sum less the row itself is exactly zero where nothing else is there.
        own = vectors[sequences.codes[part]].astype(np.float64)
        history = sparse.csr_array(
            (np.ones(len(own)), np.arange(len(own)), bounds - bounds[0]), shape=(last - first, len(own))
        )
        rest = (history @ own)[sequences.user_index[part] - first] - own
        length = np.linalg.norm(rest, axis=1)
        there = (length > 0) & own.any(axis=1)
        np.divide(np.einsum("ns,ns->n", own, rest), length, out=cosine[part], where=there)
    return cosine


def _by_histories(
    material: Material, name: str, cosine: "Callable[[AlignedModel, np.ndarray, np.ndarray], Tensor]"
) -> np.ndarray:
    """Return float64 [N] of what `cosine` says of whole histories: flat item codes [n] of users with lengths."""
    import torch

    sequences = material.sequences
    model = material.aligned().eval()
    result = np.full(len(sequences.codes), np.nan)
    with torch.inference_mode(), material.reporter.stage(name, len(result), "rows") as stage:
        for first, last in stretches(sequences.lengths, _INTERACTIONS_AT_ONCE):
            part = slice(sequences.offsets[first], sequences.offsets[last])
            codes = sequences.codes[part]
            result[part] = cosine(model, codes, sequences.lengths[first:last]).cpu().numpy()
            stage.advance(len(codes))
    return result
