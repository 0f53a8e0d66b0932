"""Checkpoints: `step-<n>` directories (the last k are kept), `last` pointing to the newest, and `best` with weights alone.

Each is written under another name and renamed when whole, so a directory with the right name is complete.
A directory holds model.safetensors (what evaluation and Stage 2 load: the averaged weights where there is an average), config.json, and,
for resuming, training.pt.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

STATE_NAME = "training.pt"


def save_weights(directory: Path, weights: dict[str, Tensor], config: dict, state: dict | None = None) -> None:
    """Writes one checkpoint directory, replacing what is there only when the new one is whole."""
    part = directory.with_name(directory.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, part / "model.safetensors")
    (part / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    if state is not None:
        torch.save(state, part / STATE_NAME)
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        os.replace(directory, old)
    os.replace(part, directory)
    shutil.rmtree(old, ignore_errors=True)


def save_step(root: Path, step: int, weights: dict[str, Tensor], config: dict, state: dict, keep: int) -> Path:
    """Writes `step-<n>`, points `last` to it, and removes all but the newest `keep`."""
    directory = root / f"step-{step:08d}"
    save_weights(directory, weights, config, state)
    link = root / "last.part"
    link.unlink(missing_ok=True)
    link.symlink_to(directory.name)
    os.replace(link, root / "last")
    for old in sorted(root.glob("step-????????"))[:-keep]:
        shutil.rmtree(old)
    return directory


def load_state(directory: str | Path) -> dict:
    """The training state of a checkpoint. Raises FileNotFoundError when it holds weights only."""
    file = Path(directory) / STATE_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"'{directory}' cannot be resumed from ({STATE_NAME} is missing): give a step directory, or init_from=... to start anew"
        )
    return torch.load(file, map_location="cpu", weights_only=True)
