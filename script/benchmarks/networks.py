"""The networks that are measured: those of config/stage2-<name>.yaml."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONFIG = Path(__file__).resolve().parents[2] / "config"


def stage2_settings(name: str) -> dict:
    """What config/stage2-<name>.yaml says: `network`, `loss` and all else."""
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        return OmegaConf.to_container(compose(f"stage2-{name}"), resolve=True)
