"""A model folder is data: its code, its pickles and what lies beside it are left alone."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders.registry import make_encoder
from iadsr_cli.errors import EncoderError


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.mark),)


def rewrite(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **changes}))


@pytest.fixture
def trapped(tiny_model: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model folder with code and pickles that make a mark, and the mark."""
    folder, mark = tmp_path / "model", tmp_path / "harm"
    shutil.copytree(tiny_model, folder)
    code = f"import os\nos.mkdir({str(mark)!r})\nclass Own: pass\n"
    for name in ("own.py", "modeling_own.py", "configuration_own.py", "tokenization_own.py", "__init__.py"):
        (folder / name).write_text(code)
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Harm(mark)))
    return folder, mark


@pytest.mark.parametrize("kind", ["bert", "own"])
def test_a_model_s_own_code_and_pickles_stay_what_they_are(trapped: tuple[Path, Path], kind: str, recorder) -> None:
    folder, mark = trapped
    auto_map = {
        "AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own",
        "AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"],
    }  # fmt: skip
    rewrite(folder / "config.json", auto_map=auto_map, model_type=kind, trust_remote_code=True)
    rewrite(folder / "tokenizer_config.json", auto_map=auto_map, trust_remote_code=True)
    trust = {"trust_remote_code": True}
    rewrite(folder / "sentence_bert_config.json", model_args=trust, config_args=trust, tokenizer_args=trust)
    rewrite(folder / "config_sentence_transformers.json", trust_remote_code=True)
    encoder = make_encoder(EncoderSettings(encoder=str(folder)), "cpu")
    try:
        assert encoder.encode(["red shoes"], recorder).shape == (1, 16)
    except EncoderError as error:
        assert "cannot be loaded by sentence-transformers" in error.message
    assert not mark.exists()


@pytest.mark.parametrize("path", ["../outside", "/etc", "1_Pooling/../../outside"])
def test_a_model_s_parts_are_below_its_folder(trapped: tuple[Path, Path], path: str) -> None:
    folder, _ = trapped
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match="a part outside of it"):
        make_encoder(EncoderSettings(encoder=str(folder)), "cpu")
