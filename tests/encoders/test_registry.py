"""What an --encoder value means, and what is refused at once."""

import subprocess
import sys

import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import described, make_encoder
from iadsr_cli.errors import UsageError


@pytest.mark.parametrize("spec", ["tfidf:", "tfidf:x", "auto:x", "minilm:x", "vectors", "vectors:", "api", "api:"])
def test_a_kind_with_or_without_its_rest(spec: str) -> None:
    with pytest.raises(UsageError, match="--encoder cannot be") as caught:
        make_encoder(EncoderSettings(encoder=spec), "cpu")
    assert "Write --encoder" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "setting", "value"),
    [
        ("tfidf", "encoder_prompt", "title: "),
        ("tfidf", "encoder_dtype", "bfloat16"),
        ("minilm", "encoder_revision", "main"),
        ("vectors:x.parquet", "encoder_prompt", "title: "),
        ("api:http://localhost#m", "encoder_dtype", "float16"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(spec: str, setting: str, value: str) -> None:
    option = "--" + setting.replace("_", "-")
    with pytest.raises(UsageError, match=f"has no use for {option}"):
        make_encoder(EncoderSettings(encoder=spec, **{setting: value}), "cpu")


def test_importing_encoders_loads_no_heavy_library() -> None:
    heavy = {"torch", "transformers", "sklearn", "httpx", "pyarrow", "pandas"}
    code = f"import sys, iadsr_cli.encoders; print({heavy} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_auto_is_called_what_it_turned_out_to_be():
    assert described(EncoderSettings(), {"files": "abc"}) == "auto, here minilm"
    assert described(EncoderSettings(), {"name": "org/model", "commit": "1"}) == "auto, here org/model"
    assert described(EncoderSettings(encoder="tfidf"), {"kind": "tfidf"}) == "tfidf"
