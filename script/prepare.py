"""Makes a frame table of a dataset.

    python script/prepare.py --config-name=synthetic-demo out=data/demo

A configuration's `dataset` says which preparation it is for; the rest of its keys are that preparation's settings.
"""

from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from tempohand.console import run_clearly
from tempohand.synthetic.make import SPLITS, SyntheticConfig, make_table


def prepare_synthetic(settings: dict[str, Any]) -> None:
    out, processes, overwrite = (settings.pop(name) for name in ("out", "processes", "overwrite"))
    settings["sequences"] = {split: settings.pop(f"num_{split}") for split in SPLITS}
    settings["frames"] = {split: settings.pop(f"frames_{split}") for split in SPLITS}
    make_table(SyntheticConfig.from_mapping(settings), out, processes=processes, overwrite=overwrite)


DATASETS = {"synthetic": prepare_synthetic}


@hydra.main(version_base="1.3", config_path="../config", config_name="synthetic-demo")
@run_clearly
def main(config: DictConfig) -> None:
    settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    dataset = settings.pop("dataset")
    if dataset not in DATASETS:
        raise ValueError(f"dataset={dataset} is not known, there are: {', '.join(sorted(DATASETS))}")
    DATASETS[dataset](settings)


if __name__ == "__main__":
    main()
