"""sentence-transformers models from folders and from the hub's cache: the real path, on a tiny model."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import ItemVectors, embed_items, make_encoder
from iadsr_cli.encoders.sentences import SentenceEncoder, _made_up
from iadsr_cli.errors import EncoderError, UsageError
from iadsr_cli.progress import Silent

TEXTS = ["red lip stick", "blue nail polish", "soap", "a very very long red title"]


def embed(folder: Path | str, cache: Path, texts: list[str] = TEXTS, **settings: Any) -> ItemVectors:
    return embed_items(
        [str(row) for row in range(len(texts))],
        texts,
        EncoderSettings(encoder=str(folder), **settings),
        device="cpu",
        cache_dir=cache,
        reporter=Silent(),
    )


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_vectors_are_the_library_s_own(tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    items = embed(tiny_model, tmp_path)
    theirs = SentenceTransformer(str(tiny_model), device="cpu").encode(TEXTS, normalize_embeddings=True)
    assert items.vectors.shape == (4, 16)
    assert np.allclose(items.vectors, theirs, atol=1e-6)
    assert np.allclose(np.linalg.norm(items.vectors, axis=1), 1, atol=1e-6)


def test_cold_runs_give_the_same_bytes_in_any_order(tiny_model: Path, tmp_path: Path) -> None:
    texts = [f"{a} {b} {c}" for a in ("red", "blue", "long") for b in ("lip", "soap") for c in ("title", "a", "")]
    first = embed(tiny_model, tmp_path / "one", texts, encoder_batch_size=4)
    again = embed(tiny_model, tmp_path / "two", texts[::-1], encoder_batch_size=4)
    assert first.vectors.tobytes() == again.vectors[::-1].tobytes()


def test_company_changes_no_more_than_float_noise(tiny_model: Path, tmp_path: Path) -> None:
    together = embed(tiny_model, tmp_path / "one").vectors
    alone = embed(tiny_model, tmp_path / "two", encoder_batch_size=1).vectors
    assert np.abs(together - alone).max() < 1e-5


def test_texts_are_embedded_by_their_number_of_tokens(tiny_model: Path) -> None:
    encoder = make_encoder(EncoderSettings(encoder=str(tiny_model)), "cpu")
    assert isinstance(encoder, SentenceEncoder)
    assert encoder.lengths(["red lip stick", "unknownlongword", "soap " * 100]) == [5, 3, 102]


def test_dimension_is_cut_and_scaled_again(tiny_model: Path, tmp_path: Path) -> None:
    whole, cut = embed(tiny_model, tmp_path).vectors, embed(tiny_model, tmp_path, encoder_dimension=4).vectors
    expected = whole[:, :4] / np.linalg.norm(whole[:, :4], axis=1, keepdims=True)
    assert np.allclose(cut, expected, atol=1e-6)
    with pytest.raises(EncoderError, match="gives vectors of 16 dimensions, but 17 were asked for"):
        embed(tiny_model, tmp_path, encoder_dimension=17)


def test_prompt_and_dtype_change_vectors_and_identity(tiny_model: Path, tmp_path: Path) -> None:
    plain = embed(tiny_model, tmp_path)
    prompted = embed(tiny_model, tmp_path, encoder_prompt="query : ")
    narrow = embed(tiny_model, tmp_path, encoder_dtype="bfloat16")
    spelled = embed(tiny_model, tmp_path, [f"query : {text}" for text in TEXTS])
    assert np.allclose(prompted.vectors, spelled.vectors, atol=1e-6)
    assert not np.allclose(prompted.vectors, plain.vectors, atol=1e-3)
    assert (narrow.vectors * plain.vectors).sum(axis=1).min() > 0.99
    assert not np.array_equal(narrow.vectors, plain.vectors)
    assert len({json.dumps(items.encoder) for items in (plain, prompted, narrow)}) == 3


def test_a_folder_is_known_by_its_content(tiny_model: Path, copy: Path) -> None:
    def identity(folder: Path) -> dict[str, Any]:
        encoder = make_encoder(EncoderSettings(encoder=str(folder)), "cpu")
        assert isinstance(encoder, SentenceEncoder)
        return encoder.identity

    assert identity(copy) == identity(tiny_model)
    (copy / "README.md").write_text("other words")
    assert identity(copy) == identity(tiny_model)
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("mean", "cls"))
    assert identity(copy) != identity(tiny_model)


def test_a_folder_without_its_2_normalize(copy: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "2_Normalize")  # as in the bundled package
    assert np.allclose(embed(copy, tmp_path).vectors, embed(tiny_model, tmp_path).vectors, atol=1e-6)


def test_nothing_is_printed_or_logged_and_settings_are_left_as_found(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging as transformers_logging

    before = logging.getLogger("sentence_transformers").level
    embed(tiny_model, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.is_progress_bar_enabled()
    assert logging.getLogger("sentence_transformers").level == before


def test_pickled_weights_are_refused_before_anything_is_loaded(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("something was unpickled"))
    torch.save({}, copy / "pytorch_model.bin")
    embed(copy, tmp_path)  # safetensors beside it: those are taken
    (copy / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"has no \.safetensors weights, and nothing is ever unpickled"):
        make_encoder(EncoderSettings(encoder=str(copy)), "cpu")


def test_a_part_with_pickled_weights_is_refused(copy: Path) -> None:
    (copy / "3_Dense").mkdir()
    (copy / "3_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"3_Dense/pytorch_model\.bin"):
        make_encoder(EncoderSettings(encoder=str(copy)), "cpu")


def test_code_that_comes_with_a_model_is_refused(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (copy / "own.py").write_text(f"open({str(mark)!r}, 'w')")
    modules = json.loads((copy / "modules.json").read_text())
    modules[1]["type"] = "own.Pooling"
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=r"needs code of its own \(own\.Pooling\)"):
        make_encoder(EncoderSettings(encoder=str(copy)), "cpu")
    assert not mark.exists()


@pytest.mark.parametrize("content", ["{", "[1]", '[{"path": ""}]'])
def test_a_modules_json_that_cannot_be_read(copy: Path, content: str) -> None:
    (copy / "modules.json").write_text(content)
    with pytest.raises(EncoderError, match=r"modules\.json that cannot be read"):
        make_encoder(EncoderSettings(encoder=str(copy)), "cpu")


def test_a_malformed_model_is_said_on_the_first_text(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(EncoderError, match="cannot be loaded by sentence-transformers: SafetensorError") as caught:
        embed(copy, tmp_path)
    assert str(copy) in caught.value.message


def drop(folder: Path, part: str) -> None:
    """Remove the weights from a model whose names hold `part`."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("verbosity", [logging.ERROR, logging.INFO])
def test_a_model_that_lacks_weights_is_refused(
    copy: Path, tmp_path: Path, verbosity: int, capfd: pytest.CaptureFixture[str]
) -> None:
    drop(copy, "layer.0.output")
    logger = logging.getLogger("transformers")
    before, level = list(logger.handlers), logger.level
    logger.setLevel(verbosity)
    try:
        with pytest.raises(EncoderError, match=r"lack \(encoder\.layer\.0\.output\S* and 3 more\)") as caught:
            embed(copy, tmp_path)
        assert (logger.level, logger.handlers) == (verbosity, before)
    finally:
        logger.setLevel(level)
    assert str(copy) in caught.value.message
    assert "--encoder tfidf" in caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_a_model_with_more_layers_than_weights_is_refused(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 14}))
    with pytest.raises(EncoderError, match=r"weights that its \.safetensors files lack \(encoder\.layer") as caught:
        embed(copy, tmp_path)
    assert "num_hidden_layers" in caught.value.hint


def test_a_model_without_words_is_refused(copy: Path, tmp_path: Path) -> None:
    for file in [*copy.glob("tokenizer.json"), *copy.glob("vocab.txt")]:
        file.unlink()
    with pytest.raises(
        EncoderError, match=r"its tokenizer knows no words.* \(tokenizer\.json or vocab\.txt\)"
    ) as caught:
        embed(copy, tmp_path)
    assert str(copy) in caught.value.message


def test_weights_that_are_not_used_may_be_missing_or_too_many(copy: Path, tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    drop(copy, "pooler")
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.position_ids"] = weights["embeddings.position_embeddings.weight"][:, 0].contiguous()
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert np.allclose(embed(copy, tmp_path).vectors, embed(tiny_model, tmp_path).vectors, atol=1e-6)


def test_both_spellings_of_made_up_weights_are_understood() -> None:
    four = (
        "Some weights of BertModel were not initialized from the model checkpoint at x and are newly initialized: "
        "['encoder.layer.3.a', 'encoder.layer.3.b']\nYou should probably TRAIN this model."
    )
    five = (
        "\x1b[1mLOAD REPORT\nKey | Status\n---+---\nold.a | UNEXPECTED |\nlayer.{3, 4}.a  | \x1b[31mMISSING\x1b[0m | \n"
    )
    assert _made_up(four) == ["encoder.layer.3.a", "encoder.layer.3.b"]
    assert _made_up(five) == ["layer.{3, 4}.a"]
    assert _made_up("Something else is MISSING") == []


def test_paths_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"neither modules\.json nor config\.json"):
        make_encoder(EncoderSettings(encoder=str(tmp_path)), "cpu")
    with pytest.raises(EncoderError, match=r"There is no model folder \./nowhere"):
        make_encoder(EncoderSettings(encoder="./nowhere"), "cpu")
    (tmp_path / "v.parquet").write_bytes(b"")
    with pytest.raises(EncoderError, match="is a file; a model is a folder") as caught:
        make_encoder(EncoderSettings(encoder=str(tmp_path / "v.parquet")), "cpu")
    assert "--encoder vectors:" in caught.value.hint


def test_a_folder_has_no_revision(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="has no revisions"):
        make_encoder(EncoderSettings(encoder=str(tiny_model), encoder_revision="main"), "cpu")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no way to the hub."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, name: str, model: Path) -> None:
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(model, repository / "snapshots" / COMMIT)


def test_a_hub_model_is_known_by_its_commit(hub_cache: Path, tiny_model: Path, tmp_path: Path) -> None:
    cached(hub_cache, "someone/tiny", tiny_model)
    items = embed("someone/tiny", tmp_path)
    assert items.encoder["name"] == "someone/tiny"
    assert items.encoder["commit"] == COMMIT
    assert np.allclose(items.vectors, embed(tiny_model, tmp_path).vectors, atol=1e-6)
    assert embed("someone/tiny", tmp_path, encoder_revision=COMMIT).encoder == items.encoder


def test_a_name_without_an_owner(hub_cache: Path, tiny_model: Path) -> None:
    cached(hub_cache, "sentence-transformers/tiny", tiny_model)
    encoder = make_encoder(EncoderSettings(encoder="tiny"), "cpu")
    assert isinstance(encoder, SentenceEncoder)
    assert encoder.identity["name"] == "sentence-transformers/tiny"


def test_a_hub_model_with_pickled_weights_only(hub_cache: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    cached(hub_cache, "someone/old", copy)
    with pytest.raises(EncoderError, match=r"The hub model someone/old has no \.safetensors weights"):
        embed("someone/old", tmp_path)


@pytest.mark.parametrize(
    ("spec", "revision", "words"),
    [
        (
            "minlm",
            None,
            ["the folder minlm, which", "hub model sentence-transformers/minlm: the hub cannot be reached"],
        ),
        ("someone/none", "v2", ["hub model someone/none at revision v2"]),
        ("not a name", None, ["hub model sentence-transformers/not a name: HFValidationError"]),
    ],
)
def test_what_was_tried_is_named_with_three_ways_out(
    hub_cache: Path, spec: str, revision: str | None, words: list[str]
) -> None:
    with pytest.raises(EncoderError) as caught:
        make_encoder(EncoderSettings(encoder=spec, encoder_revision=revision), "cpu")
    assert all(word in caught.value.message for word in words), caught.value.message
    for way in ("pip install 'iadsr[offline]'", "--encoder tfidf", "--encoder vectors:FILE.parquet"):
        assert way in caught.value.hint
