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
RELEASED = Path(__file__).with_name("released")  # checkpoint directories that come with the package


def released() -> list[str]:
    """Names of the networks that come with the package: each can stand where a checkpoint directory is asked for."""
    return sorted(path.name for path in RELEASED.glob("*") if path.is_dir())


def locate(path: str | Path) -> Path:
    """The path, or, where there is nothing, the network of that name that comes with the package."""
    return Path(path) if Path(path).exists() or str(path) not in released() else RELEASED / path


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor, on the CPU, of a path or the name of a network that comes with the package. Raises FileNotFoundError or ValueError with the
    remedy in one line."""
    path = locate(path)
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
    """The config.json of a checkpoint directory, or of a network that comes with the package. Raises FileNotFoundError where there is none."""
    path = locate(path)
    file = path / CONFIG_NAME
    if not file.is_file():
        names = f", or one of {', '.join(released())}" if released() else ""
        raise FileNotFoundError(
            f"no checkpoint at '{path}' ({CONFIG_NAME} is missing): give a directory such as outputs/<run>/checkpoint/best{names}"
        )
    verify(path, [CONFIG_NAME])
    return json.loads(file.read_text(encoding="utf-8"))
