"""Any sentence-transformers model: a local folder, or a name on the Hugging Face hub.

A hub model is brought into a local folder first and loaded from there, so that both go the same way: no code
that comes with a model is ever run, nothing is ever unpickled, and what was loaded is known by content.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iadsr_cli.artifacts import digest, file_digest
from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders.contract import WAYS_OUT, unit_rows
from iadsr_cli.errors import EncoderError, UsageError
from iadsr_cli.progress import Stage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DESCRIPTION_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration, vocabulary, chat template
WEIGHT_FILES = ("*.safetensors",)
PICKLED_WEIGHTS = re.compile(r"(pytorch_model|adapter_model).*\.bin")
OTHER_RUNTIMES = ("onnx/*", "openvino/*")


class SentenceEncoder:
    """A sentence-transformers model; its weights are fetched and loaded by the first `encode`."""

    per_text = True

    def __init__(
        self,
        source: str,
        identity: dict[str, Any],
        fetch: Callable[[], Path],
        settings: EncoderSettings,
        device: str,
    ) -> None:
        """`fetch` returns the model's folder; `source` names it in messages, `identity` in the cache."""
        self.identity = {
            "kind": "sentence-transformers",
            **identity,
            "prompt": settings.encoder_prompt,
            "dtype": settings.encoder_dtype,
            "dimension": settings.encoder_dimension,
            "normalised": True,
        }
        self._source = source
        self._fetch = fetch
        self._settings = settings
        self._device = None if device == "auto" else device
        self._model: SentenceTransformer | None = None

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text.

        Sorted by characters, titles of Amazon Beauty are padded to 1.39 times their tokens, so to 1.03.

        Raises:
            EncoderError: as `encode`; the tokenizer comes with the weights.
        """
        from transformers import PreTrainedTokenizerBase

        with _quiet():
            tokenizer = self._loaded().tokenizer
            if not isinstance(tokenizer, PreTrainedTokenizerBase):  # static embeddings have none of these
                return [len(text) for text in texts]
            return [len(tokens) for tokens in tokenizer(list(texts), verbose=False)["input_ids"]]

    def encode(self, texts: Sequence[str], stage: Stage) -> np.ndarray:
        """Return float32 [n, S], unit rows; texts longer than the model reads are cut there, as the model
        does.

        Raises:
            EncoderError: if the weights cannot be had or loaded, or a batch does not fit into the device's
                memory.
        """
        import torch

        with _quiet():
            model = self._loaded()
            batches = []
            for start in range(0, len(texts), self._settings.encoder_batch_size):
                batch = list(texts[start : start + self._settings.encoder_batch_size])
                try:
                    rows = model.encode(
                        batch,
                        prompt=self._settings.encoder_prompt,
                        batch_size=len(batch),
                        show_progress_bar=False,
                        convert_to_tensor=True,
                    )
                except torch.cuda.OutOfMemoryError as error:
                    raise EncoderError(
                        f"A batch of {len(batch)} texts does not fit into the device's memory.",
                        f"Give --encoder-batch-size {max(1, len(batch) // 4)}, or --device cpu.",
                    ) from error
                batches.append(unit_rows(rows.float().cpu().numpy(), self._settings.encoder_dimension, self._source))
        return np.concatenate(batches)

    def _loaded(self) -> "SentenceTransformer":
        if self._model is None:
            self._model = self._load()
        return self._model

    def _load(self) -> "SentenceTransformer":
        folder = self._fetch()
        _check_weights(folder, self._source)
        try:
            import torch
            from sentence_transformers import SentenceTransformer

            with _heard() as said:
                model = SentenceTransformer(
                    str(folder),
                    device=self._device,
                    local_files_only=True,
                    trust_remote_code=False,
                    # Always said: the default of transformers 5 is whatever type the checkpoint was saved in.
                    model_kwargs={"use_safetensors": True, "dtype": getattr(torch, self._settings.encoder_dtype)},
                )
        except Exception as error:  # whatever a malformed folder makes three libraries raise
            raise EncoderError(
                f"{self._source} cannot be loaded by sentence-transformers: {_first_line(error)}", WAYS_OUT
            ) from error
        _check_whole(model, said, self._source)
        return model


def make(name: str, settings: EncoderSettings, device: str) -> SentenceEncoder:
    """Return the encoder for a local folder or a hub name; a folder of that name comes first.

    A name without an owner is one of the hub's `sentence-transformers/` models.

    Raises:
        UsageError: if a revision is asked of a folder.
        EncoderError: if there is neither, or it cannot be loaded without running its code or unpickling.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if settings.encoder_revision is not None:
            raise UsageError(f"{name} is a local folder, which has no revisions.", "Leave out --encoder-revision.")
        return from_folder(folder, settings, device)
    if folder.is_file():
        raise EncoderError(
            f"The encoder {name} is a file; a model is a folder.",
            f"If it holds vectors, give --encoder vectors:{name}; else name the folder that the file is in.",
        )
    if name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        raise EncoderError(f"There is no model folder {name}.", f"Correct the path. {WAYS_OUT}")
    hub_name = name if "/" in name else f"sentence-transformers/{name}"
    return from_hub(hub_name, settings, device, tried=f"the folder {name}, which does not exist")


def from_folder(
    folder: Path, settings: EncoderSettings, device: str, files: dict[str, str] | None = None
) -> SentenceEncoder:
    """Return the encoder of a local folder, known by the `digests` of its `files`."""
    source = f"The model folder {folder}"
    _check_description(folder, source)
    _check_weights(folder, source)
    identity = {"files": digest(files or digests(folder))}
    return SentenceEncoder(source, identity, lambda: folder, settings, device)


def from_hub(name: str, settings: EncoderSettings, device: str, *, tried: str) -> SentenceEncoder:
    """Return the encoder of a hub model, known by its name and the commit that its revision stands for.

    Only the small files are downloaded here; they say which commit it is and whether it needs code of its
    own. `tried` says in the error what was tried before the hub.
    """
    source = f"The hub model {name}"
    download = partial(_download, name, tried=tried)
    with _quiet():
        folder = download(settings.encoder_revision, DESCRIPTION_FILES)
    _check_description(folder, source)
    commit = folder.name  # a snapshot's folder is named by its commit
    fetch = partial(download, commit, DESCRIPTION_FILES + WEIGHT_FILES)
    return SentenceEncoder(source, {"name": name, "commit": commit}, fetch, settings, device)


def digests(folder: Path) -> dict[str, str]:
    """Return relative path -> SHA-256, in hex, of the files below `folder` that can change a vector."""
    files = sorted({file for pattern in DESCRIPTION_FILES + WEIGHT_FILES for file in folder.rglob(pattern)})
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _download(name: str, revision: str | None, patterns: tuple[str, ...], *, tried: str) -> Path:
    """Return the local snapshot of a hub model, with those of its files that match `patterns`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    at = f" at revision {revision}" if revision else ""
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(OTHER_RUNTIMES),
            cache_dir=os.environ.get("SENTENCE_TRANSFORMERS_HOME"),
        )
    except Exception as error:  # the hub's, the HTTP library's and the file system's own kinds
        if isinstance(error, LocalEntryNotFoundError):
            reason = "the hub cannot be reached from here, and no copy of it is on this machine"
        elif isinstance(error, RevisionNotFoundError):
            reason = "it has no such revision"
        elif isinstance(error, RepositoryNotFoundError):
            reason = "the hub has no such model, or it is private"
        else:
            reason = _first_line(error)
        raise EncoderError(
            f"No encoder could be had. Tried {tried}, and the hub model {name}{at}: {reason}.", WAYS_OUT
        ) from error
    return Path(folder)


def _check_description(folder: Path, source: str) -> None:
    """Refuse a folder that is no model, or one that asks for code of its own."""
    modules = folder / "modules.json"
    if not modules.is_file():
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"{source} is no sentence-transformers model: it has neither modules.json nor config.json.",
                WAYS_OUT,
            )
        return
    try:
        parts = [(str(part["type"]), str(part.get("path", ""))) for part in json.loads(modules.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{source} has a modules.json that cannot be read ({error}).", WAYS_OUT) from error
    for kind, path in parts:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise EncoderError(f"{source} has a part outside of it ({path}), which is not loaded.", WAYS_OUT)
        if not kind.startswith("sentence_transformers."):
            raise EncoderError(
                f"{source} needs code of its own ({kind}), and code that comes with a model is never run.",
                WAYS_OUT,
            )


def _check_weights(folder: Path, source: str) -> None:
    """Refuse weights that exist in pickled form only, before any library looks at them."""
    if not any(folder.rglob("*.safetensors")):
        what = "no .safetensors weights"
    else:
        pickled = (file for file in sorted(folder.rglob("*.bin")) if PICKLED_WEIGHTS.fullmatch(file.name))
        alone = [file for file in pickled if not any(file.parent.glob("*.safetensors"))]
        if not alone:
            return
        what = f"a part whose only weights are a pickle ({alone[0].relative_to(folder)})"
    raise EncoderError(
        f"{source} has {what}, and nothing is ever unpickled here.",
        f"Save it as safetensors (SentenceTransformer.save_pretrained does), or choose another. {WAYS_OUT}",
    )


def _check_whole(model: "SentenceTransformer", said: Sequence[str], source: str) -> None:
    """Refuse a model of which transformers made up a part: its vectors would mean nothing, and differ by run.

    `said` is what transformers logged while it was loaded.
    """
    from transformers import PreTrainedTokenizerBase

    made_up = [name for text in said for name in _made_up(text)]
    # Checkpoints without the pooler of their architecture are common: what averages tokens does not use it.
    pooled = any("pooler_output" in str(getattr(module, "modality_config", "")) for module in model)
    lacking = [name for name in made_up if pooled or "pooler" not in name.split(".")]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise EncoderError(
            f"{source} is not whole: its config.json speaks of weights that its .safetensors files lack "
            f"({min(lacking)}{more}).",
            f"Copy or download the folder anew, or correct config.json (such as num_hidden_layers). {WAYS_OUT}",
        )
    tokenizer = model.tokenizer
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        marks = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        # Without files there is a tokenizer nevertheless, which knows its marks and at most a word's beginning and end.
        if len(tokenizer) - len(marks) <= 2:
            files = " or ".join(sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()}))
            raise EncoderError(
                f"{source} is not whole: its tokenizer knows no words, as the files of its vocabulary are missing or "
                f"empty ({files}).",
                f"Copy or download the folder anew. {WAYS_OUT}",
            )


def _made_up(text: str) -> list[str]:
    """Return the weights that a message of transformers says were not in the checkpoint but made up at random."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    listed = re.search(r"newly initialized: \[(.*?)\]", plain)  # transformers 4; 5 makes a table
    return re.findall("'(.*?)'", listed[1]) if listed else re.findall(r"^(\S.*?) *\| *MISSING", plain, re.MULTILINE)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Yield a list that takes the warnings of transformers, which go nowhere else; leave its logger as found."""
    from transformers.utils import logging as transformers_logging

    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = transformers_logging.get_logger("transformers")
    before = logger.level, logger.handlers, logger.propagate, logger.disabled
    logger.setLevel(logging.WARNING)
    logger.handlers, logger.propagate, logger.disabled = [listener], False, False
    try:
        yield said
    finally:
        logger.setLevel(before[0])
        _, logger.handlers, logger.propagate, logger.disabled = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and log lines off stderr; leave their settings as found."""
    from huggingface_hub import utils as hub
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    loading_bars, hub_bars = (
        transformers_logging.is_progress_bar_enabled(),
        not hub.are_progress_bars_disabled(),
    )
    transformers_logging.disable_progress_bar()
    if hub_bars:
        hub.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if loading_bars:
            transformers_logging.enable_progress_bar()
        if hub_bars:
            hub.enable_progress_bars()
