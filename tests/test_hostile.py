"""Files that mean harm do none: nothing is unpickled, no code of a model runs, no path leads out of its folder."""

import ast
import json
import os
import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import iadsr_cli
from iadsr_cli import artifacts
from iadsr_cli.artifacts import MANIFEST, file_digest, read_manifest, write_artifact
from iadsr_cli.checkpoints import Checkpoint
from iadsr_cli.cli.groups import GROUPS
from iadsr_cli.config import BackboneSettings, EncoderSettings, LogSettings
from iadsr_cli.encoders.contract import ItemVectors
from iadsr_cli.encoders.folder import load_vectors, save_vectors
from iadsr_cli.encoders.registry import make_encoder
from iadsr_cli.errors import ArtifactError, EncoderError, IadsrError, InputError
from iadsr_cli.logs.reader import read_log
from iadsr_cli.models import make_backbone
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.models.store import Vocabulary, load_recommender, save_model

PACKAGE = Path(iadsr_cli.__file__).parent
CPU = torch.device("cpu")
# What makes objects or runs code out of a file's bytes, by the last names of what is imported or called.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "runpy"}
UNSAFE_CALLS = {
    "torch.load", "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle", "eval", "exec", "__import__",
    "os.system", "os.popen", "torch.hub.load", "torch.jit.load",
}  # fmt: skip


def findings(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if name.partition(".")[0] in UNSAFE_MODULES or name in UNSAFE_CALLS]
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in UNSAFE_CALLS:
                found.append(ast.unparse(node.func))
            for keyword in node.keywords:
                if keyword.arg in {"trust_remote_code", "allow_pickle"} and ast.unparse(keyword.value) != "False":
                    found.append(ast.unparse(keyword.value))
    return found


def test_the_package_unpickles_nothing_and_trusts_no_code() -> None:
    assert findings("import pickle\nfrom torch import load\ntorch.load(x)\nf(trust_remote_code=y)") == [
        "pickle", "torch.load", "torch.load", "y",
    ]  # fmt: skip
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 50
    found = {path.relative_to(PACKAGE).as_posix(): findings(path.read_text("utf-8")) for path in sources}
    # Processes that train together send each other objects, as multiprocessing does: no file, nothing from elsewhere.
    assert {path: what for path, what in found.items() if what} == {"workers.py": ["pickle"]}


def test_no_setting_asks_for_a_model_s_code() -> None:
    names = [item.name for kind, _ in GROUPS.values() for item in fields(kind)]
    assert names
    assert not [name for name in names if any(word in name for word in ("trust", "remote", "pickle"))]


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """An artifact of every kind, below the folder that is returned."""
    vectors = ItemVectors(["a", "b"], np.eye(2, dtype=np.float32), np.ones(2, bool), ["0", None], {})
    vocabulary = Vocabulary(pa.array(["a", "b"], pa.large_string()), np.ones(3, np.int64))
    settings = BackboneSettings(backbone="sasrec", embedding_size=4, window=4)
    backbone = make_backbone(settings, 2)
    aligned = AlignedModel(backbone, torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool))
    for kind, fill in {
        "embed": lambda draft: save_vectors(draft, vectors),
        "pretrain": lambda draft: save_model(draft, backbone, vocabulary, []),
        "align": lambda draft: save_model(draft, aligned, vocabulary, []),
    }.items():
        config = {"backbone": settings.record(), "encoder": {}}
        write_artifact(tmp_path / kind, kind, fill, config=config, inputs={}, facts={"semantic_size": 2})
    return tmp_path


def load(folder: Path) -> object:
    return load_vectors(folder) if folder.name == "embed" else load_recommender(folder, CPU)


def put(file: Path, content: bytes) -> None:
    """Write an artifact's file, and its manifest so that it fits."""
    file.write_bytes(content)
    change(file.parent, outputs={file.name: file_digest(file)})


def change(folder: Path, **parts: object) -> None:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    for name, part in parts.items():
        manifest[name] = {**manifest[name], **part} if isinstance(part, dict) else part
    path.write_text(json.dumps(manifest))


FILES = [
    "embed/vectors.safetensors", "embed/items.parquet", "pretrain/weights.safetensors", "pretrain/vocabulary.parquet",
    "align/weights.safetensors", "align/vocabulary.parquet",
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", ["pickle", "nothing", "header", "half", "other"])
def test_an_artifact_with_a_fitting_manifest_and_a_bad_file_is_refused(folders: Path, file: str, content: str) -> None:
    load(folders / Path(file).parent)
    mark = folders / "harm"
    good = (folders / file).read_bytes()
    other = "embed/items.parquet" if "vocabulary" in file else "pretrain/vocabulary.parquet"
    if file.endswith("safetensors"):
        other = "pretrain/weights.safetensors" if "embed" in file else "embed/vectors.safetensors"
    bad = {
        "pickle": pickle.dumps(Harm(mark)),
        "nothing": b"",
        "header": b"\xff" * 8 + good[8:],
        "half": good[: len(good) // 2],
        "other": (folders / other).read_bytes(),
    }
    put(folders / file, bad[content])
    with pytest.raises(ArtifactError) as caught:
        load((folders / file).parent)
    assert str((folders / file).parent) in caught.value.message
    assert "\n" not in caught.value.message
    assert not mark.exists()


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("pretrain", {"config": {"backbone": {"backbone": "sasrec", "embedding_size": 10**12}}}),
        ("pretrain", {"config": {"backbone": {"backbone": "sasrec", "embedding_size": 4, "window": 10**13}}}),
        ("pretrain", {"config": {"backbone": {"embedding_size": [4]}}}),
        ("pretrain", {"config": {"backbone": {"backbone": "sasrec", "dropout": "much"}}}),
        ("pretrain", {"config": {"backbone": {"backbone": "own.Model"}}}),
        ("pretrain", {"config": {"backbone": None}}),
        ("align", {"facts": {"semantic_size": 10**15}}),
        ("align", {"facts": {"semantic_size": "2"}}),
        ("align", {"facts": {"semantic_size": None}}),
        ("align", {"facts": [1]}),
        ("embed", {"outputs": ["items.parquet"]}),
        ("embed", {"config": None}),
    ],
)
def test_a_manifest_that_asks_for_what_the_weights_are_not_is_refused(folders: Path, kind: str, parts: dict) -> None:
    change(folders / kind, **parts)
    with pytest.raises(ArtifactError) as caught:
        load(folders / kind)
    assert "\n" not in caught.value.message


def test_a_checkpoint_is_never_unpickled(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "run")
    for content in (pickle.dumps(Harm(tmp_path / "harm")), b"", b"\xff" * 64):
        checkpoint.path.write_bytes(content)
        with pytest.raises(ArtifactError, match="is damaged"):
            checkpoint.load()
    torch.save(Harm(tmp_path / "harm"), checkpoint.path)
    with pytest.raises(ArtifactError, match="is damaged"):
        checkpoint.load()
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["../secret", "{root}/secret", "a/../../secret", "..", "", "x\0", "sub/../../secret"])
def test_a_manifest_leads_nowhere_outside_its_folder(folders: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "secret").write_text("s")
    name = name.replace("{root}", str(folders))
    read: list[Path] = []

    def recorded(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    change(folders / "embed", outputs={name: file_digest(folders / "secret")})
    monkeypatch.setattr(artifacts, "file_digest", recorded)
    before = {path: path.stat().st_mtime_ns for path in folders.rglob("*") if path.is_file()}
    with pytest.raises(ArtifactError, match="lacks its file"):
        read_manifest(folders / "embed", "embed")
    assert {path.resolve().parent for path in read} <= {folders / "embed"}
    assert before == {path: path.stat().st_mtime_ns for path in folders.rglob("*") if path.is_file()}


def bad_strings(values: bytes) -> pa.Array:
    """Return one string that is not UTF-8, as a Parquet file can hold it."""
    offsets = np.array([0, len(values)], np.int32).tobytes()
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def test_text_in_parquet_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": bad_strings(b"\xff"), "item_id": [1]}), path)
    with pytest.raises(InputError, match=r'Column "user_id" of .* holds text that is not UTF-8, which cannot be user'):
        read_log(str(path), LogSettings())
    pq.write_table(pa.table({"item_id": bad_strings(b"\xff"), "vector": [[1.0]]}), path)
    with pytest.raises(EncoderError, match='an item id in "item_id" that is not UTF-8'):
        make_encoder(EncoderSettings(encoder=f"vectors:{path}"), "cpu")
    pq.write_table(pa.table({"user_id": [1], "item_id": [2], "xname": [3]}), path)
    path.write_bytes(path.read_bytes().replace(b"xname", b"x\xff\xfee\xef"))
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        read_log(str(path), LogSettings())


def test_an_error_is_one_line_that_steers_no_terminal() -> None:
    error = IadsrError('Column "a\x1b[2J\r\n\u2028b\ud800\x9b" is bad.', "Mend\nit.")
    assert error.message == r'Column "a\x1b[2J\r\n\u2028b\ud800\x9b" is bad.'
    assert error.hint == r"Mend\nit."
    assert str(error) == f"{error.message}\n{error.hint}"
