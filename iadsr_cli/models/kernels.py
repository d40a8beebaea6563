"""The Triton kernels of `logsumexp`: P queries [P, SIZE] and V items [V, SIZE], with sums and gradients in float32.

A program has a tile of queries, or of items, and goes over the tiles of the other. `PADDED` is SIZE or the next power
of two, as tiles have to be. Powers are of two, to save a product for each logit. This module can be imported only where
Triton is.
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
