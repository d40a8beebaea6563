import pytest
import torch

from iadsr_cli.models.items import ItemEmbedding

NOWHERE = torch.device("meta")


def test_what_stays_on_the_host_does_so_until_it_is_told_otherwise() -> None:
    table = ItemEmbedding(5, 3)
    table.stay_on_host(True)
    assert table.to(NOWHERE).weight.device.type == "cpu"
    table.stay_on_host(False)
    assert table.to(NOWHERE).weight.device == NOWHERE


def test_the_whole_table_is_on_the_device_for_a_while() -> None:
    table = ItemEmbedding(5, 3)
    table.stay_on_host(True)
    before = table.weight
    with pytest.raises(KeyboardInterrupt), table.whole_on(NOWHERE):
        assert table.weight.device == NOWHERE
        assert table(torch.tensor([1], device=NOWHERE)).device == NOWHERE
        raise KeyboardInterrupt
    assert table.weight is before
    assert table.on_host
    with ItemEmbedding(5, 3).whole_on(NOWHERE):
        pass


def test_rows_of_the_host_and_their_gradients_are_those_of_the_device() -> None:
    codes, factors = torch.tensor([[3, 1, 0], [3, 2, 0]]), torch.arange(18.0).view(2, 3, 3)
    found = []
    for on_host in (False, True):
        torch.manual_seed(0)
        table = ItemEmbedding(5, 3)
        table.sparse = True
        table.stay_on_host(on_host)
        rows = table(codes)
        (rows * factors).sum().backward()
        gradient = table.weight.grad
        assert gradient.is_sparse
        found.append((rows, gradient.coalesce()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1].indices(), found[1][1].indices())
    assert torch.equal(found[0][1].values(), found[1][1].values())
    assert found[1][1].indices().tolist() == [[1, 2, 3]]
