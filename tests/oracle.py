"""IADSR as slowly and as plainly as it can be written: one user and one position at a time, no batches, no padding.

The batched code has to give the same numbers. Only weights are taken from the model, none of its methods.
"""

import math

import torch
from torch import Tensor

from iadsr_cli.models.alignment import AlignedModel


def gru_states(model: AlignedModel, items: list[int], keep: list[float] | None) -> list[Tensor]:
    """Return the GRU's state [H] after each item of one history, by the textbook equations."""
    gru = model.backbone.gru
    inputs = [model.backbone.item_embedding.weight[item] for item in items]
    if keep is not None:
        inputs = [vector * mask for vector, mask in zip(inputs, keep, strict=True)]
    for layer in range(gru.num_layers):
        w_input, w_hidden = getattr(gru, f"weight_ih_l{layer}"), getattr(gru, f"weight_hh_l{layer}")
        b_input, b_hidden = getattr(gru, f"bias_ih_l{layer}"), getattr(gru, f"bias_hh_l{layer}")
        state, outputs = inputs[0].new_zeros(gru.hidden_size), []
        for vector in inputs:
            from_input, from_state = w_input @ vector + b_input, w_hidden @ state + b_hidden
            reset_i, update_i, new_i = from_input.chunk(3)
            reset_h, update_h, new_h = from_state.chunk(3)
            reset, update = torch.sigmoid(reset_i + reset_h), torch.sigmoid(update_i + update_h)
            state = (1 - update) * torch.tanh(new_i + reset * new_h) + update * state
            outputs.append(state)
        inputs = outputs
    return inputs


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def item_interest(model: AlignedModel, item: int) -> Tensor:
    """Return s_short [H] of one item."""
    if model.known[item]:
        return model.text_short.weight @ model.semantic[item]
    return model.own_short.weight @ model.backbone.item_embedding.weight[item].detach()


def history_interest(model: AlignedModel, items: list[int]) -> Tensor:
    """Return s_long [H] of one history."""
    with_text = [item for item in items if model.known[item]]
    if with_text:
        return model.text_long.weight @ (sum(model.semantic[item] for item in with_text) / len(with_text))
    embeddings = [model.backbone.item_embedding.weight[item].detach() for item in items]
    return model.own_long.weight @ (sum(embeddings) / len(items))


def cosines(model: AlignedModel, items: list[int], keep: list[float] | None = None) -> list[list[Tensor]]:
    """Return the three cosines of every position of one history."""
    states = gru_states(model, items, keep)
    c_long = torch.stack([torch.stack([state[h] for state in states]).max() for h in range(len(states[0]))])
    s_long = history_interest(model, items)
    rows = []
    for item, state in zip(items, states, strict=True):
        s_short = item_interest(model, item)
        rows.append([cosine(s_long, state), cosine(c_long, s_short), cosine(state, s_short)])
    return rows


def cross_entropy(logits: Tensor, target: int) -> Tensor:
    return torch.logsumexp(logits, 0) - logits[target]


def info_nce(queries: list[Tensor], keys: list[Tensor], temperature: float) -> Tensor:
    directions = torch.stack([key / key.norm() for key in keys])
    losses = [
        cross_entropy(directions @ (query / query.norm()) / temperature, place) for place, query in enumerate(queries)
    ]
    return sum(losses) / len(losses)


def losses(
    model: AlignedModel,
    histories: list[list[int]],
    targets: list[list[int]],
    keeps: list[list[float]] | None,
    noises: list[list[float]],
    temperature: float,
    tau: float,
) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Return the four loss terms over several users, and the hard masks; a target of 0 is none."""
    backbone = model.backbone
    weights = backbone.item_embedding.weight
    c_shorts, s_shorts, c_longs, s_longs, next_items, errors, masks = [], [], [], [], [], [], []
    for user, items in enumerate(histories):
        keep = keeps[user] if keeps is not None else None
        states = gru_states(model, items, keep)
        agreements = cosines(model, items, keep)
        c_longs.append(torch.stack(states).max(dim=0).values)
        s_longs.append(history_interest(model, items))
        mask_row = []
        for position, item in enumerate(items):
            state = states[position]
            c_shorts.append(state)
            s_shorts.append(item_interest(model, item))
            if targets[user][position]:
                query = backbone.project.weight @ state + backbone.project.bias
                logits = weights[1:] @ query + backbone.item_bias[1:]
                logits[[code - 1 for code in set(items[: position + 1])]] += backbone.repeat
                next_items.append(cross_entropy(logits, targets[user][position] - 1))
            shifted = sum(agreements[position]) + noises[user][position]
            soft = torch.sigmoid(shifted / tau)
            hard = 1.0 if shifted > 0 else 0.0
            mask_row.append(hard)
            through = hard + soft - soft.detach()
            decoded = model.decoder.weight @ (through * state) + model.decoder.bias
            errors.append(((decoded - weights[item]) ** 2).mean())
        masks.append(mask_row)
    terms = {
        "next_item": sum(next_items) / len(next_items),
        "short": info_nce(c_shorts, s_shorts, temperature),
        "long": info_nce(c_longs, s_longs, temperature),
        "reconstruction": sum(errors) / len(errors),
    }
    return terms, masks


def training_step(
    model: AlignedModel,
    optimizer: torch.optim.Optimizer,
    histories: list[list[int]],
    keeps: list[list[float]] | None,
    noises: list[list[float]],
    temperature: float,
    tau: float,
) -> list[list[float]]:
    """Train once on several users, every item but the first being a target; return the hard masks."""
    targets = [[*items[1:], 0] for items in histories]
    terms, masks = losses(model, histories, targets, keeps, noises, temperature, tau)
    optimizer.zero_grad()
    sum(terms.values()).backward()
    optimizer.step()
    return masks


def noise(model: AlignedModel, items: list[int]) -> list[float]:
    """Return p_noise = 1 - P(keep) of every position of one history."""
    return [math.exp(-math.exp(float(sum(row)))) for row in cosines(model, items)]
