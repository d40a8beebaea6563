"""Memory and time of training on a large catalogue: generated data, the main job from reading to writing.

    python benchmarks/large_catalogue.py [--items 1000000] [--rows 5000000] [--dimension 384] [--backbone gru4rec]

Users have ten rows each on average and a few interests; items are bought by interest and by a Zipf-like popularity,
every one at least once. Prints the peak memory and the seconds of every stage, one epoch each of pretraining and
aligning, and what such an epoch does to the ranking of validation items.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import iadsr

INTERESTS = 1000


def generate(folder: Path, items: int, rows: int, dimension: int) -> tuple[Path, Path]:
    """Write a log and one vector per item; return their paths."""
    generator = np.random.default_rng(0)
    users = rows // 10
    user = np.sort(generator.integers(0, users, rows))
    interest = generator.integers(0, INTERESTS, (users, 3))[user, generator.integers(0, 3, rows)]
    # Item i belongs to interest i % INTERESTS; within one, the k-th item is bought about as often as 1 / k.
    depth = items // INTERESTS
    place = np.minimum(np.exp(generator.random(rows) * np.log(depth)).astype(np.int64), depth - 1)
    item = place * INTERESTS + interest
    item[generator.permutation(rows)[:items]] = np.arange(items)
    log, vectors = folder / "log.parquet", folder / "vectors.parquet"
    pq.write_table(pa.table({"user_id": user, "item_id": item, "timestamp": np.arange(rows) + 1_600_000_000}), log)
    centres = generator.normal(size=(INTERESTS, dimension)).astype(np.float32)
    schema = pa.schema({"item_id": pa.int64(), "vector": pa.list_(pa.float32(), dimension)})
    with pq.ParquetWriter(vectors, schema) as writer:
        for start in range(0, items, 100_000):
            ids = np.arange(start, min(start + 100_000, items))
            values = centres[ids % INTERESTS] + generator.standard_normal((len(ids), dimension), dtype=np.float32)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dimension)
            writer.write_table(pa.table([pa.array(ids), lists], schema=schema))
    return log, vectors


def main() -> None:
    """Generate, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--dimension", type=int, default=384, help="of the semantic vectors (MiniLM's)")
    parser.add_argument("--backbone", default="gru4rec")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log, vectors = generate(folder, arguments.items, arguments.rows, arguments.dimension)
        print(f"{arguments.rows:,} rows, {arguments.items:,} items, vectors of {arguments.dimension}", flush=True)
        shared = ["--cache-dir", folder / "cache", "--json"]
        epochs = ["--method", "iadsr", "--pretrain-epochs", 1, "--align-epochs", 1, "--backbone", arguments.backbone]
        seconds, memory, summary = iadsr(
            "denoise", log, "-o", folder / "clean.parquet", "--encoder", f"vectors:{vectors}", *epochs, *shared
        )
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
        print(f"denoise, cold, {arguments.backbone}: peak {memory:.2f} GB, {seconds:.0f} s ({stages})", flush=True)
        for stage in ("pretrain", "align"):
            (history,) = (folder / "cache" / stage).glob("*/history.jsonl")
            print(f"  {stage}: {history.read_text().strip()}")


if __name__ == "__main__":
    main()
