"""Makes a frame table: of a public data set in its original folder, or of synthetic hands.

    tempohand prepare dataset=freihand root=path/to/FreiHAND_pub_v2 out=data/freihand
    tempohand prepare --config-name=synthetic-demo out=data/demo

docs/data.md has the data sets, docs/synthetic.md the synthetic ones.
"""

import os
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from tempohand.assemble.label_pictures import label_folder, relabel_folder
from tempohand.assemble.second_look import SecondLook
from tempohand.console import run_clearly
from tempohand.data.arguments import by_plain_values
from tempohand.data.convert.convert import Conversion, convert
from tempohand.data.convert.registry import CONVERTERS, converter_class
from tempohand.data.convert.rows import Storage
from tempohand.data.parallel_jobs import Engine, open_engine
from tempohand.data.table import root_variable
from tempohand.model.registry import load_network
from tempohand.synthetic.generate import SPLITS, SyntheticConfig, TableConfig, built, make_table
from tempohand.synthetic.orthographic import OrthographicConfig

TRIED = 160  # pictures of a source, for each of max_units, that a teacher labels


def filmed(settings: dict[str, Any]) -> TableConfig:
    """Sequences of a moving hand."""
    frames = {split: settings.pop(f"frames_{split}") for split in SPLITS}
    return built(SyntheticConfig, settings | {"frames": frames})


def orthographic(settings: dict[str, Any]) -> TableConfig:
    """Single bare hands."""
    return built(OrthographicConfig, settings)


DRAWN = {
    "synthetic": filmed,
    "orthographic": orthographic,
}  # what dataset= says in a configuration synthetic-*


def prepare_synthetic(dataset: str, settings: dict[str, Any], engine: Engine) -> None:
    """Draws the table of a configuration synthetic-*."""
    arguments = {name: settings.pop(name) for name in ("out", "overwrite")}
    settings["sequences"] = {split: settings.pop(f"num_{split}") for split in SPLITS}
    make_table(DRAWN[dataset](settings), engine=engine, **arguments)


def _labelled(root: str, settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Options of real_hands, with the folders of answers that are made first where they are missing;
    `network`, a checkpoint, is asked for a second round."""
    most = settings["max_units"] and settings["max_units"] * TRIED
    beside = settings["out"].rstrip("/")
    if "labels" not in options:
        options |= {"labels": str(label_folder(root, f"{beside}-labels", most=most))}
    if network := options.pop("network", None):
        look = SecondLook(load_network(network))
        again = relabel_folder(root, options["labels"], f"{beside}-labels-second", look, most=most)
        options |= {"second": str(again)}
    return options


def prepare_public(dataset: str, settings: dict[str, Any], engine: Engine) -> None:
    """Converts a data set from its original folder. Raises ValueError where that folder is not named."""
    kind = converter_class(dataset)
    root = settings["root"] or os.environ.get(root_variable(dataset))
    if not root:
        raise ValueError(
            f"where is {kind.title}? Pass root=<its folder> or set {root_variable(dataset)} ({kind.url})"
        )
    options = dict(settings["options"] or {})
    if dataset == "real_hands":
        options = _labelled(root, settings, options)
    storage = Storage(**{name: settings[name] for name in ("crop", "margin", "max_edge", "quality")})
    conversion = Conversion(dataset, root, settings["hand"], storage, options, settings["max_units"])
    convert(conversion, settings["out"], engine=engine, overwrite=settings["overwrite"])


@by_plain_values
@hydra.main(version_base="1.3", config_path="../config", config_name="prepare")
@run_clearly
def main(config: DictConfig) -> None:
    if OmegaConf.is_missing(config, "dataset"):
        raise ValueError(
            f"dataset= is missing, it is one of: {', '.join(sorted(CONVERTERS))}; "
            "synthetic data: --config-name=synthetic-demo"
        )
    if config.dataset not in DRAWN:
        converter_class(config.dataset)  # an unknown name is reported before a missing out=
    settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    dataset = settings.pop("dataset")
    make = prepare_synthetic if dataset in DRAWN else prepare_public
    make(dataset, settings, open_engine(settings.pop("engine"), settings.pop("processes")))


if __name__ == "__main__":
    main()
