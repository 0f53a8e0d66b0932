"""Networks by name: from a configuration to a network, and from a checkpoint directory to a network ready for
use."""

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from tempohand.model.finder import FinderNet
from tempohand.model.posenet import PoseNet
from tempohand.model.weights import CONFIG_NAME, load_config, load_weights, locate

NETWORKS = {"posenet": PoseNet, "finder": FinderNet}


def build_network(network: dict) -> nn.Module:
    """The network that a configuration describes: its `name` and that class's arguments. Raises ValueError
    for an unknown name."""
    arguments = dict(network)
    name = arguments.pop("name")
    if name not in NETWORKS:
        raise ValueError(f"network.name: '{name}' is none of {sorted(NETWORKS)}")
    return NETWORKS[name](**arguments)


def load_network(path: str | Path, name: str | None = None) -> nn.Module:
    """The network of a checkpoint directory, with its weights, in evaluation mode; `.config` is the
    checkpoint's config.json.

    name: of the kind of network that it has to be, of NETWORKS. Raises FileNotFoundError or ValueError in one
    clear line.
    """
    config = load_config(path)
    kind = config["network"].get("name")
    if name and kind != name:
        raise ValueError(
            f"'{path}' holds a network of the kind '{kind}', here one of the kind '{name}' is needed: give another checkpoint"
        )
    network = build_network(
        _without_pretrained(config["network"])
    )  # every weight comes from the checkpoint: none is to be fetched first
    weights, own = load_weights(path), network.state_dict()
    wrong = sorted(
        (own.keys() ^ weights.keys())
        | {name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape}
    )
    if wrong:
        raise ValueError(
            f"the weights in '{path}' do not fit their config.json: {len(wrong)} tensors differ, first {wrong[:3]}"
        )
    network.load_state_dict(weights)
    network.config = config
    return network.eval()


def load_stages(stage1: str | Path | None, stage2: str | Path | None) -> tuple[PoseNet, PoseNet | None]:
    """(Stage 1, Stage 2 or None) of one checkpoint or of two. Without a checkpoint of its own, and where
    Stage 2 has its very weights inside, Stage 1 is that part of Stage 2: one backbone pass serves both.

    Raises ValueError when none is given, when one is of the other stage, or when the two take other crops;
    what `load_network` raises.
    """
    if not stage1 and not stage2:
        raise ValueError(
            "nothing to evaluate: give stage1=<checkpoint directory>, stage2=<checkpoint directory> or both"
        )
    networks = {}
    for name, path in (("stage1", stage1), ("stage2", stage2)):
        if path:
            network = networks[name] = load_network(path, "posenet")
            if (network.num_frame > 1) != (name == "stage2"):
                raise ValueError(
                    f"{name}='{path}' is a checkpoint of the other stage (num_frame={network.num_frame})"
                )
    first, second = networks.get("stage1"), networks.get("stage2")
    if second is None:
        return first, None
    inside = second.spatial_only()
    if first is None:
        return inside, second
    crops = [(network.size, network.expansion) for network in (first, second)]
    if crops[0] != crops[1]:
        raise ValueError(
            f"stage1 and stage2 see different crops (size, expansion: {crops[0]} and {crops[1]}): evaluate them one at a time"
        )
    own, other = first.state_dict(), inside.state_dict()
    shared = own.keys() == other.keys() and all(
        own[name].shape == other[name].shape and own[name].equal(other[name]) for name in own
    )
    return (inside if shared else first), second


def _without_pretrained(settings: dict) -> dict:
    """The same settings with every `backbone.weights` null."""
    changed = {
        key: _without_pretrained(value) if isinstance(value, dict) else value
        for key, value in settings.items()
    }
    return changed | {"weights": None} if "weights" in changed else changed


INHERITED = ("size", "expansion", "norm_by_hand", "hand", "spatial", "backbone", "width")


def inherit_settings(network: dict, path: str | Path, say: Callable[[str], None]) -> None:
    """Settings that belong to the weights come from the checkpoint that they are in: they replace those of
    `network`, which says so.

    A bare weights file carries no settings, and another kind of network has none that belong here: neither
    changes anything (a network says itself what it takes of another kind's weights, `load_pretrained`).
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
