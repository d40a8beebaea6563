"""Item vectors on disk: `items.parquet` and `vectors.safetensors`, row by row the same items."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from iadsr_cli.artifacts import read_manifest
from iadsr_cli.encoders.contract import ItemVectors
from iadsr_cli.errors import ArtifactError

ITEMS, VECTORS = "items.parquet", "vectors.safetensors"


def save_vectors(folder: Path, vectors: ItemVectors) -> None:
    """Write the two files into `folder`."""
    table = pa.table(
        {
            "item_id": pa.array(vectors.ids, pa.large_string()),
            "text_hash": pa.array(vectors.text_hashes, pa.string()),
            "known": vectors.known,
        }
    )
    pq.write_table(table, folder / ITEMS, compression="zstd")
    save_file({"vectors": np.ascontiguousarray(vectors.vectors)}, folder / VECTORS)


def load_vectors(folder: Path) -> ItemVectors:
    """Return the vectors of an embed artifact.

    Raises:
        ArtifactError: if the folder is not such an artifact.
    """
    manifest = read_manifest(folder, "embed")
    try:
        table = pq.read_table(folder / ITEMS)
        items = ItemVectors(
            ids=table.column("item_id").cast(pa.large_string()).to_pylist(),
            vectors=load_file(folder / VECTORS)["vectors"],
            known=table.column("known").cast(pa.bool_()).to_numpy(),
            text_hashes=table.column("text_hash").to_pylist(),
            encoder=manifest.config["encoder"],
        )
        if items.vectors.dtype != np.float32 or items.vectors.shape != (len(items.ids), items.vectors.shape[-1]):
            raise ValueError(f"{len(items.ids)} items have vectors {list(items.vectors.shape)}")  # noqa: TRY301
    except (SafetensorError, pa.ArrowException, OSError, LookupError, ValueError) as error:
        raise ArtifactError(
            f"The vectors in {folder} cannot be read: {error}.", "Make them again with: iadsr embed --force."
        ) from None
    return items
