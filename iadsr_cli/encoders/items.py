"""The items of a log -> their vectors; each distinct text embedded once, ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iadsr_cli.artifacts import digest
from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders.contract import Encoder, ItemVectors, text_hash
from iadsr_cli.encoders.registry import make_encoder
from iadsr_cli.encoders.store import VectorStore
from iadsr_cli.encoders.table import VectorTable
from iadsr_cli.engines.work import Engine, Local
from iadsr_cli.errors import EncoderError
from iadsr_cli.progress import Reporter, SilentStage, Stage


def embed_items(
    ids: Sequence[str],
    texts: Sequence[str | None],
    settings: EncoderSettings,
    *,
    device: str,
    cache_dir: Path,
    reporter: Reporter,
    engine: Engine | None = None,
) -> ItemVectors:
    """Return the vectors of the items `ids`, whose texts are `texts` (None or blank: no text).

    Texts are stripped and otherwise taken as they are. Vectors are kept under `cache_dir/vectors`, batch by
    batch, so that an interrupted run continues and a grown log embeds its new texts only. With the same texts
    and an empty cache the result has the same bytes on the same machine, in whatever order the items come; a
    vector embedded later, in other company, or by another engine, can differ in the last bits of its floats (about
    1e-7). An encoder that takes all texts at once does so in this process, whatever the engine (None: `Local`).

    Raises:
        UsageError: if the encoder settings contradict each other.
        EncoderError: if the encoder cannot be had, or no item has a text or a vector.
    """
    encoder = make_encoder(settings, device)
    if isinstance(encoder, VectorTable):
        vectors, known = encoder.rows(ids)
        return ItemVectors(list(ids), vectors, known, [None] * len(ids), encoder.identity)

    stripped = [(text or "").strip() for text in texts]
    hashes = [text_hash(text) if text else None for text in stripped]
    distinct = {key: text for key, text in zip(hashes, stripped, strict=True) if key is not None}
    if not distinct:
        raise EncoderError(
            f"None of the {len(ids):,} items has a text to embed.",
            "Name the texts' column with --text-column, or bring vectors: --encoder vectors:FILE.parquet.",
        )
    identity = dict(encoder.identity)
    if encoder.per_text:
        found = _embed_through_store(encoder, distinct, settings, device, cache_dir, reporter, engine or Local())
    else:
        corpus = sorted(distinct)  # so that the vectors do not depend on the order of the log
        identity["corpus"] = digest(corpus)
        with reporter.stage("embed", len(corpus), "items") as stage:
            found = dict(zip(corpus, encoder.encode([distinct[key] for key in corpus], stage), strict=True))
            stage.advance(len(corpus))
    return _join(ids, hashes, found, identity, reporter)


@dataclass
class _Encoding:
    """How texts become vectors.

    A copy in another process makes its own encoder, on first use; `stage` is told what delays the one that is here.
    """

    settings: EncoderSettings
    device: str
    encoder: Encoder | VectorTable | None
    stage: Stage

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "encoder": None, "stage": SilentStage()}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 [n, S]."""
        self.encoder = self.encoder or make_encoder(self.settings, self.device)
        assert not isinstance(self.encoder, VectorTable)
        return self.encoder.encode(texts, self.stage)


def _embed_through_store(
    encoder: Encoder,
    texts: dict[str, str],
    settings: EncoderSettings,
    device: str,
    cache_dir: Path,
    reporter: Reporter,
    engine: Engine,
) -> dict[str, np.ndarray]:
    """Return hash -> vector for `texts` (hash -> text), from the cache where it can."""
    with VectorStore(cache_dir, encoder.identity, reporter) as store:
        found = store.get(list(texts))
        if len(found) == len(texts):
            reporter.note(f"{len(found):,} of {len(texts):,} texts were in the cache.")
            return found
        with store.alone():
            # Another process may have made some of them while we waited.
            found |= store.get([key for key in texts if key not in found])
            if found:
                reporter.note(f"{len(found):,} of {len(texts):,} texts were in the cache.")
            if missing := [key for key in texts if key not in found]:
                _embed_missing(encoder, texts, missing, settings, device, found, store, reporter, engine)
        return found


def _embed_missing(
    encoder: Encoder,
    texts: dict[str, str],
    missing: list[str],
    settings: EncoderSettings,
    device: str,
    found: dict[str, np.ndarray],
    store: VectorStore,
    reporter: Reporter,
    engine: Engine,
) -> None:
    """Embed the texts of the hashes `missing`, batch by batch into the cache and into `found`."""
    with reporter.stage("embed", len(missing), "items") as stage:
        stage.describe("preparing the encoder")
        missing = _shortest_first(encoder, texts, missing)
        stage.describe("")
        size = settings.encoder_batch_size * engine.bundle
        batches = [missing[start : start + size] for start in range(0, len(missing), size)]
        encode = _Encoding(settings, device, encoder, stage).encode
        for place, vectors in engine.each(encode, [[texts[key] for key in batch] for batch in batches]):
            batch = batches[place]
            stage.advance(len(batch))
            dimensions = next(iter(found.values())).size if found else vectors.shape[1]
            if vectors.shape[1] != dimensions:
                raise EncoderError(
                    f"The encoder gives {vectors.shape[1]} dimensions where it gave {dimensions} before.",
                    f"If the model behind it was changed, delete {store.path} and run again.",
                )
            store.put(batch, vectors)
            found.update(zip(batch, vectors, strict=True))


def _shortest_first(encoder: Encoder, texts: dict[str, str], keys: list[str]) -> list[str]:
    """Order by length, as a batch is padded to its longest, then by text: never by the order of the log."""
    lengths = dict(zip(keys, encoder.lengths([texts[key] for key in keys]), strict=True))
    return sorted(keys, key=lambda key: (lengths[key], texts[key]))


def _join(
    ids: Sequence[str],
    hashes: list[str | None],
    found: dict[str, np.ndarray],
    identity: dict[str, object],
    reporter: Reporter,
) -> ItemVectors:
    """Give every item the vector of its text."""
    size = next(iter(found.values())).size
    vectors = np.zeros((len(ids), size), dtype=np.float32)
    for row, key in enumerate(hashes):
        if key is not None:
            vectors[row] = found[key]
    known = np.asarray(vectors.any(axis=1))
    silent = int(sum(key is not None for key in hashes) - known.sum())
    if silent:
        reporter.note(f"The encoder finds nothing to go by in {silent:,} items' texts; they have no vector.")
    return ItemVectors(list(ids), vectors, known, hashes, identity)
