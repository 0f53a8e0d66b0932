"""From where a run goes on, and what it must have in common with the one that it resumes."""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from tempohand.training.checkpoint import begun, newest_whole

# Keys that may change while a run is interrupted: where things are, what is written down and how often, how
# long to train, and whether sums are to be rounded the same twice.
FREE = frozenset(
    {"name", "out", "resume", "init_from", "tracker", "log", "debug", "optim.steps", "deterministic"}
    | {"data.root", "data.folder", "data.workers", "data.max_bad", "tokens.folder"}
)
TABLE_FOLDER = re.compile(r"data\.tables\.[^.]+\.root")  # tables' folders by any name


def resume_point(resume: str | None, root: Path, say: Callable[[str], None]) -> Path | None:
    """The checkpoint to go on from by the key `resume` (auto, a directory, or null), for a run with its
    checkpoints in `root`; None: anew.

    Raises ValueError where a run would start anew over one that has checkpoints, or every one of them is
    damaged.
    """
    if resume is None and begun(root):
        raise ValueError(
            f"'{root.parent}' holds a run with checkpoints: resume=auto continues it, out=... "
            "puts this one elsewhere; "
            "remove that folder to start it anew"
        )
    if resume == "auto":
        return newest_whole(root, say)
    return Path(resume) if resume else None


def binding_settings(settings: dict, data: str, weight_files: Collection[str] = ()) -> dict:
    """Of a configuration, flat, what a resumed run must share with the run before: all that is not free to
    change; `data` is the table's fingerprint, `weight_files` the network's settings of that name."""
    flat = {name: value for name, value in _flat("", settings) if not _free(name, weight_files)}
    return {**flat, "data (its fingerprint)": data}


def refuse_other_run(before: dict, now: dict, directory: str, weight_files: Collection[str] = ()) -> None:
    """Raises ValueError naming what differs between the settings of the run in `directory` and the present
    ones.

    A checkpoint's settings may name keys that were made free since; `weight_files` are free for the network.
    """
    different = [
        f"{name} was {before.get(name)} and is {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and not _free(name, weight_files)
    ]
    if different:
        more = f" and {len(different) - 4} more" if len(different) > 4 else ""
        raise ValueError(
            f"'{directory}' is of a run with other settings: {'; '.join(different[:4])}{more}. "
            "Take these back to resume it; or start another run with out=..., with init_from=... "
            "from its weights"
        )


def refuse_other_frozen_weights(network: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Raises ValueError when the network, begun from `source`, has other frozen weights than the state to
    resume."""
    frozen = {name: weight for name, weight in network.named_parameters() if not weight.requires_grad}
    other = [
        name for name, weight in frozen.items() if not torch.equal(weight.detach().cpu(), weights[name].cpu())
    ]
    if other:
        raise ValueError(
            f"the run to resume was begun from other weights than init_from='{source}' has now "
            f"({len(other)} differ, first '{other[0]}'): "
            "set out=... to start anew from these, or leave init_from out"
        )


def restore(
    state: dict, parts: dict, directory: str, *, processes: int, steps: int, say: Callable[[str], None]
) -> None:
    """Gives every part (by its name in the state; anything with load_state_dict) its state, and says what is
    other than before."""
    for name, part in parts.items():
        part.load_state_dict(state[name])
    say(f"resumed from '{directory}' at step {state['step']}")
    if state["processes"] != processes:
        say(
            f"on {processes} processes, before on {state['processes']}: "
            "samples and learning rate are the same, sums are rounded otherwise"
        )
    if state["steps"] != steps:
        say(
            f"optim.steps is {steps}, before {state['steps']}: "
            f"the learning rate goes on as that of a run of {steps} steps"
        )


def _free(name: str, weight_files: Collection[str]) -> bool:
    return (
        any(name == key or name.startswith(f"{key}.") for key in FREE)
        or TABLE_FOLDER.fullmatch(name) is not None
        or name.removeprefix("network.") in weight_files
    )


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), part)
    else:
        yield name, value
