"""A small filmed table with real-looking pictures, tables with planted mistakes, and training configurations
of the smallest networks."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import save_file
from tests_support import SMALL_NETWORK, compose_config, write_table

from tempohand.model.registry import build_network
from tempohand.synthetic.generate import SPLITS, SyntheticConfig, built, film_sequence

CONFIG = Path(__file__).parents[2] / "config"
FILM = (
    "num_train=6",
    "num_val=2",
    "num_test=0",
    "frames_train=11",
    "frames_val=5",
    "frames_test=3",
    "camera.image_size=72",
    "seed=5",
)
CUT = 12  # px that the filmed pictures lose at the bottom: they are not square
SMALL = [
    *SMALL_NETWORK,
    "network.spatial.backbone.options.norm_group=4",
    "optim.batch_size=16",
    "data.workers=0",
]
SMALL_STAGE2 = [
    *(s for s in SMALL if not s.startswith("network.spatial")),
    "network.temporal={width: 32, layers: 1, heads: 2}",
    "sampling.consecutive=4",
]

Rows = dict[str, list[list[dict]]]  # split -> sequences -> rows


@pytest.fixture(scope="session")
def film() -> Rows:
    """Rows of a film of both hands, pictures 72 x 60 px."""
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        config = OmegaConf.to_container(compose("synthetic-demo", ["out=unused", *FILM]), resolve=True)
    for name in ("dataset", "out", "engine", "processes", "overwrite"):
        config.pop(name)
    config["sequences"] = {split: config.pop(f"num_{split}") for split in SPLITS}
    config["frames"] = {split: config.pop(f"frames_{split}") for split in SPLITS}
    config = built(SyntheticConfig, config)
    return {
        split: [
            [_cut(row) for row in film_sequence(config, split, index)]
            for index in range(config.sequences[split])
        ]
        for split in ("train", "val")
    }


def _cut(row: dict) -> dict:
    picture = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)[:-CUT]
    return {
        **row,
        "image": cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes(),
        "height": len(picture),
    }


@pytest.fixture(scope="session")
def film_root(film, tmp_path_factory) -> Path:
    """The film as a table on disk."""
    return write_table(tmp_path_factory.mktemp("film") / "t", film)


@pytest.fixture
def planted(film, tmp_path) -> Callable[..., Path]:
    """planted(mistake, every): the film, or every so many frames of it, as a table whose rows went through
    `mistake`, row -> changed columns."""

    def plant(mistake: Callable[[dict], dict], every: int = 1) -> Path:
        rows = {
            split: [[{**row, **mistake(row)} for row in sequence[::every]] for sequence in film[split]]
            for split in film
        }
        return write_table(tmp_path / "planted", rows)

    return plant


@pytest.fixture(scope="session")
def stage1(tmp_path_factory) -> Path:
    """A checkpoint directory of an untrained Stage 1."""
    directory = tmp_path_factory.mktemp("stage1")
    network = compose_config("stage1-tiny", *SMALL)["network"]
    torch.manual_seed(0)
    save_file(
        {name: tensor.contiguous() for name, tensor in build_network(network).state_dict().items()},
        directory / "model.safetensors",
    )
    (directory / "config.json").write_text(json.dumps({"network": network}))
    return directory


@pytest.fixture
def settings(stage1, tmp_path):
    """settings(stage, root, *overrides): a training configuration as the doctor gets it."""

    def build(stage: int, root: Path, *overrides: str) -> dict:
        own = SMALL if stage == 1 else [*SMALL_STAGE2, f"init_from={stage1}"]
        return compose_config(
            f"stage{stage}-tiny", *own, f"data.root={root}", f"out={tmp_path / 'out'}", *overrides
        )

    return build
