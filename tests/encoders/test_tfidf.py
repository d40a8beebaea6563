"""TF-IDF: sensible, deterministic, and at ease with tiny corpora."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import ItemVectors, embed_items
from iadsr_cli.progress import Silent

TEXTS = ["red lip stick", "red lipstick matte", "blue nail polish", "nail polishes, blue", "garden hose 20m"]


def embed(texts: list[str], cache: Path, dimension: int | None = None) -> ItemVectors:
    settings = EncoderSettings(encoder="tfidf", encoder_dimension=dimension)
    ids = [str(row) for row in range(len(texts))]
    return embed_items(ids, texts, settings, device="cpu", cache_dir=cache, reporter=Silent())


def test_texts_that_share_words_or_letters_are_near(tmp_path: Path) -> None:
    vectors = embed(TEXTS, tmp_path).vectors
    near = vectors @ vectors.T
    assert near[0, 1] > 0.3
    assert near[2, 3] > 0.3
    assert abs(near[0, 2]) < 0.1
    assert np.allclose(np.diag(near), 1, atol=1e-5)


@pytest.mark.parametrize("texts", [["soap"], ["7"], ["!!"], ["a", "b"], ["a", "a b", "一"], ["same", "same"]])
def test_tiny_corpora(texts: list[str], tmp_path: Path) -> None:
    items = embed(texts, tmp_path)
    assert items.vectors.shape[1] <= len(texts)
    assert items.known.all()
    assert np.allclose(np.linalg.norm(items.vectors, axis=1), 1, atol=1e-5)


def test_the_same_bytes_again_in_any_order(tmp_path: Path) -> None:
    texts = [f"{a} {b} {c}" for a in ("red", "blue") for b in ("soap", "lip", "nail") for c in "xyzuvw"]
    first, again = embed(texts, tmp_path, 8), embed(texts[::-1], tmp_path, 8)
    assert first.vectors.shape[1] == 8
    assert first.vectors.tobytes() == again.vectors[::-1].tobytes()
    assert first.encoder == again.encoder


def test_the_corpus_is_part_of_the_identity_and_nothing_is_kept(tmp_path: Path) -> None:
    assert embed(TEXTS, tmp_path).encoder != embed(TEXTS[1:], tmp_path).encoder
    assert list(tmp_path.iterdir()) == []


def test_a_text_outside_the_kept_dimensions_has_no_vector(tmp_path: Path) -> None:
    texts = [f"{name} {word}" for name in ("red soap", "blue nail") for word in ("one", "two", "six", "ten")]
    items = embed([*texts, "qqqqq"], tmp_path, 2)
    assert items.known.tolist() == [True] * 8 + [False]


def test_it_computes_with_one_thread_for_the_same_bits_wherever_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.utils import extmath

    threads, reduce = [], extmath.randomized_svd

    def watched(*arguments: Any, **options: Any) -> Any:
        threads.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return reduce(*arguments, **options)

    monkeypatch.setattr(extmath, "randomized_svd", watched)
    with threadpool_limits(2, "blas"):
        embed(TEXTS, tmp_path)
    assert set(threads) == {1}
