"""The Triton kernels of `logsumexp` and `recurrence`, with sums, states and gradients in float32.

`sums` and `gradients` are of P queries [P, SIZE] and V items [V, SIZE]: a program has a tile of queries, or of items,
and goes over the tiles of the other. `recur` and `recur_back` are of B sequences of T places: a program has a few of
the sequences and goes over places. `PADDED` is SIZE or the next power of two, as tiles have to be. Powers are of two,
to save a product for each. This module can be imported only where Triton is.
"""

import triton
import triton.language as tl

_LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
_LOWEST: tl.constexpr = tl.constexpr(-1e30)


@triton.jit
def _rows(table, row, count, SIZE: tl.constexpr, PADDED: tl.constexpr):
    """Return rows of a table [count, SIZE]; zeros beyond its end."""
    column = tl.arange(0, PADDED)
    inside = (row < count)[:, None] & (column < SIZE)[None, :]
    return tl.load(table + row.to(tl.int64)[:, None] * SIZE + column[None, :], mask=inside, other=0.0)


@triton.jit
def _values(vector, place, count, OTHER: tl.constexpr):
    """Return values of a vector [count]; beyond its end, another."""
    return tl.load(vector + place, mask=place < count, other=OTHER)


@triton.jit(do_not_specialize=["P", "V"])
def sums(
    queries,
    weight,
    bias,
    mass,
    means,
    P,
    V,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    QUERIES: tl.constexpr,
    ITEMS: tl.constexpr,
):
    """Write the logarithm of the sum of exp(logits) of each query, and the mean of items' rows by their shares of it.

    As attention does whose keys are its values: what was added up is made smaller whenever a larger logit is met.
    """
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    left = _rows(queries, query, P, SIZE, PADDED)
    top = tl.full((QUERIES,), _LOWEST, tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    found = tl.zeros((QUERIES, PADDED), tl.float32)
    for start in range(0, V, ITEMS):
        item = start + tl.arange(0, ITEMS)
        right = _rows(weight, item, V, SIZE, PADDED)
        logits = tl.dot(left, tl.trans(right)) * _LOG2_E + (_values(bias, item, V, _LOWEST) * _LOG2_E)[None, :]
        higher = tl.maximum(top, tl.max(logits, 1))
        smaller, share = tl.exp2(top - higher), tl.exp2(logits - higher[:, None])
        total = total * smaller + tl.sum(share, 1)
        found = found * smaller[:, None] + tl.dot(share.to(right.dtype), right)
        top = higher
    tl.store(mass + query, (top + tl.log2(total)) / _LOG2_E, mask=query < P)
    column = tl.arange(0, PADDED)
    inside = (query < P)[:, None] & (column < SIZE)[None, :]
    tl.store(means + query.to(tl.int64)[:, None] * SIZE + column[None, :], found / total[:, None], mask=inside)


@triton.jit(do_not_specialize=["P", "V", "each"])
def gradients(
    queries,
    weight,
    bias,
    mass,
    upstream,
    gradient,
    gradient_bias,
    P,
    V,
    each,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    QUERIES: tl.constexpr,
    ITEMS: tl.constexpr,
):
    """Add to the gradients of each item what the `each` queries of a part make of it."""
    item = tl.program_id(0) * ITEMS + tl.arange(0, ITEMS)
    right = _rows(weight, item, V, SIZE, PADDED)
    own = (_values(bias, item, V, _LOWEST) * _LOG2_E)[:, None]
    found = tl.zeros((ITEMS, PADDED), tl.float32)
    found_bias = tl.zeros((ITEMS,), tl.float32)
    first = tl.program_id(1) * each
    for start in range(first, tl.minimum(first + each, P), QUERIES):
        query = start + tl.arange(0, QUERIES)
        left = _rows(queries, query, P, SIZE, PADDED)
        logits = tl.dot(right, tl.trans(left)) * _LOG2_E + (own - (_values(mass, query, P, 0.0) * _LOG2_E)[None, :])
        # Beyond the last query the gradient of its sum is 0.
        share = tl.exp2(logits) * _values(upstream, query, P, 0.0)[None, :]
        found += tl.dot(share.to(left.dtype), left)
        found_bias += tl.sum(share, 1)
    column = tl.arange(0, PADDED)
    inside = (item < V)[:, None] & (column < SIZE)[None, :]
    tl.atomic_add(gradient + item.to(tl.int64)[:, None] * SIZE + column[None, :], found, mask=inside)
    tl.atomic_add(gradient_bias + item, found_bias, mask=item < V)


@triton.jit
def _sigmoid(value):
    return 1 / (1 + tl.exp2(-value * _LOG2_E))


@triton.jit
def _gate(table, gate, row, column, SIZE: tl.constexpr):
    """Return the matrix of one gate from a table [3 * SIZE, SIZE]; zeros beyond its end."""
    place = table + gate * SIZE * SIZE + row * SIZE + column
    return tl.load(place, mask=(row < SIZE) & (column < SIZE), other=0.0)


@triton.jit(do_not_specialize=["B", "T"])
def recur(given, weight, bias, states, gates, B, T, SIZE: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr):
    """Write the states [B, 1 + T, SIZE] of a GRU from the second on, and the gates [B, T, 4 * SIZE] they came by.

    `given` [B, T, 3 * SIZE] is what inputs add to the reset gate, the update gate and the new state; gates are these
    three, and what the last state adds to the new one.
    """
    unit = tl.arange(0, PADDED)
    own, other = unit[None, :], unit[:, None]
    # They stay where the program computes, turned over: rows are of the last state.
    of_reset, of_update = _gate(weight, 0, own, other, SIZE), _gate(weight, 1, own, other, SIZE)
    of_new = _gate(weight, 2, own, other, SIZE)
    bias_reset = _values(bias, unit, SIZE, 0.0)[None, :]
    bias_update = _values(bias + SIZE, unit, SIZE, 0.0)[None, :]
    bias_new = _values(bias + 2 * SIZE, unit, SIZE, 0.0)[None, :]
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)[:, None]
    inside = (first + row < B) & (own < SIZE)
    state = tl.zeros((ROWS, PADDED), tl.float32)
    for step in range(T):
        source = given + (first * T + step) * (3 * SIZE) + (row * (T * 3 * SIZE) + own)
        given_reset = tl.load(source, mask=inside, other=0.0).to(tl.float32)
        given_update = tl.load(source + SIZE, mask=inside, other=0.0).to(tl.float32)
        given_new = tl.load(source + 2 * SIZE, mask=inside, other=0.0).to(tl.float32)
        last = state.to(of_reset.dtype)
        reset = _sigmoid(given_reset + bias_reset + tl.dot(last, of_reset))
        update = _sigmoid(given_update + bias_update + tl.dot(last, of_update))
        recurrent = bias_new + tl.dot(last, of_new)
        new = 2 * _sigmoid(2 * (given_new + reset * recurrent)) - 1  # the hyperbolic tangent
        state = new + update * (state - new)
        kept = gates + (first * T + step) * (4 * SIZE) + (row * (T * 4 * SIZE) + own)
        tl.store(kept, reset, mask=inside)
        tl.store(kept + SIZE, update, mask=inside)
        tl.store(kept + 2 * SIZE, new, mask=inside)
        tl.store(kept + 3 * SIZE, recurrent, mask=inside)
        place = states + (first * (T + 1) + step + 1) * SIZE + (row * ((T + 1) * SIZE) + own)
        tl.store(place, state, mask=inside)


@triton.jit(do_not_specialize=["B", "T"])
def recur_back(
    weight,
    states,
    gates,
    upstream,
    slopes,
    B,
    T,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write the gradients [B, T, 4 * SIZE] of the loss by what went into the gates, from those by states [B, T, SIZE].

    They are of what goes into the reset gate, the update gate and the new state, and of what the last state adds to the
    new one; from the last place to the first, as the state of each has had a part in the next one.
    """
    unit = tl.arange(0, PADDED)
    own, other = unit[None, :], unit[:, None]
    of_reset, of_update = _gate(weight, 0, other, own, SIZE), _gate(weight, 1, other, own, SIZE)
    of_new = _gate(weight, 2, other, own, SIZE)
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)[:, None]
    inside = (first + row < B) & (own < SIZE)
    slope = tl.zeros((ROWS, PADDED), tl.float32)
    for back in range(T):
        step = T - 1 - back
        kept = gates + (first * T + step) * (4 * SIZE) + (row * (T * 4 * SIZE) + own)
        reset = tl.load(kept, mask=inside, other=0.0)
        update = tl.load(kept + SIZE, mask=inside, other=0.0)
        new = tl.load(kept + 2 * SIZE, mask=inside, other=0.0)
        recurrent = tl.load(kept + 3 * SIZE, mask=inside, other=0.0)
        place = states + (first * (T + 1) + step) * SIZE + (row * ((T + 1) * SIZE) + own)
        last = tl.load(place, mask=inside, other=0.0)
        place = upstream + (first * T + step) * SIZE + (row * (T * SIZE) + own)
        slope += tl.load(place, mask=inside, other=0.0)
        slope_new = slope * (1 - update) * (1 - new * new)
        slope_update = slope * (last - new) * update * (1 - update)
        slope_reset = slope_new * recurrent * reset * (1 - reset)
        slope_recurrent = slope_new * reset
        target = slopes + (first * T + step) * (4 * SIZE) + (row * (T * 4 * SIZE) + own)
        tl.store(target, slope_reset, mask=inside)
        tl.store(target + SIZE, slope_update, mask=inside)
        tl.store(target + 2 * SIZE, slope_new, mask=inside)
        tl.store(target + 3 * SIZE, slope_recurrent, mask=inside)
        slope = slope * update + tl.dot(slope_reset.to(of_reset.dtype), of_reset)
        slope += tl.dot(slope_update.to(of_update.dtype), of_update)
        slope += tl.dot(slope_recurrent.to(of_new.dtype), of_new)
