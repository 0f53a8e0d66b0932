"""Checks the data and the network of a training run before hours are spent on it: about a minute on a CPU for
the tiny configurations.

    tempohand doctor --config-name=stage1-tiny data.root=data/demo [key=value ...] [--json FILE]
    tempohand doctor --config-name=stage1-tiny data.root=data/demo            the same, from a checkout

It takes the configuration and the overrides that script/train.py is about to be given, prints a table, and
leaves with exit code 1 when a check FAILED. Nothing is written but --json. docs/doctor.md says what each
check means.
"""

import argparse
import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from tempohand.console import run_clearly
from tempohand.data.arguments import data_by_name_or_folder
from tempohand.doctor.examine import examine
from tempohand.doctor.result import table, write_json

CONFIG = Path(__file__).resolve().parents[1] / "config"


def main() -> None:
    """Takes --json from the command line and leaves the rest to Hydra."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json")
    options, sys.argv[1:] = parser.parse_known_args()

    @data_by_name_or_folder(CONFIG, ConfigStore.instance().store)
    @hydra.main(version_base="1.3", config_path="../config", config_name="stage1-tiny")
    @run_clearly
    def run(config: DictConfig) -> None:
        results = examine(OmegaConf.to_container(config, resolve=True))
        print(table(results))
        if options.json:
            write_json(results, options.json)
        if any(result.verdict == "FAILED" for result in results):
            raise SystemExit(1)

    run()


if __name__ == "__main__":
    main()
