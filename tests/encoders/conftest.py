"""A reporter that remembers, an encoder that counts, and a tiny model built on the spot."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported, which reads it once


class Recorder:
    """Keeps every note, warning and stage; is its own stage."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.stages: list[tuple[str, int | None, str]] = []
        self.details: list[str] = []
        self.done = 0

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator["Recorder"]:
        self.stages.append((name, total, unit))
        yield self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def describe(self, detail: str) -> None:
        self.details.append(detail)


class CountingEncoder:
    """Made-up vectors, a function of each text alone; remembers what it was asked."""

    per_text = True

    def __init__(self, size: int = 4, fail_after: int | None = None) -> None:
        self.identity: dict[str, Any] = {"kind": "counting"}
        self.size = size
        self.fail_after = fail_after
        self.seen: list[str] = []

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def encode(self, texts: Sequence[str], stage: Any) -> np.ndarray:
        if self.fail_after is not None and len(self.seen) >= self.fail_after:
            raise KeyboardInterrupt
        self.seen += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        rows = np.stack([np.random.default_rng(seed).normal(size=self.size) for seed in seeds])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> CountingEncoder:
    """Every encoder that `embed_items` makes is this one."""
    encoder = CountingEncoder()
    monkeypatch.setattr("iadsr_cli.encoders.items.make_encoder", lambda settings, device: encoder)
    return encoder


WORDS = (
    "red",
    "blue",
    "lip",
    "stick",
    "nail",
    "polish",
    "soap",
    "a",
    "very",
    "long",
    "title",
    "##s",
    "query",
    ":",
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: one-layer BERT with random weights over a vocabulary of a few words."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bert = tmp_path_factory.mktemp("bert")
    vocabulary = bert / "words.txt"
    vocabulary.write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)))
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(bert)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(bert)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    transformer = Transformer(str(bert))
    model = SentenceTransformer(modules=[transformer, Pooling(16), Normalize()], device="cpu")
    model.save_pretrained(str(folder))
    return folder
