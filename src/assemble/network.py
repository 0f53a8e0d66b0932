"""The network of a training configuration, as its first step sees it."""

from collections.abc import Callable
from pathlib import Path

import torch

from tempohand.assemble.data import plain_view
from tempohand.model.backbone import loading_lines
from tempohand.model.network import Crop, Network
from tempohand.model.registry import build_network, inherit_settings, load_network, network_class
from tempohand.training.debug.dump import Dump
from tempohand.training.debug.replay import replay
from tempohand.training.objective import check_weights


def check_settings(settings: dict) -> None:
    """Refuses a training configuration that contradicts itself, before anything is read. Raises
    ValueError."""
    kind = network_class(settings["network"])
    kind.check(settings)
    check_weights(settings["loss"], kind.terms)
    keep = settings["log"]["keep"]
    if keep < 1:
        raise ValueError(f"log.keep={keep} must be at least 1 checkpoint")


def starting_point(settings: dict, resume: Path | None) -> str | Path | None:
    """The checkpoint that settings which belong to weights come from. Raises ValueError where a network that
    stands on another one has none."""
    if network_class(settings["network"]).stage == 1:
        return settings["init_from"]
    start = settings["init_from"] or resume
    if not start:
        raise ValueError(
            "Stage 2 needs init_from=<Stage 1 checkpoint>, "
            "for example init_from=outputs/stage1-tiny/checkpoint/best"
        )
    return start


def inherit(settings: dict, start: str | Path | None, say: Callable[[str], None]) -> None:
    """Puts settings that belong to weights into their places in a training configuration, from the checkpoint
    `start` (None: from nowhere), and checks what came of it.

    Raises ValueError or FileNotFoundError, in one clear line.
    """
    if start:
        inherit_settings(settings["network"], start, say)
    network_class(settings["network"]).check_inherited(settings)


def start_network(settings: dict, say: Callable[[str], None]) -> Network:
    """The network with its first weights, which depend on `seed` and are the same on every process; `say` is
    told where they come from. Raises ValueError or FileNotFoundError where they cannot be had."""
    torch.manual_seed(settings["seed"])
    network = build_network(settings["network"])
    for line in loading_lines(network):
        say(line)
    if settings["init_from"]:
        for line in network.load_pretrained(settings["init_from"]):
            say(line)
    return network


def size_line(network: Network) -> str:
    """How large a network is, in words."""
    total = sum(parameter.numel() for parameter in network.parameters())
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return f"{total / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained, {network.num_frame} frame(s)"


def checkpoint_config(settings: dict, best_by: str) -> dict:
    """What the config.json of every checkpoint of a run says; best_by: the score by which the best one is
    chosen."""
    return {
        "network": settings["network"],
        "view": plain_view(Crop.of(settings["network"])).settings(),
        "stage": network_class(settings["network"]).stage,
        "name": settings["name"],
        "loss": settings["loss"],
        "best_by": best_by,
    }


def replay_dump(folder: str) -> int:
    """Does the step of a dump again (`debug.replay`, docs/training.md); 1 when something is not finite, as in
    the run, 0 when all is."""
    dump = Dump.load(folder)
    network = load_network(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    return int(replay(dump, network))
