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
from typing import Any

import safetensors.torch
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames, HandTarget
from tempohand.training.debug.not_finite import named_tensors
from tempohand.training.processes import gather
from tempohand.writing import write_whole

CONFIG_NAME = "config.json"


def write_dump(
    accelerator: Accelerator,
    folder: Path,
    network: nn.Module,
    batches: list[ClipBatch],
    config: dict,
    debug: dict,
) -> str | None:
    """Writes `folder`, replacing what an earlier run left there: every process its batches (one a
    micro-step), the main process weights and config.json, with `debug` in it.

    All processes call it at once, and none returns before the folder is whole. Returns why there is no dump,
    on every process; None: there is one.
    """
    # (Not by writing.whole_folder: several processes write into it.)
    part = folder.with_name(folder.name + ".part")
    names = [f"batch-{micro}-{accelerator.process_index}.safetensors" for micro in range(len(batches))]
    error = None
    try:
        for name, batch in zip(names, batches):
            save_batch(part / name, batch)
    except OSError as reason:
        error = str(reason)
    written = gather((names, error))
    error = next((error for _, error in written if error), None)
    if accelerator.is_main_process:
        batch_files = [list(of_processes) for of_processes in zip(*(names for names, _ in written))]
        try:
            if error is None:
                _write_weights(part, network, {**config, "debug": {**debug, "batches": batch_files}})
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(part, folder)
        except OSError as reason:
            error = str(reason)
        if error is not None:
            shutil.rmtree(part, ignore_errors=True)
    return gather(error)[0]


def save_batch(file: Path, batch: ClipBatch) -> None:
    """Every field of a batch, one safetensors file.

    Raises OSError, naming the file, where the disk is full or read-only."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in named_tensors(batch)}
    write_whole(file, safetensors.torch.save(tensors, metadata={"size": json.dumps(batch.frames.size)}))


def load_batch(file: Path) -> ClipBatch:
    """The batch that `save_batch` wrote. Raises ValueError for one of a version before batches had frames."""
    with safe_open(file, "pt") as stored:
        metadata = stored.metadata() or {}
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no dict)
    if "size" not in metadata:
        raise ValueError(
            f"debug.replay: '{file}' was written by an earlier version of tempohand, whose batches this one "
            "does not read: replay it with that version, or repeat the run until it stops again"
        )

    def part(kind: type[Any], prefix: str) -> dict[str, Tensor]:
        names = (field.name for field in fields(kind))
        return {name: tensors[prefix + name] for name in names if prefix + name in tensors}

    target = part(HandTarget, "target.")
    return ClipBatch(
        frames=Frames(size=tuple(json.loads(metadata["size"])), **part(Frames, "frames.")),
        target=HandTarget(**target) if target else None,
        **part(ClipBatch, ""),
    )


@dataclass(frozen=True)
class Dump:
    """A dump that was read: what its config.json says under "debug", and `batches[micro-step][process]`."""

    folder: Path
    debug: dict
    batches: list[list[ClipBatch]]

    @property
    def step(self) -> int:
        """How many optimizer steps were done before it."""
        return self.debug["step"]

    @property
    def settings(self) -> dict:
        """The whole configuration of the run."""
        return self.debug["settings"]

    @classmethod
    def load(cls, folder: str | Path) -> "Dump":
        """Raises FileNotFoundError or ValueError where there is no dump, or one that cannot be read."""
        debug = read_debug(folder)
        batches = [[load_batch(Path(folder) / name) for name in names] for names in debug["batches"]]
        return cls(Path(folder), debug, batches)


def read_debug(folder: str | Path) -> dict:
    """What a dump's config.json says under "debug". Raises FileNotFoundError or ValueError where there is no
    dump."""
    file = Path(folder) / CONFIG_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"debug.replay: no dump at '{folder}' ({CONFIG_NAME} is missing): "
            "give <out>/debug/step-<n> of a run that stopped"
        )
    debug = json.loads(file.read_text(encoding="utf-8")).get("debug")
    if debug is None:
        raise ValueError(
            f"debug.replay: '{folder}' is a checkpoint and holds no batch: "
            "give <out>/debug/step-<n> of a run that stopped"
        )
    return debug


def _write_weights(folder: Path, network: nn.Module, config: dict) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_whole(folder / "model.safetensors", safetensors.torch.save(weights))
    write_whole(folder / CONFIG_NAME, json.dumps(config, indent=1))
