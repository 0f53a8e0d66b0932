"""Networks by name: from a configuration to a network, and from a checkpoint directory to a network ready for
use."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

from tempohand.batch import HandPrediction
from tempohand.model.finder import FinderNet
from tempohand.model.hand3d import Hand3D
from tempohand.model.network import Network
from tempohand.model.posenet import PoseNet
from tempohand.model.temporal_posenet import TemporalPoseNet
from tempohand.model.utnet import UTNet
from tempohand.model.weights import CONFIG_NAME, load_config, load_weights, locate

Choice = Callable[[dict], type[Network]]  # from a network's settings to its class
NETWORKS: dict[str, type[Network] | Choice] = {}


def register(name: str, network: type[Network] | Choice) -> None:
    """Has configurations and checkpoints mean this network by their `network.name`: a class, or a function of
    the network's settings that says which."""
    NETWORKS[name] = network


register("posenet", lambda network: PoseNet if network.get("temporal") is None else TemporalPoseNet)
register("finder", FinderNet)
register("utnet", UTNet)
register("hand3d", Hand3D)


def network_class(network: dict) -> type[Network]:
    """The class that a network's settings mean. Raises ValueError for an unknown name."""
    name = network["name"]
    if name not in NETWORKS:
        raise ValueError(f"network.name: '{name}' is none of {sorted(NETWORKS)}")
    found = NETWORKS[name]
    if isinstance(found, type):
        assert issubclass(found, Network)
        return found
    return found(network)


def build_network(network: dict) -> Network:
    """The network that a configuration describes: its `name` and that class's arguments. Raises ValueError
    for an unknown name."""
    arguments = {key: value for key, value in network.items() if key != "name"}
    return network_class(network)(**arguments)


def load_network(path: str | Path, prediction: type | None = None) -> Network:
    """The network of a checkpoint directory, with its weights, in evaluation mode; `.config` is the
    checkpoint's config.json.

    prediction: what it has to give (HandPrediction, BoxPrediction). Raises FileNotFoundError or ValueError in
    one clear line.
    """
    config = load_config(path)
    settings = config["network"]
    if prediction and not issubclass(network_class(settings).prediction, prediction):
        kinds = {name: network_class({"name": name}) for name in NETWORKS}
        needed = [name for name, kind in kinds.items() if issubclass(kind.prediction, prediction)]
        raise ValueError(
            f"'{path}' holds a network of the kind '{settings['name']}', here one of the kind "
            f"{' or '.join(map(repr, needed))} is needed: give another checkpoint"
        )
    used = {key: value for key, value in settings.items() if key not in network_class(settings).learning}
    network = build_network(_without_weight_files(used))  # every weight comes from the checkpoint
    weights, own = load_weights(path), network.state_dict()
    wrong = sorted(
        (own.keys() ^ weights.keys())
        | {name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape}
    )
    if wrong:
        raise ValueError(
            f"the weights in '{path}' do not fit their config.json: {len(wrong)} tensors differ, "
            f"first {wrong[:3]}"
        )
    network.load_state_dict(weights)
    network.config = config
    network.folder = locate(path)
    return network.eval()


def load_stages(stage1: str | Path | None, stage2: str | Path | None) -> tuple[Network, Network | None]:
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
            network = networks[name] = load_network(path, HandPrediction)
            if network.stage != (2 if name == "stage2" else 1):
                raise ValueError(
                    f"{name}='{path}' is a checkpoint of the other stage (num_frame={network.num_frame})"
                )
    first, second = networks.get("stage1"), networks.get("stage2")
    if second is None:
        assert first is not None
        return first, None
    inside = second.spatial_only()
    if first is None:
        if inside is None:
            raise ValueError(f"stage2='{stage2}' has no network of single frames inside: give stage1=, too")
        return inside, second
    if first.crop != second.crop:
        crops = " and ".join(str(tuple(network.crop)) for network in (first, second))
        raise ValueError(
            f"stage1 and stage2 see different crops (height, width, expansion: {crops}): "
            "evaluate them one at a time"
        )
    own, other = first.state_dict(), {} if inside is None else inside.state_dict()
    shared = own.keys() == other.keys() and all(
        own[name].shape == other[name].shape and own[name].equal(other[name]) for name in own
    )
    return (inside if shared else first), second


def _without_weight_files(network: dict) -> dict:
    """The same settings with null for every file that first weights would be read from."""
    network = copy.deepcopy(network)
    for key in network_class(network).weight_files:
        *path, last = key.split(".")
        part = network
        for name in path:
            part = part.get(name) or {}
        if last in part:
            part[last] = None
    return network


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
    kind = network_class(network)
    for key in kind.inherited:
        if key in source and key in network:
            for name, before, after in _differences(key, network[key], source[key]):
                if name not in kind.weight_files:
                    say(f"inherited network.{name} = {after} (the config says {before})")
            network[key] = source[key]
    network.update(_without_weight_files(network))


def _differences(name: str, before, after) -> Iterator[tuple[str, object, object]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield name, before, after
