"""The cache of vectors: what is damaged is computed again and said; it never stops a run."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadsr_cli.encoders import store as store_module
from iadsr_cli.encoders.store import VectorStore
from iadsr_cli.progress import Silent

IDENTITY = {"kind": "test"}
VECTORS = np.eye(3, dtype=np.float32)


def filled(cache: Path) -> Path:
    with VectorStore(cache, IDENTITY, Silent()) as store:
        store.put(["a", "b", "c"], VECTORS)
        return store.path


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    filled(tmp_path)
    with VectorStore(tmp_path, IDENTITY, Silent()) as store:
        found = store.get(["a", "c", "x"])
    assert found.keys() == {"a", "c"}
    assert np.array_equal(found["c"], VECTORS[2])


def test_another_identity_has_another_file(tmp_path: Path) -> None:
    filled(tmp_path)
    with VectorStore(tmp_path, {"kind": "test", "dtype": "bfloat16"}, Silent()) as store:
        assert store.get(["a"]) == {}


def test_a_file_that_is_no_database_is_built_again(tmp_path: Path, recorder: Any) -> None:
    filled(tmp_path).write_bytes(b"this is not a database, however long it may be" * 100)
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        assert store.get(["a"]) == {}
        store.put(["a"], VECTORS[:1])
        assert store.get(["a"]).keys() == {"a"}
    assert len(recorder.warnings) == 1
    assert "is damaged" in recorder.warnings[0]
    assert str(store.path) in recorder.warnings[0]


def test_a_database_with_damaged_pages_is_built_again(tmp_path: Path, recorder: Any) -> None:
    with VectorStore(tmp_path, IDENTITY, Silent()) as store:
        store.put([f"{row:064}" for row in range(300)], np.tile(VECTORS[:1], (300, 1)))
    content = bytearray(store.path.read_bytes())
    content[3 * 4096 :] = b"\xff" * (len(content) - 3 * 4096)
    store.path.write_bytes(content)
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        found = store.get([f"{row:064}" for row in range(300)])
        assert len(found) < 300
        store.put(["a"], VECTORS[:1])
        assert store.get(["a"]).keys() == {"a"}
    assert len(recorder.warnings) == 1


@pytest.mark.parametrize("blob", [b"short", b"", np.full(3, 7, "<f4").tobytes(), np.full(3, np.nan, "<f4").tobytes()])
def test_a_damaged_vector_is_forgotten_and_replaced(tmp_path: Path, recorder: Any, blob: bytes) -> None:
    connection = sqlite3.connect(filled(tmp_path))
    with connection:
        connection.execute("UPDATE vectors SET vector = ? WHERE text_hash = 'b'", (blob,))
    connection.close()
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        assert store.get(["a", "b", "c"]).keys() == {"a", "c"}
        store.put(["b"], VECTORS[1:2])
        assert np.array_equal(store.get(["b"])["b"], VECTORS[1])
    assert recorder.warnings == [f"1 vectors in {store.path} are damaged; they are computed again."]


def test_a_file_of_another_encoder_is_not_believed(tmp_path: Path, recorder: Any) -> None:
    connection = sqlite3.connect(filled(tmp_path))
    with connection:
        connection.execute("""UPDATE meta SET value = '{"kind": "other"}' WHERE key = 'identity'""")
    connection.close()
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        assert store.get(["a"]) == {}
    assert "belongs to another encoder" in recorder.warnings[0]


def test_a_folder_that_cannot_be_written_is_said_and_done_without(tmp_path: Path, recorder: Any) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with VectorStore(tmp_path / "cache", IDENTITY, recorder) as store:
        assert store.get(["a"]) == {}
        store.put(["a"], VECTORS[:1])
    assert len(recorder.warnings) == 1
    assert "cannot be kept" in recorder.warnings[0]


def test_a_file_that_is_read_only_is_read(tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    connect = sqlite3.connect

    def read_only(path: Path, **options: Any) -> sqlite3.Connection:  # tests may run as root, whom no mode stops
        return connect(f"file:{path}?mode=ro", uri=True, **options)

    monkeypatch.setattr(store_module.sqlite3, "connect", read_only)
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        assert store.get(["a"]).keys() == {"a"}
        store.put(["d"], VECTORS[:1])
    assert len(recorder.warnings) == 1
    assert "readonly" in recorder.warnings[0]


def test_two_at_a_time(tmp_path: Path, recorder: Any) -> None:
    with VectorStore(tmp_path, IDENTITY, recorder) as one, VectorStore(tmp_path, IDENTITY, recorder) as two:
        one.put(["a"], VECTORS[:1])
        two.put(["a", "b"], VECTORS[:2])
        assert one.get(["a", "b"]).keys() == {"a", "b"}
    assert recorder.warnings == []


def test_a_lock_that_does_not_go_away_is_no_damage(
    tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path)
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        assert store.get(["a"]) == {}
    other.execute("ROLLBACK")
    other.close()
    assert "locked" in recorder.warnings[0]
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        assert store.get(["a"]).keys() == {"a"}


def test_a_flipped_bit_anywhere_is_no_wrong_vector_and_no_end(tmp_path: Path) -> None:
    keys = [f"{row:064}" for row in range(60)]
    vectors = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    with VectorStore(tmp_path, IDENTITY, Silent()) as store:
        store.put(keys, vectors)
    whole = store.path.read_bytes()
    rng = np.random.default_rng(1)
    for place in (*range(100), *rng.integers(0, len(whole), 200).tolist()):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        store.path.write_bytes(content)
        with VectorStore(tmp_path, IDENTITY, Silent()) as store:
            for key, vector in store.get(keys).items():
                assert np.array_equal(vector, vectors[keys.index(key)]), place
            store.put(["new"], vectors[:1])


def test_a_file_whose_damage_is_found_when_it_is_written_is_built_again(tmp_path: Path, recorder: Any) -> None:
    with VectorStore(tmp_path, IDENTITY, Silent()) as store:
        store.put([f"{row:064}" for row in range(300)], np.tile(VECTORS[:1], (300, 1)))
    with VectorStore(tmp_path, IDENTITY, recorder) as store:
        content = bytearray(store.path.read_bytes())
        content[3 * 4096 :] = b"\xff" * (len(content) - 3 * 4096)
        store.path.write_bytes(content)
        store.put([f"{row:064}" for row in range(300, 600)], np.tile(VECTORS[:1], (300, 1)))
        assert len(store.get([f"{row:064}" for row in range(600)])) == 300
    assert len(recorder.warnings) == 1
    assert "is built again" in recorder.warnings[0]
