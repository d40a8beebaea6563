"""vectors:FILE.parquet: looked up by id, checked before it is believed."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import ItemVectors, embed_items
from iadsr_cli.encoders.contract import unit_rows
from iadsr_cli.errors import EncoderError
from iadsr_cli.progress import Silent


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def lookup(path: Path, ids: list[str], dimension: int | None = None) -> ItemVectors:
    settings = EncoderSettings(encoder=f"vectors:{path}", encoder_dimension=dimension)
    return embed_items(
        ids, [None] * len(ids), settings, device="cpu", cache_dir=path.parent / "cache", reporter=Silent()
    )


def test_vectors_come_back_by_id_at_unit_length(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", item_id=["x", "y"], vector=[[3.0, 4.0], [0.0, 2.0]])
    items = lookup(path, ["y", "nobody", "x"])
    assert items.known.tolist() == [True, False, True]
    assert np.allclose(items.vectors, [[0, 1], [0, 0], [0.6, 0.8]])
    assert items.vectors.dtype == np.float32
    assert items.text_hashes == [None, None, None]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["book_id", "Article-ID", "movieId", "parent_asin", "item_id:token"])
def test_ids_have_any_name_that_those_of_a_log_have(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "v.parquet", **{"price": [1, 2], name: ["x", "y"], "vector": GOOD})
    assert lookup(path, ["y", "z"]).known.tolist() == [True, False]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float16(), 2),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.int8()),
    ],
    ids=str,
)
def test_kinds_of_lists(tmp_path: Path, kind: pa.DataType) -> None:
    values = [[np.float16(3), np.float16(4)], None] if "half" in str(kind) else [[3, 4], None]
    path = write(tmp_path / "v.parquet", item_id=["x", "y"], vector=pa.array(values, kind))
    items = lookup(path, ["x", "y"])
    assert np.allclose(items.vectors[0], [0.6, 0.8])
    assert items.known.tolist() == [True, False]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([22, 7]),
        pa.array([22.0, 7.0]),
        pa.array(["22", "7"]).dictionary_encode(),
        pa.array([Decimal("22.00"), Decimal("7.00")]),
        pa.array([b"22", b"7"]),
        pa.array([b"22", b"7"], pa.large_binary()).dictionary_encode(),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_match_by_their_spelling(tmp_path: Path, ids: pa.Array) -> None:
    path = write(tmp_path / "v.parquet", movieId=ids, vector=[[1.0, 0.0], [0.0, 1.0]])
    assert lookup(path, ["22", "8"]).known.tolist() == [True, False]


def test_dimension_and_content_are_the_identity(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", item_id=["x"], vector=[[3.0, 4.0, 12.0]])
    items = lookup(path, ["x"], 2)
    assert np.allclose(items.vectors, [[0.6, 0.8]])
    assert items.encoder != lookup(path, ["x"]).encoder
    moved = path.rename(tmp_path / "w.parquet")
    assert lookup(moved, ["x"], 2).encoder == items.encoder
    write(moved, item_id=["x"], vector=[[3.0, 4.0, 13.0]])
    assert lookup(moved, ["x"], 2).encoder != items.encoder


GOOD = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": ["x", "y"], "vector": GOOD}, 'has no item id column. Columns: "name" (string), "vector"'),
        (
            {"item_id": ["x"], "asin": ["y"], "vector": GOOD[:1]},
            "more than one item id column: item_id, asin",
        ),
        ({"item_id": ["x", "y"], "vector": [1.0, 2.0]}, "has no list column of numbers"),
        ({"item_id": ["x", "y"], "tags": [["a"], ["b"]]}, "has no list column of numbers"),
        ({"item_id": ["x", "y"], "v": GOOD, "w": GOOD}, "has 2 list columns of numbers"),
        ({"item_id": ["x", "y"], "v": [[1.0], [1.0, 2.0]]}, 'item "y" has 2 numbers, item "x" has 1'),
        (
            {"item_id": ["x", "y"], "v": [[1.0, 1.0], [1.0, float("nan")]]},
            'item "y" holds a value that is not',
        ),
        (
            {"item_id": ["x", "y"], "v": [[1.0, 1.0], [1.0, float("inf")]]},
            'item "y" holds a value that is not',
        ),
        ({"item_id": ["x", "y"], "v": [[1.0, 1.0], [None, 1.0]]}, 'item "y" holds a value that is not'),
        ({"item_id": ["x", "y"], "v": [[0.0, 0.0], [1.0, 1.0]]}, 'item "x" is all zeros'),
        ({"item_id": ["x", "y"], "v": [[1.0, 1.0], [1e-200, -1e-42]]}, 'item "y" is all zeros'),
        ({"item_id": ["x", "y"], "v": [[1.0, 1.0], [1e200, 1.0]]}, 'item "y" holds a value that is not'),
        ({"item_id": ["x", "x"], "v": GOOD}, 'has item "x" twice (again in row 2)'),
        ({"item_id": [b"x", b"\xff"], "v": GOOD}, 'has an item id in "item_id" that is not UTF-8 text'),
        ({"item_id": ["x", None], "v": GOOD}, "has no item id in row 2"),
        ({"item_id": ["p", "q"], "v": GOOD}, "has vectors for none of the log's 2 items"),
        ({"item_id": ["x"], "v": pa.array([None], pa.list_(pa.float32()))}, "has no vector"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "v.parquet", **columns)
    with pytest.raises(EncoderError, match=re.escape(message)) as caught:
        lookup(path, ["x", "y"])
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="There is no file"):
        lookup(tmp_path / "no.parquet", ["x"])
    (tmp_path / "bad.parquet").write_text("item_id,vector")
    with pytest.raises(EncoderError, match="cannot be read as parquet"):
        lookup(tmp_path / "bad.parquet", ["x"])


def test_more_dimensions_than_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", item_id=["x"], vector=[[3.0, 4.0]])
    with pytest.raises(EncoderError, match="2 dimensions, but 3 were asked for"):
        lookup(path, ["x"], 3)


def test_what_is_beyond_32_bits_is_refused_without_a_warning() -> None:
    with pytest.raises(EncoderError, match="NaN or infinite values in 1 of 2 vectors"):
        unit_rows(np.array([[1e200, 1.0], [1.0, 1.0]]), None, "x")
