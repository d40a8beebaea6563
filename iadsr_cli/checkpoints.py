"""The state of a training run at the end of an epoch: one safetensors file, replaced whole, never unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from iadsr_cli.drafts import draft_name, sweep
from iadsr_cli.errors import ArtifactError, OutputError, reason


class Checkpoint:
    """Where a training run keeps its state, and of which run it is.

    Args:
        path: the file; its folder exists.
        run: everything that determines the run, as a hash. The state of another run is never gone on from.
        strict: whether such a state, or a damaged one, is an error, as for somebody who asked to go on; else it is
            passed over, as in a cache.
    """

    def __init__(self, path: Path, run: str, *, strict: bool = True) -> None:
        self.path, self._run, self._strict = path, run, strict

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keep `tensors` and the JSON values of `state` in place of what was kept before.

        Raises:
            OutputError: if they cannot be written, such as for want of space.
        """
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            with draft_name(self.path) as draft:
                save_file(whole, draft, metadata=_sealed(whole, self._run, json.dumps(state)))
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"The checkpoint {self.path} could not be written: {reason(error)}.",
                "Make room or name another place. The last epoch that was kept is still there.",
            ) from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what was kept last, or None where nothing was.

        Raises:
            ArtifactError: if `strict` and it is of another run, or damaged.
        """
        if not self.path.exists():
            return None
        try:
            return self._read()
        except ArtifactError:
            if self._strict:
                raise
            return None

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        damaged = ArtifactError(
            f"The checkpoint {self.path} is damaged.", "Run the command without --resume to start over."
        )
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            run, state = metadata["run"], metadata["state"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            raise damaged from None
        if metadata != _sealed(tensors, run, state):
            raise damaged
        if run != self._run:
            raise ArtifactError(
                f"The checkpoint {self.path} is of another log or other settings.",
                "Give the settings it was made with, or run without --resume to start over.",
            )
        return tensors, json.loads(state)

    def clear(self) -> None:
        """Remove what was kept."""
        self.path.unlink(missing_ok=True)
        sweep(self.path)


def _sealed(tensors: Mapping[str, Tensor], run: str, state: str) -> dict[str, str]:
    """Return the file's metadata, with the SHA-256 of all that is in it: a flipped bit is not gone on from."""
    content = hashlib.sha256(json.dumps([run, state]).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        content.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return {"run": run, "state": state, "sha256": content.hexdigest()}
