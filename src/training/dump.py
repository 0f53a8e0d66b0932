"""What a run leaves when a step goes wrong: a checkpoint directory with the step's batches inside, from which
it can be done again.

    model.safetensors, config.json      as in every checkpoint (the weights before the step); config.json says
    more under "debug"
    batch-<micro-step>-<rank>.safetensors   every field of a batch

Folders are written under another name and renamed when whole.
"""

import json
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors.torch
from safetensors import safe_open
from torch import Tensor, nn

from tempohand.batch import ClipBatch, HandTarget
from tempohand.training.finite import tensors_of
from tempohand.writing import write_whole

CONFIG_NAME = "config.json"


def save_batch(file: Path, batch: ClipBatch) -> None:
    """Every field of a batch, one safetensors file; a tensor that is one value expanded (pictures under
    cached tokens) is stored as that.

    Raises OSError, naming the file, where the disk is full or read-only."""
    tensors, shapes = {}, {}
    for name, value in tensors_of(batch):
        if value.numel() and not any(value.stride()):
            shapes[name], value = list(value.shape), value[(slice(1),) * value.ndim]
        tensors[name] = value.detach().cpu().contiguous().clone()
    write_whole(file, safetensors.torch.save(tensors, metadata={"expanded": json.dumps(shapes)}))


def load_batch(file: Path, kind: type[ClipBatch]) -> ClipBatch:
    """The batch that `save_batch` wrote, as the class that it was."""
    with safe_open(file, "pt") as stored:
        shapes = json.loads(stored.metadata()["expanded"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no dict)
    tensors |= {name: tensors[name].expand(shape) for name, shape in shapes.items()}
    target = {
        field.name: tensors[f"target.{field.name}"]
        for field in fields(HandTarget)
        if f"target.{field.name}" in tensors
    }
    own = {field.name: tensors[field.name] for field in fields(kind) if field.name in tensors}
    return kind(**own, target=HandTarget(**target) if target else None)


def finish(part: Path, folder: Path, network: nn.Module, config: dict, debug: dict) -> None:
    """Adds the weights and config.json to the batches in `part` and renames it to `folder`, replacing what an
    earlier run left there.

    Raises OSError, naming the file, where the disk is full or read-only."""
    weights: dict[str, Tensor] = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    write_whole(part / "model.safetensors", safetensors.torch.save(weights))
    write_whole(part / CONFIG_NAME, json.dumps({**config, "debug": debug}, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


@dataclass(frozen=True)
class Dump:
    """A dump that was read. `batches[micro-step][process]`."""

    folder: Path
    debug: dict
    batches: list[list[ClipBatch]]

    @classmethod
    def load(cls, folder: str | Path, kind: type[ClipBatch]) -> "Dump":
        """Raises FileNotFoundError or ValueError where there is no dump."""
        debug = read_debug(folder)
        batches = [[load_batch(Path(folder) / name, kind) for name in names] for names in debug["batches"]]
        return cls(Path(folder), debug, batches)


def read_debug(folder: str | Path) -> dict:
    """What a dump's config.json says under "debug". Raises FileNotFoundError or ValueError where there is no
    dump."""
    file = Path(folder) / CONFIG_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"debug.replay: no dump at '{folder}' ({CONFIG_NAME} is missing): give <out>/debug/step-<n> of a run that stopped"
        )
    debug = json.loads(file.read_text(encoding="utf-8")).get("debug")
    if debug is None:
        raise ValueError(
            f"debug.replay: '{folder}' is a checkpoint and holds no batch: give <out>/debug/step-<n> of a run that stopped"
        )
    return debug
