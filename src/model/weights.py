"""Reading and writing network weights: safetensors, a torch file (weights_only), or a checkpoint directory that holds one."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tempohand.manifest import verify

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor, on the CPU. Raises FileNotFoundError or ValueError with the remedy in one line."""
    path = Path(path)
    file = path / WEIGHTS_NAME if path.is_dir() else path
    if not file.is_file():
        what = f"the directory '{path}' has no {WEIGHTS_NAME}" if path.is_dir() else f"there is no checkpoint at '{path}'"
        raise FileNotFoundError(
            f"{what}: give a checkpoint directory (such as outputs/<run>/checkpoint/best), a .safetensors or a torch file"
        )
    verify(file.parent, [file.name])
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"'{file}' is not readable as weights: {str(error).splitlines()[0]}") from error
    except Exception as error:  # pickle's own errors have no common base
        raise ValueError(f"'{file}' is not a plain torch file of tensors ({type(error).__name__}): convert it to safetensors") from error
    for key in ("state_dict", "model"):
        weights = weights.get(key, weights)
    return weights


def load_config(path: str | Path) -> dict:
    """The config.json of a checkpoint directory. Raises FileNotFoundError where there is none."""
    file = Path(path) / CONFIG_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"no checkpoint at '{path}' ({CONFIG_NAME} is missing): give a directory such as outputs/<run>/checkpoint/best"
        )
    verify(path, [CONFIG_NAME])
    return json.loads(file.read_text(encoding="utf-8"))
