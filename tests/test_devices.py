"""What each of several processes computes of a batch."""

import numpy as np

from iadsr_cli.devices import WHOLE, Group


def test_shares_are_all_of_a_batch() -> None:
    items = np.array([[1, 2, 3], [4, 0, 0], [5, 6, 0], [7, 8, 9], [1, 1, 0]])
    targets = np.array([[2, 3, 4], [0, 0, 0], [6, 7, 0], [8, 9, 0], [1, 0, 0]])
    shares = [Group(rank, 2).share(items, targets) for rank in range(2)]
    assert np.array_equal(np.sort(np.concatenate([items[share.rows] for share in shares]), 0), np.sort(items, 0))
    for share in shares:
        assert share.windows.counts == (3, 2)
        assert share.places.counts == (7, 4)
        assert share.targets.counts == (6, 2)
        assert share.codes is not None and share.codes.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert share.keeps
    assert [share.places.first for share in shares] == [0, 7]
    assert sum(share.targets.weight for share in shares) == 1
    few = [Group(rank, 3).share(items[:2], targets[:2]) for rank in range(3)]
    assert [share.keeps for share in few] == [True, False, False]
    assert all(share.rows == slice(None) and share.windows.weight == 1 / 3 for share in few)
    assert Group().share(items, targets) is WHOLE
