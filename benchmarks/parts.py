"""Cleaning a log in parts: its peak memory and rows per second against the log in memory, and what giving rows back
costs beside plain reading and writing.

    python benchmarks/parts.py [--format csv] [--rows 10000000 100000000] [--users 1000000] [--items 200000]
        [--in-memory 10000000] [--default]

Users have as many rows each in every log, in order of time, so that each user's are all over the file. The model is
ready: a GRU4Rec of the default sizes with semantic vectors of 384 numbers, its weights random, which cost as much to
score with as trained ones. With `--default` there is none, and rows are judged by the default method, without texts.
The first figure of `--rows` is also cleaned in memory, if it is not above `--in-memory`. A plain copy is what pyarrow
takes to read the file and write it again, batch by batch.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from measure import iadsr

from iadsr_cli.artifacts import write_artifact
from iadsr_cli.config import BackboneSettings, Config
from iadsr_cli.models import make_backbone
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.models.store import Vocabulary, save_model

_BLOCK = 1_000_000
_DIMENSION = 384


def generate(file: Path, rows: int, users: int, items: int) -> None:
    """Write a log: row n is of a random user at time n; items are Zipf-like."""
    generator = np.random.default_rng(0)
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("timestamp", pa.int64())])
    make = pa.csv.CSVWriter if file.suffix == ".csv" else pq.ParquetWriter
    with make(file, schema) as writer:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            item = np.minimum(np.exp(generator.random(count) * np.log(items)).astype(np.int64), items - 1)
            columns = [generator.integers(0, users, count), item, np.arange(first, first + count) + 1_600_000_000]
            writer.write_table(pa.table([pa.array(column) for column in columns], schema=schema))


def make_model(folder: Path, items: int) -> None:
    """Write an `align` artifact with random weights that knows all items."""
    torch.manual_seed(0)
    settings = BackboneSettings()
    vectors = torch.nn.functional.normalize(torch.randn(items + 1, _DIMENSION), dim=-1)
    model = AlignedModel(make_backbone(settings, items), vectors, torch.arange(items + 1) > 0)
    ids = pa.array(np.arange(items)).cast(pa.large_string())
    vocabulary = Vocabulary(ids, np.r_[0, np.ones(items, dtype=np.int64)])
    write_artifact(
        folder,
        "align",
        lambda draft: save_model(draft, model, vocabulary, []),
        config={"backbone": settings.record(), "pretrain": Config().pretrain.record()},
        inputs={},
        facts={"items": items, "semantic_size": _DIMENSION, "epochs": 0, "with_vector": items},
    )


def plain_copy(source: Path, target: Path) -> float:
    """Return the seconds of reading a file with pyarrow and writing it again, batch by batch."""
    start = time.perf_counter()
    if source.suffix == ".csv":
        with pa.csv.open_csv(source) as batches, pa.csv.CSVWriter(target, batches.schema) as rows:
            for batch in batches:
                rows.write_batch(batch)
        return time.perf_counter() - start
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
        for number in range(file.num_row_groups):
            writer.write_table(file.read_row_group(number))
    return time.perf_counter() - start


def main() -> None:
    """Generate, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000, 100_000_000])
    parser.add_argument("--users", type=int, default=1_000_000, help="of the largest log")
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--in-memory", type=int, default=10_000_000, help="rows up to which it is also done in memory")
    parser.add_argument("--default", action="store_true", help="judge by the default method, not by a model")
    parser.add_argument("--folder", help="where the logs go while it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        if not arguments.default:
            make_model(folder / "model", arguments.items)
        log, clean, copy = (folder / f"{name}.{arguments.format}" for name in ("log", "clean", "copy"))
        method = ["--text-column", "none"] if arguments.default else ["--model", folder / "model"]
        shared = [*method, "--cache-dir", folder / "cache", "--budget", "5%", "--json", "--force"]
        for rows in arguments.rows:
            generate(log, rows, max(1, arguments.users * rows // max(arguments.rows)), arguments.items)
            for way in ("never", "always"):
                if way == "never" and rows > arguments.in_memory:
                    continue
                seconds, memory, summary = iadsr("denoise", log, "-o", clean, "--in-parts", way, *shared)
                stages = ", ".join(f"{stage} {value:.0f}" for stage, value in summary["seconds"].items())
                where = {"never": "in memory", "always": "in parts"}[way]
                speed = f"{rows / seconds:,.0f} rows/s"
                print(f"{rows:,} rows {where}: {seconds:.0f} s, {speed}, peak {memory:.2f} GB ({stages})", flush=True)
            written = summary["seconds"]["write"]
            copied = plain_copy(log, copy)
            print(
                f"  decide and write {written:.1f} s, plain copy {copied:.1f} s: {written / copied:.2f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
