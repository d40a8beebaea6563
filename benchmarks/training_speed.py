"""One IADSR training step: against the plain loop version, and against the machine's matrix product limit.

    python benchmarks/training_speed.py [--device cpu] [--items 12101] [--steps 20]

The sizes are the authors': D 64, H 128, histories of 31 items, batch 32; the semantic vectors have 384 numbers, as
MiniLM's. The loop version is tests/oracle.py, which the tests hold the tool's code against. The tool's step is also
timed at its own default batch. The limit is the arithmetic of the step over the rate of matrix products, each part at
the precision it is computed in, measured in the same run: of products of the step's own shapes (states times items, for
the softmax), and of large square ones, which no product with a side of D = 64 comes near.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from iadsr_cli.batches import Batch
from iadsr_cli.config import BackboneSettings, Config
from iadsr_cli.devices import WHOLE
from iadsr_cli.hardware import pick_precision, step_precision
from iadsr_cli.loop import PLACES_PER_SEQUENCE
from iadsr_cli.models import make_backbone
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.models.losses import FullSoftmax
from iadsr_cli.models.tiles import can_fuse
from iadsr_cli.replays import Replays
from iadsr_cli.sequences import bucketed_batches

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from oracle import training_step

D, H, T, S = 64, 128, 31, 384


def seconds(step: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median time of a step, after two that warm up."""
    found = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if repeat >= 2:
            found.append(time.perf_counter() - start)
    return float(np.median(found))


def product_rate(precision: torch.dtype, device: torch.device, rows: int, inner: int, columns: int) -> float:
    """Return floating point operations per second of a matrix product, its result written over the last one."""
    left = torch.randn(rows, inner, device=device).to(precision)
    right = torch.randn(columns, inner, device=device).to(precision).T
    out = torch.empty(rows, columns, dtype=precision, device=device)
    return 2 * rows * inner * columns / seconds(lambda: torch.mm(left, right, out=out), device, 10)


def make_model(items: int, device: torch.device) -> AlignedModel:
    """Return an untrained GRU4Rec with semantic vectors for all items."""
    torch.manual_seed(0)
    settings = BackboneSettings(embedding_size=D, hidden_size=H)
    vectors = torch.nn.functional.normalize(torch.randn(items + 1, S), dim=-1)
    known = torch.arange(items + 1) > 0
    model = AlignedModel(make_backbone(settings, items), vectors, known).to(device)
    model.keep_vectors_on_host(device.type != "cuda")
    return model


def make_step(model: AlignedModel, batch: int, precision: torch.dtype, *, compiled: bool = False) -> Callable[[], None]:
    """Return the tool's training step on one batch of random histories, which is on the device already.

    As in the loop, it is replayed where the loss is fused; not so a compiled one.
    """
    device, items = model.device, len(model.semantic) - 1
    fused = can_fuse(device, precision, H)
    replayed = fused and not compiled
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True, capturable=replayed)
    codes = torch.randint(1, items + 1, (batch, T))
    targets = torch.cat([codes[:, 1:], torch.zeros_like(codes[:, :1])], dim=1)
    prepared = model.prepare(codes, whole=fused)
    given = Batch(torch.zeros_like(codes), codes, targets, batch, WHOLE, prepared).sent(device)
    keep = torch.ones(batch, T, device=device)
    next_item, settings = FullSoftmax(precision), Config().align
    losses = torch.compile(model.losses) if compiled else model.losses

    def step(given: Batch) -> None:
        noise = -torch.log(-torch.log(torch.rand_like(keep).clamp_(1e-20, 1 - 1e-7)))
        with step_precision(precision, device):
            terms, _ = losses(
                given.items,
                given.targets,
                keep,
                noise,
                settings.temperature,
                settings.gumbel_tau,
                next_item,
                precision,
                prepared=given.prepared,
            )
        model.zero_grad(set_to_none=True)
        terms.total().backward()
        optimizer.step()

    return partial(Replays(step, device) if replayed else step, given)


def operations(items: int, batch: int) -> tuple[float, float]:
    """Return the operations of a step's matrix products: those of the softmaxes, and the others.

    A product that is trained on both sides is done three times: forward, and backward to each side.
    """
    places, targets = batch * T, batch * (T - 1)
    softmaxes = 3 * 2 * (targets * items * D + places**2 * H + batch**2 * H)
    recurrent = 3 * 2 * places * 3 * H * (D + H)
    dense = 3 * 2 * (targets * H * D + places * H * D)  # the query, the decoder
    semantic = 2 * 2 * (places + batch) * H * (S + D)  # their inputs are not trained
    return softmaxes, recurrent + dense + semantic


def traffic(parameters: int, batch: int) -> float:
    """Return the bytes that a step has to move at least, were all between its parts kept close to where it is computed.

    Each parameter is read with its gradient and both moments, and written with the moments, after the gradient was;
    the semantic vectors and the item embeddings of the batch are read.
    """
    return 4 * (8 * parameters + batch * T * (S + D))


def main() -> None:
    """Time the loop version, the tool's step at two batch sizes, and the matrix products."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--items", type=int, default=12_101, help="size of the catalogue (Beauty's)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the tool's that are timed")
    arguments = parser.parse_args()
    device, config = torch.device(arguments.device), Config()
    precision = pick_precision("auto", device)
    generator = np.random.default_rng(0)
    temperature, tau = config.align.temperature, config.align.gumbel_tau
    print(f"{device}, {torch.get_num_threads()} threads, {arguments.items:,} items, softmaxes in {precision}")

    model = make_model(arguments.items, device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    histories = generator.integers(1, arguments.items + 1, (32, T)).tolist()
    noises = generator.gumbel(size=(32, T)).tolist()
    keeps = [[1.0] * T] * 32
    loop = 32 / seconds(
        lambda: training_step(model, optimizer, histories, keeps, noises, temperature, tau), device, repeats=3
    )
    print(f"loop version, batch 32: {loop:.2f} users/s")

    lengths, limit = np.full(10_000, T), config.loop.batch_size * PLACES_PER_SEQUENCE
    default = len(next(bucketed_batches(lengths, config.loop.batch_size, limit, generator)))
    square = 3 * [8192 if device.type == "cuda" else 2048]
    rates = {
        "own shapes": (
            product_rate(precision, device, default * T, D, arguments.items),
            product_rate(torch.float32, device, default * T, H, 3 * H),
        ),
        "square": (product_rate(precision, device, *square), product_rate(torch.float32, device, *square)),
    }
    for name, (softmax_rate, other_rate) in rates.items():
        print(
            f"matrix products, {name}: {softmax_rate / 1e9:,.0f} GFLOP/s in {precision}, "
            f"{other_rate / 1e9:,.0f} in float32"
        )
    for name, batch in (("batch 32", 32), (f"default batch, {default} histories of this length", default)):
        step = make_step(make_model(arguments.items, device), batch, precision)
        took = seconds(step, device, arguments.steps)
        softmaxes, others = operations(arguments.items, batch)
        limits = {shapes: softmaxes / first + others / second for shapes, (first, second) in rates.items()}
        times = " and ".join(f"{took / limit:.1f} times the limit of {shapes}" for shapes, limit in limits.items())
        print(
            f"iadsr, {name}: {batch / took:,.0f} users/s, {batch / took / loop:,.0f} times the loop version; "
            f"{took * 1e3:.0f} ms a step, {times}"
        )


if __name__ == "__main__":
    main()
