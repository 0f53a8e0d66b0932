"""Networks that come with the package, in half precision: a Stage 2 checkpoint, with Stage 1 inside, and the
hand finder."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from tempohand.batch import HandPrediction
from tempohand.manifest import write_manifest
from tempohand.model.network import Network
from tempohand.model.registry import load_network, network_class
from tempohand.model.weights import CONFIG_NAME, WEIGHTS_NAME, load_config, load_weights
from tempohand.writing import whole_folder

MOST_BYTES = 40_000_000
KEPT = ("network", "view", "stage", "name", "loss", "confidence")  # of a checkpoint's configuration


def load(name: str | Path = "tempohand-small", *, stage: int | None = None) -> Network:
    """A network that comes with the package, or of a checkpoint directory, in evaluation mode and single
    precision, on the CPU.

    stage: 2 for a network over a history of frames, 1 for a per-frame one, or the one that is inside it; None
    for whichever it is. network(batch) takes a ClipBatch; `inference.predictor.StreamingPredictor(network)`
    takes pictures. Raises FileNotFoundError for an unknown name, ValueError for a stage that is not there.
    """
    network = load_network(name, HandPrediction)
    if stage in (None, network.stage):
        return network
    inside = network.spatial_only()
    if stage != 1 or inside is None:
        raise ValueError(
            f"load('{name}', stage={stage}): stage is 1 or 2, and '{name}' is a Stage {network.stage} network"
        )
    return inside.eval()


def make_release(
    checkpoint: str | Path, folder: str | Path, name: str, training: dict, notices: Sequence[Path] = ()
) -> int:
    """Writes a checkpoint of Stage 2 or of a hand finder as the release `name` into `folder`, appearing when
    whole; returns its weights' size in bytes.

    Floating point tensors become half precision. training: how it was made, for its configuration (JSON
    values). notices: files that have to travel with it: licences, attributions. Raises ValueError for
    Stage 1, for values that half precision cannot hold, and above MOST_BYTES.
    """
    config = load_config(checkpoint)
    weights = load_weights(checkpoint)
    kind = network_class(config["network"])
    if kind.prediction is HandPrediction and kind.stage == 1:
        raise ValueError(
            f"'{checkpoint}' is of Stage 1: a release is a Stage 2 checkpoint, Stage 1 is inside it"
        )
    half = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    if lost := [
        key for key, value in half.items() if value.is_floating_point() and not torch.isfinite(value).all()
    ]:
        raise ValueError(
            f"half precision cannot hold {len(lost)} tensors of '{checkpoint}', first '{lost[0]}'"
        )
    content = safetensors.torch.save({key: value.contiguous() for key, value in half.items()})
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"'{checkpoint}' has {len(content) / 1e6:.1f} MB in half precision, "
            f"a release at most {MOST_BYTES / 1e6:.0f}"
        )
    kept = {key: config[key] for key in KEPT if key in config} | {"name": name, "training": training}
    with whole_folder(Path(folder) / name) as part:
        (part / WEIGHTS_NAME).write_bytes(content)
        (part / CONFIG_NAME).write_text(json.dumps(kept, indent=1), encoding="utf-8")
        for notice in notices:
            shutil.copy(notice, part / notice.name)
        write_manifest(part)
    return len(content)
