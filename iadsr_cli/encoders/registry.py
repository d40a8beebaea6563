"""What an `--encoder` value means."""

from collections.abc import Callable
from typing import Any

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import api, bundled, sentences, table, tfidf
from iadsr_cli.encoders.contract import Encoder
from iadsr_cli.errors import UsageError
from iadsr_cli.settings import option_name

Maker = Callable[[str, EncoderSettings, str], "Encoder | table.VectorTable"]

# Kind -> what makes it, what has to stand after the colon, and the encoder settings it has a use for.
# Anything whose kind is not here is a sentence-transformers name or folder.
KINDS: dict[str, tuple[Maker, str, frozenset[str]]] = {
    "auto": (bundled.auto, "", frozenset({"prompt", "dtype", "revision", "dimension"})),
    "minilm": (bundled.minilm, "", frozenset({"prompt", "dtype", "dimension"})),
    "tfidf": (tfidf.make, "", frozenset({"dimension"})),
    "vectors": (table.make, "FILE.parquet", frozenset({"dimension"})),
    "api": (api.make, "URL#model", frozenset({"prompt", "dimension"})),
}


def make_encoder(settings: EncoderSettings, device: str) -> "Encoder | table.VectorTable":
    """Return the encoder that `settings.encoder` asks for, with "auto" resolved.

    What is cheap is checked here: that packages, folders, files and keys are there, that weights are the ones
    expected, that a hub model exists. Weights are loaded on the first `encode`. `device` is a torch device or
    "auto".

    Raises:
        UsageError: if the value cannot be read, or a setting was given that this encoder has no use for.
        EncoderError: if the encoder cannot be had on this machine.
    """
    kind, colon, rest = settings.encoder.partition(":")
    if kind not in KINDS:
        return sentences.make(settings.encoder, settings, device)
    maker, expected, uses = KINDS[kind]
    if bool(rest) != bool(expected) or bool(colon) != bool(expected):
        spelling = f"{kind}:{expected}" if expected else kind
        raise UsageError(f'--encoder cannot be "{settings.encoder}".', f"Write --encoder {spelling}.")
    _refuse_unused(kind, settings, uses)
    return maker(rest, settings, device)


def check_batches(settings: EncoderSettings) -> None:
    """Check that an encoder takes texts batch by batch, so that several processes can share the work.

    Raises:
        UsageError: if it does not.
    """
    kind = settings.encoder.partition(":")[0]
    if kind in {"tfidf", "vectors"}:
        raise UsageError(
            f"--encoder {kind} takes all items at once: --engine ray has nothing to share out.",
            "Leave out --engine ray, or choose another encoder.",
        )


def described(settings: EncoderSettings, identity: dict[str, Any]) -> str:
    """Return what an encoder is called to people; "auto" is called what it turned out to be."""
    if settings.encoder == "auto":
        return f"auto, here {identity.get('name', 'minilm')}"
    return settings.encoder


def _refuse_unused(kind: str, settings: EncoderSettings, uses: frozenset[str]) -> None:
    """Refuse a setting that would be ignored: whoever gave it expects it to change the vectors."""
    plain = EncoderSettings()
    for name in ("prompt", "dtype", "revision", "dimension"):
        field = f"encoder_{name}"
        if name not in uses and getattr(settings, field) != getattr(plain, field):
            raise UsageError(
                f"--encoder {kind} has no use for {option_name(field)}.",
                f"Leave out {option_name(field)}, or choose another encoder.",
            )
