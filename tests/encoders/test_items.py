"""embed_items: each distinct text once, ever; nothing made up; the same bytes again."""

import time
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import ItemVectors, embed_items
from iadsr_cli.encoders.contract import text_hash
from iadsr_cli.encoders.store import VectorStore
from iadsr_cli.errors import EncoderError
from iadsr_cli.progress import Silent


def embed(texts: list[str | None], cache: Path, reporter: Any = None, batch: int = 64) -> ItemVectors:
    return embed_items(
        [f"i{row}" for row in range(len(texts))],
        texts,
        EncoderSettings(encoder_batch_size=batch),
        device="cpu",
        cache_dir=cache,
        reporter=reporter or Silent(),
    )


def test_items_without_text_have_no_vector(counting: Any, tmp_path: Path) -> None:
    items = embed(["soap", None, "  \n", "", "lip"], tmp_path)
    assert items.known.tolist() == [True, False, False, False, True]
    assert not items.vectors[1:4].any()
    assert items.text_hashes[1:4] == [None, None, None]
    assert items.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(items.vectors[[0, 4]], axis=1), 1)
    assert sorted(counting.seen) == ["lip", "soap"]


def test_texts_that_are_equal_once_stripped_are_embedded_once(counting: Any, tmp_path: Path) -> None:
    items = embed(["soap", " soap\t", "Soap", "soap"], tmp_path)
    assert sorted(counting.seen) == ["Soap", "soap"]
    assert np.array_equal(items.vectors[0], items.vectors[1])
    assert items.text_hashes[0] == items.text_hashes[1] == items.text_hashes[3]
    assert not np.array_equal(items.vectors[0], items.vectors[2])


def test_ten_new_items_embed_ten_texts(counting: Any, tmp_path: Path, recorder: Any) -> None:
    old = [f"old {row}" for row in range(700)]  # more than one question to the store
    new = [f"new {row}" for row in range(10)]
    first = embed([*old], tmp_path)
    counting.seen.clear()
    second = embed([*new, *old], tmp_path, recorder)
    assert sorted(counting.seen) == sorted(new)
    assert np.array_equal(second.vectors[10:], first.vectors)
    assert recorder.notes == ["700 of 710 texts were in the cache."]
    assert recorder.stages == [("embed", 10, "items")]
    assert recorder.done == 10


def test_a_second_run_embeds_nothing(counting: Any, tmp_path: Path, recorder: Any) -> None:
    embed(["a", "b"], tmp_path)
    counting.seen.clear()
    embed(["b", "a"], tmp_path, recorder)
    assert counting.seen == []
    assert recorder.stages == []


def test_an_interrupted_run_continues(counting: Any, tmp_path: Path) -> None:
    texts: list[str | None] = [f"text {row:02}" for row in range(30)]
    counting.fail_after = 20
    with pytest.raises(KeyboardInterrupt):
        embed(texts, tmp_path, batch=10)
    counting.fail_after = None
    counting.seen.clear()
    embed(texts, tmp_path, batch=10)
    assert len(counting.seen) == 10


def test_batches_do_not_depend_on_the_order_of_the_log(counting: Any, tmp_path: Path) -> None:
    texts: list[str | None] = ["bb", "a", "dddd", "aa", "ccc"]
    embed(texts, tmp_path / "one", batch=2)
    first = list(counting.seen)
    counting.seen.clear()
    embed(texts[::-1], tmp_path / "two", batch=2)
    assert counting.seen == first == ["a", "aa", "bb", "ccc", "dddd"]


def test_no_text_at_all_is_an_error(counting: Any, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="None of the 2 items has a text") as caught:
        embed([None, " "], tmp_path)
    assert "--text-column" in caught.value.hint


def test_another_size_than_before_is_an_error(counting: Any, tmp_path: Path) -> None:
    embed(["a"], tmp_path)
    counting.size = 5
    with pytest.raises(EncoderError, match="gives 5 dimensions where it gave 4 before") as caught:
        embed(["a", "b"], tmp_path)
    assert str(tmp_path) in caught.value.hint


def test_a_text_of_which_the_encoder_can_say_nothing_is_unknown(
    counting: Any, tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "encode", lambda texts, stage: np.eye(2, 4, dtype=np.float32) * [[1], [0]])
    items = embed(["a", "b"], tmp_path, recorder)
    assert items.known.tolist() == [True, False]
    assert "1 items" in recorder.notes[0]
    again = embed(["a", "b"], tmp_path)
    assert again.known.tolist() == [True, False]


def test_texts_that_another_process_is_embedding_are_waited_for(counting: Any, tmp_path: Path, recorder: Any) -> None:
    with VectorStore(tmp_path, counting.identity, recorder) as other:
        with other.alone():
            thread = Thread(target=embed, args=(["a", "bb", "ccc"], tmp_path, recorder), daemon=True)
            thread.start()
            while not recorder.notes:
                time.sleep(0.01)
            other.put([text_hash("a"), text_hash("bb")], counting.encode(["a", "bb"], recorder))
            counting.seen.clear()
        thread.join()
    assert counting.seen == ["ccc"]
    assert recorder.notes == [
        "waiting for another iadsr that makes vectors with this encoder",
        "2 of 3 texts were in the cache.",
    ]
    assert recorder.warnings == []
