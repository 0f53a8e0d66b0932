"""What is measured: the settings of config."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONFIG = Path(__file__).resolve().parents[2] / "config"


def settings_of(name: str, *overrides: str) -> dict:
    """What config/<name>.yaml says, with some keys changed (key=value). Raises FileNotFoundError where there
    is no such file."""
    if not (CONFIG / f"{name}.yaml").exists():
        raise FileNotFoundError(f"there is no config/{name}.yaml: name a file of the folder config")
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        return OmegaConf.to_container(compose(name, overrides=list(overrides)), resolve=True)


def stage2_settings(name: str) -> dict:
    """What config/stage2-<name>.yaml says."""
    return settings_of(f"stage2-{name}", "data.root=table")
