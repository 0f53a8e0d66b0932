"""Networks by name: from a configuration to a network, and from a checkpoint directory to a network ready for use."""

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from tempohand.model.finder import FinderNet
from tempohand.model.posenet import PoseNet
from tempohand.model.weights import CONFIG_NAME, load_config, load_weights, locate

NETWORKS = {"posenet": PoseNet, "finder": FinderNet}


def build_network(network: dict) -> nn.Module:
    """The network that a configuration describes: its `name` and that class's arguments. Raises ValueError for an unknown name."""
    arguments = dict(network)
    name = arguments.pop("name")
    if name not in NETWORKS:
        raise ValueError(f"network.name: '{name}' is none of {sorted(NETWORKS)}")
    return NETWORKS[name](**arguments)


def load_network(path: str | Path, name: str | None = None) -> nn.Module:
    """The network of a checkpoint directory, with its weights, in evaluation mode; `.config` is the checkpoint's config.json.

    name: of the kind of network that it has to be, of NETWORKS. Raises FileNotFoundError or ValueError in one clear line.
    """
    config = load_config(path)
    kind = config["network"].get("name")
    if name and kind != name:
        raise ValueError(f"'{path}' holds a network of the kind '{kind}', here one of the kind '{name}' is needed: give another checkpoint")
    network = build_network(_without_pretrained(config["network"]))  # every weight comes from the checkpoint: none is to be fetched first
    weights, own = load_weights(path), network.state_dict()
    wrong = sorted((own.keys() ^ weights.keys()) | {name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape})
    if wrong:
        raise ValueError(f"the weights in '{path}' do not fit their config.json: {len(wrong)} tensors differ, first {wrong[:3]}")
    network.load_state_dict(weights)
    network.config = config
    return network.eval()


def _without_pretrained(settings: dict) -> dict:
    """The same settings with every `backbone.weights` null."""
    changed = {key: _without_pretrained(value) if isinstance(value, dict) else value for key, value in settings.items()}
    return changed | {"weights": None} if "weights" in changed else changed


INHERITED = ("size", "expansion", "norm_by_hand", "hand", "spatial", "backbone", "width")


def inherit_settings(network: dict, path: str | Path, say: Callable[[str], None]) -> None:
    """Settings that belong to the weights come from the checkpoint that they are in: they replace those of `network`, which says so.

    A bare weights file carries no settings, and another kind of network has none that belong here: neither changes anything (a network says
    itself what it takes of another kind's weights, `load_pretrained`).
    """
    if not (locate(path) / CONFIG_NAME).is_file():
        load_weights(path)  # a missing or unreadable file is told of here, before anything is built
        return
    source = load_config(path)["network"]
    if source.get("name", network["name"]) != network["name"]:
        return
    for key in INHERITED:
        if key in source and key in network:
            for name, before, after in _differences(key, network[key], source[key]):
                say(f"inherited network.{name} = {after} (the config says {before})")
            network[key] = source[key]
    network.update(_without_pretrained(network))


def _differences(name: str, before, after) -> Iterator[tuple[str, object, object]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(f"{name}.{key}", before.get(key), after.get(key))
    elif before != after and not name.endswith("backbone.weights"):
        yield name, before, after
