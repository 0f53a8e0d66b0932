"""Reading network weights: safetensors, a torch file (weights_only), or a checkpoint directory that holds
one."""

import argparse
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tempohand.manifest import verify

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
RELEASED = Path(__file__).with_name("released")  # checkpoint directories that come with the package
MEDIAPIPE = RELEASED / "mediapipe"  # and MediaPipe's networks, which are bare weights
AVERAGED = (
    "ema",
    "teacher",
)  # words in the name of the copy that is meant, of several in a training program's file


def released() -> list[str]:
    """Names of the networks that come with the package: each can stand where a checkpoint directory is asked
    for."""
    return sorted(path.parent.name for path in RELEASED.glob(f"*/{CONFIG_NAME}"))


def locate(path: str | Path) -> Path:
    """The path, or, where there is nothing, the network of that name that comes with the package."""
    return Path(path) if Path(path).exists() or str(path) not in released() else RELEASED / path


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor, on the CPU, of a path or the name of a network that comes with the package.

    Tensors in a torch file's nested dictionaries are named by all their keys: {"model": {"a": t}} is
    {"model.a": t}, and what is no tensor is left out (`of_network` finds a network in the rest). Raises
    FileNotFoundError or ValueError with the remedy in one line.
    """
    path = locate(path)
    file = path / WEIGHTS_NAME if path.is_dir() else path
    if not file.is_file():
        what = (
            f"the directory '{path}' has no {WEIGHTS_NAME}"
            if path.is_dir()
            else f"there is no checkpoint at '{path}'"
        )
        raise FileNotFoundError(
            f"{what}: give a checkpoint directory (such as outputs/<run>/checkpoint/best), "
            "a .safetensors or a torch file"
        )
    verify(file.parent, [file.name])
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(
            [argparse.Namespace]
        ):  # many training programs store their arguments beside the weights
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"'{file}' is not readable as weights: {str(error).splitlines()[0]}") from error
    except Exception as error:  # pickle's own errors have no common base
        raise ValueError(
            f"'{file}' is not a plain torch file of tensors ({type(error).__name__}): "
            "convert it to safetensors"
        ) from error
    weights = dict(_tensors(content)) if isinstance(content, Mapping) else {}
    if not weights:
        raise ValueError(f"'{file}' holds no named tensors: give a file with a network's state_dict")
    return weights


def load_into(module: nn.Module, path: str | Path) -> None:
    """Gives a module all of its weights out of a file that holds them and nothing else. Raises what
    `load_weights` raises, and ValueError where names or shapes differ."""
    own, given = module.state_dict(), load_weights(path)
    wrong = sorted(own.keys() ^ given.keys())
    wrong = wrong or [name for name in own if own[name].shape != given[name].shape]
    if wrong:
        raise ValueError(
            f"'{path}' does not fit {type(module).__name__}: {len(wrong)} weights differ, first {wrong[:3]}"
        )
    module.load_state_dict(given)


def _tensors(nested: Mapping, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in nested.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{prefix}{key}.")


def of_network(
    weights: Mapping[str, Tensor], names: Collection[str], source: str | Path
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a network, under its own names, out of a file that may hold them under a prefix; and
    that prefix.

    names: the network's own. The prefix (`module.`, `state_dict.model.`, `teacher.backbone.`, or none) is the
    one under which most of them are; of several copies a teacher's or an averaged network is taken. What is
    not under the prefix is left out. Raises ValueError when several copies remain; source: the file, for that
    line. A file without any of the names is given back as it is.
    """
    names = frozenset(names)
    found = Counter(key[:at] for key in weights for at in _beginnings(key) if key[at:] in names)
    if not found:
        return dict(weights), ""
    most = [prefix for prefix, count in found.items() if count == max(found.values())]
    averaged = [prefix for prefix in most if any(word in prefix.lower() for word in AVERAGED)]
    prefix, *others = averaged or most
    if others:
        raise ValueError(
            f"'{source}' holds several networks, under {sorted([prefix, *others])}: "
            "save the one to take in a file of its own"
        )
    return {
        key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)
    }, prefix


def _beginnings(key: str) -> Iterator[int]:
    """Where the part of a dotted name after none, one, two ... of its words begins."""
    yield 0
    yield from (match.end() for match in re.finditer(r"\.", key))


def load_config(path: str | Path) -> dict:
    """The config.json of a checkpoint directory, or of a network that comes with the package. Raises
    FileNotFoundError where there is none."""
    path = locate(path)
    file = path / CONFIG_NAME
    if not file.is_file():
        names = f", or one of {', '.join(released())}" if released() else ""
        raise FileNotFoundError(
            f"no checkpoint at '{path}' ({CONFIG_NAME} is missing): "
            f"give a directory such as outputs/<run>/checkpoint/best{names}"
        )
    verify(path, [CONFIG_NAME])
    return json.loads(file.read_text(encoding="utf-8"))
