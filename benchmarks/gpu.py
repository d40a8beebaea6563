"""Training, scoring and encoding on a card, each against what the card could do at most, measured in the same run.

    python benchmarks/gpu.py [--device cuda] [--items 12101] [--batches 64,512,4096] [--rows 1000000] [--texts 20000]

The limit of a piece of work is its arithmetic over the rate of matrix products, or the bytes that it has to move over
the rate of large copies on the card or from the host to it, whichever takes longer. Products are measured at sizes of
the work's own, and large and square; copies with blocks of 1 GB. Training is a step of `align` with GRU4Rec as in
training_speed.py (D 64, H 128, S 384, histories of 31), and then the whole loop with its batches, in which only
validation is left out. Scoring is `cosines.score_rows`. Encoding is the bundled MiniLM as `embed` calls it, and an
encoder of seven billion numbers whose weights are random: only its shape counts.

With --device cpu the same runs small, to see that it runs; MiniLM in one way, and a tiny encoder for the large one.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from training_speed import D, H, S, T, make_model, make_step, operations, product_rate, seconds, traffic

from iadsr_cli import loop, training
from iadsr_cli.config import AlignSettings, Config, EncoderSettings, LoopSettings, RunSettings
from iadsr_cli.cosines import score_rows
from iadsr_cli.encoders import bundled
from iadsr_cli.models import make_backbone, recurrence
from iadsr_cli.progress import Silent, SilentStage, Stage
from iadsr_cli.sequences import Sequences

LOW, FULL = torch.bfloat16, torch.float32
# Bytes of a card that the large encoder needs: its weights and a batch.
LARGE_ENCODER = 20e9
TOKENS = 32  # of a text, for the large encoder; a title has about as many


@dataclass(frozen=True)
class Card:
    """A device and what it was found to do at most.

    Attributes:
        device: the device.
        square: operations per second of large square products, by number type.
        copies: bytes per second of a large copy, read and written ones together.
        bus: bytes per second from pinned memory of the host; infinite where that is the device's own.
    """

    device: torch.device
    square: dict[torch.dtype, float]
    copies: float
    bus: float

    def product(self, precision: torch.dtype, rows: int, inner: int, columns: int) -> float:
        """Return operations per second of products of one size."""
        return product_rate(precision, self.device, rows, inner, columns)

    def compared(self, took: float, own: float, square: float, moved: float, sent: float = 0.0) -> str:
        """Say how far seconds are from the limit.

        Args:
            took: seconds.
            own: seconds that the products take at the rate of their own sizes.
            square: seconds that they take at the rate of large square ones.
            moved: bytes read and written on the card.
            sent: bytes sent to it.
        """
        copying = {"memory": moved / self.copies, "the way from the host": sent / self.bus}
        parts = []
        for name, products in (("own sizes", own), ("square ones", square)):
            limits = {f"products of {name}": products, **copying}
            binding = max(limits, key=lambda limit: limits[limit])
            parts.append(f"{took / limits[binding]:.1f} times the limit by {binding} ({limits[binding] * 1e3:.2f} ms)")
        return "; ".join(dict.fromkeys(parts))


def measure(device: torch.device) -> Card:
    """Measure the device, and say what it is."""
    cuda = device.type == "cuda"
    side, block = (8192, 2**30) if cuda else (256, 2**26)
    square = {precision: product_rate(precision, device, side, side, side) for precision in (LOW, FULL)}
    source = torch.ones(block // 4, device=device)
    target = torch.empty_like(source)
    copies = 2 * block / seconds(lambda: target.copy_(source), device, 10)
    bus = np.inf
    if cuda:
        host = torch.ones(block // 4).pin_memory()
        bus = block / seconds(lambda: target.copy_(host, non_blocking=True), device, 10)
    name = torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} threads of the processor"
    print(f"{name}, torch {torch.__version__}")
    print(
        f"products of {side} x {side}: {square[LOW] / 1e12:.2f} TFLOP/s in bfloat16, "
        f"{square[FULL] / 1e12:.2f} in float32"
    )
    print(
        f"copies: {copies / 1e9:.0f} GB/s" + (f", {bus / 1e9:.0f} GB/s from pinned memory of the host" if cuda else "")
    )
    return Card(device, square, copies, bus)


def time_steps(card: Card, items: int, batches: list[int], steps: int, *, compiling: bool) -> None:
    """Print the time of a training step by itself, for each batch and number type, eager and compiled."""
    for batch in batches:
        softmaxes, others = operations(items, batch)
        if card.device.type == "cuda":
            kinds = {"the library's, float32": False}
            if recurrence.is_persistent(card.device, LOW, H):
                kinds["by one kernel, bfloat16, as in a step"] = True
            for name, fused in kinds.items():
                took = seconds(make_recurrence(batch, card.device, fused=fused), card.device, steps)
                print(f"GRU alone, {batch:,} histories, {name}: {took * 1e3:.2f} ms", flush=True)
        for precision in (LOW, FULL):
            # On a processor the softmaxes alone are in the small type.
            other = precision if card.device.type == "cuda" else FULL
            own = softmaxes / card.product(precision, batch * T, D, items)
            own += others / card.product(other, batch * T, H, 3 * H)
            square = softmaxes / card.square[precision] + others / card.square[other]
            for compiled in (False, True) if compiling else (False,):
                model = make_model(items, card.device)
                parameters = sum(parameter.numel() for parameter in model.parameters())
                name = f"step, {batch:,} histories, {str(precision).removeprefix('torch.')}"
                name += ", torch.compile" if compiled else ""
                try:
                    took = seconds(make_step(model, batch, precision, compiled=compiled), card.device, steps)
                except Exception as error:  # whatever a compiler raises; the rest is still worth knowing
                    if not compiled:
                        raise
                    print(f"{name}: fails, {type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
                    continue
                compared = card.compared(took, own, square, traffic(parameters, batch))
                print(f"{name}: {batch / took:,.0f} users/s, {took * 1e3:.2f} ms, {compared}", flush=True)


def make_recurrence(batch: int, device: torch.device, *, fused: bool) -> Callable[[], None]:
    """Return a step of the GRU of the step by itself, which goes through T places one after another.

    The library's, or, where `fused`, that of a kernel.
    """
    gru = torch.nn.GRU(D, H, batch_first=True).to(device)
    given = torch.randn(batch, T, D, device=device, requires_grad=True)
    upstream = torch.ones(batch, T, H, device=device)

    def step() -> None:
        states = recurrence.states(gru, given, LOW) if fused else gru(given)[0]
        states.backward(upstream)

    return step


class Clock(Silent):
    """A reporter that keeps when it was told of steps; of the fifth and of the last, when they were done."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.done: list[int] = []
        self._total = 0

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        """Open a stage that is its own clock."""
        self._total = total or 0
        yield self

    def advance(self, amount: int = 1) -> None:
        """Keep when it was, and how much; a GPU may be behind what it was told to do."""
        self.done.append(amount)
        # It is first told of the epochs that were done before.
        if torch.cuda.is_available() and (len(self.done) == 6 or sum(self.done) >= self._total):
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def describe(self, detail: str) -> None:
        """Ignore."""


def random_log(items: int, users: int) -> Sequences:
    """Return histories of T random items."""
    codes = np.random.default_rng(0).integers(1, items + 1, users * T)
    names = pa.array(np.arange(items).astype(str))
    return Sequences(names, codes, np.arange(len(codes)), np.arange(users + 1) * T)


def time_loop(card: Card, items: int, batches: list[int], steps: int) -> None:
    """Print the speed of the loop, batches and all, from its fifth step to its last."""
    for batch in batches:
        # Of histories of T the loop puts fewer into a batch than of short ones; two of each are held out.
        size = -(-batch * (T - 2) // loop.PLACES_PER_SEQUENCE)
        config = Config(
            align=AlignSettings(align_epochs=1),
            loop=LoopSettings(batch_size=size, loss="full"),
            run=RunSettings(device=card.device.type),
        )
        log = random_log(items, batch * (steps + 5))
        backbone = make_backbone(replace(config.backbone, embedding_size=D, hidden_size=H), items)
        vectors = np.random.default_rng(1).standard_normal((items + 1, S), dtype=np.float32)
        clock = Clock()
        training.align(log, backbone, vectors, np.arange(items + 1) > 0, 2, config, clock)
        # The first tells of the epochs that were done before.
        times, done = clock.times[1:], clock.done[1:]
        rate = sum(done[5:]) / (times[-1] - times[4])
        print(f"loop, {max(done):,} histories: {rate:,.0f} users/s", flush=True)


def time_scoring(card: Card, items: int, rows: int) -> None:
    """Print the speed of scoring a log with a ready model."""
    model, log = make_model(items, card.device).eval(), random_log(items, rows // T)
    rows, users = len(log.codes), rows // T
    trained, has_ids = np.ones(items + 1, np.int64), np.ones(rows, dtype=bool)
    took = seconds(lambda: score_rows(model, trained, log, has_ids, Silent()), card.device, 3)
    recurrent, dense = 2 * rows * 3 * H * (D + H), 2 * H * (items * (2 * S + D) + users * D)
    own = recurrent / card.product(FULL, min(rows, 16_384), H, 3 * H)
    own += dense / card.product(FULL, items, S, H)
    square = (recurrent + dense) / card.square[FULL]
    # Items are projected once, from vectors that come from the host. Of a row its code and its item's place come, two
    # projections are read, and a state is written and read.
    compared = card.compared(took, own, square, 4 * (items * 2 * (S + 2 * H) + rows * 4 * H), 4 * items * S + 16 * rows)
    print(f"scoring: {rows / took:,.0f} rows/s, {compared}", flush=True)


def transformer(layers: int, hidden: int, between: int, keys: int, tokens: int, length: float) -> tuple[float, float]:
    """Return the operations of a transformer on `tokens` in texts of some mean `length`, and its layers' parameters.

    Args:
        layers: how many.
        hidden: numbers of a state.
        between: width of the feed-forward products, all of them together.
        keys: numbers of a key or a value.
        tokens: of all texts.
        length: mean tokens of a text.
    """
    parameters = layers * (2 * hidden * hidden + 2 * hidden * keys + hidden * between)
    return 2 * tokens * parameters + 4 * layers * tokens * length * hidden, parameters


def time_minilm(card: Card, texts: int) -> None:
    """Print the speed of the bundled encoder, at two batch sizes and in two number types."""
    generator = np.random.default_rng(0)
    words = np.array([f"{first}{last}" for first in "bcdfglmnprst" for last in ("ade", "oke", "urn", "ill", "ast")])
    titles = [" ".join(generator.choice(words, count)) for count in generator.integers(3, 16, texts)]
    cuda = card.device.type == "cuda"
    for precision in (FULL, LOW) if cuda else (FULL,):
        for batch in (64, 1024) if cuda else (64,):
            name = str(precision).removeprefix("torch.")
            settings = EncoderSettings(encoder="minilm", encoder_dtype=name, encoder_batch_size=batch)
            encoder = bundled.minilm("", settings, card.device.type)
            lengths = np.array(encoder.lengths(titles))
            ordered = [titles[place] for place in np.argsort(lengths, kind="stable")]
            work, parameters = transformer(6, 384, 2 * 1536, 384, lengths.sum(), lengths.mean())
            took = seconds(partial(encoder.encode, ordered, SilentStage()), card.device, 3)
            own = work / card.product(precision, batch * int(lengths.mean()), 384, 1536)
            moved = parameters * precision.itemsize * texts / batch
            compared = card.compared(took, own, work / card.square[precision], moved)
            print(f"MiniLM, {name}, batches of {batch:,}: {texts / took:,.0f} items/s, {compared}", flush=True)


def time_large_encoder(card: Card) -> None:
    """Print the speed of an encoder of the shape of Mistral 7B, with mean pooling; of a tiny one on a processor."""
    from transformers import AutoModel, MistralConfig

    cuda = card.device.type == "cuda"
    if cuda and torch.cuda.get_device_properties(card.device).total_memory < LARGE_ENCODER:
        print(f"encoder of 7 billion: left out, the card has less than {LARGE_ENCODER / 1e9:.0f} GB")
        return
    if not cuda:
        print("encoder of 7 billion: left out, it needs a GPU; a tiny one of the same kind instead")
    layers, hidden, heads, keys, between = (32, 4096, 32, 8, 14_336) if cuda else (2, 64, 4, 2, 128)
    shape = MistralConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        intermediate_size=between,
    )
    with card.device:
        model = AutoModel.from_config(shape, dtype=LOW).eval()

    def encode(tokens: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(tokens, use_cache=False).last_hidden_state.mean(1).float().cpu()

    for batch in (16, 256) if cuda else (4,):
        tokens = torch.randint(1, shape.vocab_size, (batch, TOKENS), device=card.device)
        work, parameters = transformer(layers, hidden, 3 * between, hidden * keys // heads, batch * TOKENS, TOKENS)
        took = seconds(partial(encode, tokens), card.device, 5)
        own = work / card.product(LOW, batch * TOKENS, hidden, between)
        compared = card.compared(took, own, work / card.square[LOW], 2 * parameters)
        name = f"{layers} layers of {hidden:,}, bfloat16, random weights, batches of {batch} texts of {TOKENS} tokens"
        print(f"encoder of {name}: {batch / took:,.0f} items/s, {compared}", flush=True)


def main() -> None:
    """Measure the card, then each kind of work."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    device = torch.device(parser.parse_known_args()[0].device)
    large = device.type == "cuda"
    parser.add_argument("--items", type=int, default=12_101 if large else 500, help="size of the catalogue")
    parser.add_argument("--batches", default="64,512,4096" if large else "8", help="histories of a step")
    parser.add_argument("--steps", type=int, default=20 if large else 3, help="steps that are timed")
    parser.add_argument("--rows", type=int, default=1_000_000 if large else 5_000, help="rows that are scored")
    parser.add_argument("--texts", type=int, default=20_000 if large else 64, help="texts that are encoded")
    parser.add_argument("--compile", action="store_true", help="time the compiled step, too")
    arguments = parser.parse_args()
    batches = [int(number) for number in arguments.batches.split(",")]
    card = measure(device)
    work: list[Callable[[], None]] = [
        lambda: time_steps(card, arguments.items, batches, arguments.steps, compiling=arguments.compile),
        lambda: time_loop(card, arguments.items, batches, arguments.steps),
        lambda: time_scoring(card, arguments.items, arguments.rows),
        lambda: time_minilm(card, arguments.texts),
        lambda: time_large_encoder(card),
    ]
    for part in work:
        part()
        if large:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
