"""The demo's own configuration at a tiny size."""

import functools
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tempohand.synthetic.generate import SPLITS, SyntheticConfig, built
from tempohand.synthetic.hand_kit import HandKit

CONFIG = Path(__file__).parents[2] / "config"
TINY = (
    "num_train=5",
    "num_val=1",
    "num_test=2",
    "frames_train=3",
    "frames_val=3",
    "frames_test=4",
    "camera.image_size=48",
)


@pytest.fixture(scope="session")
def settings():
    """settings(name, *overrides): a runnable configuration as script/prepare.py passes it on."""

    @functools.cache
    def build(name: str = "synthetic-demo", *overrides: str) -> SyntheticConfig:
        with initialize_config_dir(str(CONFIG), version_base="1.3"):
            config = OmegaConf.to_container(compose(name, ["out=unused", *TINY, *overrides]), resolve=True)
        for name in ("dataset", "out", "engine", "processes", "overwrite"):
            config.pop(name)
        config["sequences"] = {split: config.pop(f"num_{split}") for split in SPLITS}
        config["frames"] = {split: config.pop(f"frames_{split}") for split in SPLITS}
        return built(SyntheticConfig, config)

    return build


@pytest.fixture(scope="session")
def kit():
    return HandKit.load()
