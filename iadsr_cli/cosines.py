"""IADSR as published: three cosines for every interaction of a log, and the noise score made of them."""

from typing import TYPE_CHECKING

import numpy as np

from iadsr_cli.progress import Reporter
from iadsr_cli.scores import Scores, Status
from iadsr_cli.sequences import Sequences, scoring_batches, stretches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from iadsr_cli.models.alignment import AlignedModel, Projections
    from iadsr_cli.models.backbone import Backbone

# What a low value of each of the three cosines says of a row, in the order of `models.alignment.agreement`.
TERMS = (
    "behaviour here does not fit the text of the whole history",
    "the item's text does not fit the behaviour of the whole history",
    "the item's text does not fit the behaviour here",
)

# Interactions whose states are held at once, and those whose items' projections are; users are never split.
_INTERACTIONS_AT_ONCE = 65_536
_PROJECTED_AT_ONCE = 1_000_000


def score_rows(
    model: "AlignedModel", trained: np.ndarray, sequences: Sequences, has_ids: np.ndarray, reporter: Reporter
) -> Scores:
    """Judge every row of a log by the published score of IADSR, in closed form; nothing is sampled.

    Args:
        model: the aligned model.
        trained: how many interactions of each item code were trained on, int64 [V + 1].
        sequences: the log in the model's vocabulary.
        has_ids: which rows have both a user and an item, bool [rows].
        reporter: told of the progress.
    """
    import torch

    from iadsr_cli.transfers import fetched

    rows = len(has_ids)
    terms = np.full((rows, len(TERMS)), np.nan, dtype=np.float32)
    status = np.where(has_ids, Status.UNKNOWN_ITEM, Status.NO_ID).astype(np.int8)
    known = model.known.cpu().numpy()
    evident = known | (trained > 0)
    status[sequences.row_ids] = np.where(
        np.repeat(sequences.lengths, sequences.lengths) < 2,
        Status.SHORT_HISTORY,
        np.where(evident[sequences.codes], Status.SCORED, Status.NO_EVIDENCE),
    )
    model.eval()
    with torch.inference_mode(), reporter.stage("score", len(sequences.codes), "rows") as stage:

        def keep(begin: int, end: int, chunk: "Callable[[], Tensor]") -> None:
            terms[sequences.row_ids[begin:end]] = chunk().numpy()
            stage.advance(end - begin)

        # A chunk is waited for once a GPU has the next one.
        computed: tuple[int, int, Callable[[], Tensor]] | None = None
        for begin, end, chunk in _chunks(model, sequences):
            following = begin, end, fetched(chunk)
            if computed is not None:
                keep(*computed)
            computed = following
        if computed is not None:
            keep(*computed)
    terms[status != Status.SCORED] = np.nan
    return Scores(noise_score(terms), terms, status)


def noise_score(terms: np.ndarray) -> np.ndarray:
    """Return p_noise = 1 - P(keep) = exp(-exp(s)) of the cosines [rows, 3] that sum to s; float32 [rows].

    P(keep) is the chance that s plus one standard Gumbel draw is above 0, which is when the released loop keeps a row.
    """
    return np.exp(-np.exp(terms.sum(axis=1, dtype=np.float64))).astype(np.float32)


def _chunks(model: "AlignedModel", sequences: Sequences) -> "Iterator[tuple[int, int, Tensor]]":
    """Yield the three cosines [end - begin, 3] of interactions `begin` to `end`, stretch by stretch."""
    import torch

    from iadsr_cli.transfers import sent

    for first, last in stretches(sequences.lengths, _PROJECTED_AT_ONCE):
        begin, end = sequences.offsets[[first, last]]
        codes, lengths = sequences.codes[begin:end], sequences.lengths[first:last]
        there = np.flatnonzero(np.bincount(codes))
        place = np.zeros(len(sequences.items) + 1, np.int64)
        place[there] = np.arange(len(there))
        projections = model.projections(sent(torch.from_numpy(there), model.device))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        for some, until in stretches(lengths, _INTERACTIONS_AT_ONCE):
            part = slice(int(ends[some]), int(ends[until]))
            found = _terms(model, projections, codes[part], place[codes[part]], lengths[some:until])
            yield int(begin) + part.start, int(begin) + part.stop, found


def _terms(
    model: "AlignedModel", projections: "Projections", codes: np.ndarray, place: np.ndarray, lengths: np.ndarray
) -> "Tensor":
    """Return the three cosines [n, 3] of whole histories: flat item codes [n] of users with `lengths`.

    `place` [n] says which item of the projections each is.
    """
    import torch

    from iadsr_cli.models.alignment import agreement
    from iadsr_cli.transfers import sent

    c_short, c_long, user = behaviour(model.backbone, codes, lengths)
    items, places = (sent(torch.from_numpy(array), model.device) for array in (codes, place))
    s_short, s_long = model.projected(projections, items, places, user, len(lengths))
    return agreement(c_short, c_long[user], s_short, s_long[user])


def behaviour(backbone: "Backbone", codes: np.ndarray, lengths: np.ndarray) -> "tuple[Tensor, Tensor, Tensor]":
    """Return the collaborative interests of whole histories: flat item codes [n] of u users with `lengths`.

    Returns:
        c_short [n, H], c_long [u, H], and the user of each row, int64 [n].
    """
    import torch

    from iadsr_cli.transfers import sent

    device = backbone.device
    user = sent(torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)), device)
    c_short = torch.empty(len(codes), backbone.hidden_size, device=device)
    for flat, valid, judged in scoring_batches(lengths, backbone.settings.window):
        states = backbone(sent(torch.from_numpy(codes[flat] * valid), device))
        # By their numbers: masks would have the host wait for the device to count what they mark.
        owned = np.flatnonzero(judged)
        place, source = torch.from_numpy(flat.ravel()[owned]), torch.from_numpy(owned)
        c_short[sent(place, device)] = states.flatten(0, 1)[sent(source, device)]
    c_long = torch.full((len(lengths), c_short.shape[1]), -torch.inf, device=device)
    c_long.scatter_reduce_(0, user.unsqueeze(1).expand_as(c_short), c_short, "amax")
    return c_short, c_long, user
