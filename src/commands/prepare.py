"""`tempohand prepare`: script/prepare.py."""

import argparse

from tempohand.commands.scripts import SYNTHETIC, configurations, describe_settings

DESCRIPTION = """Makes a frame table, of a public data set in its original folder, of your own labelled
pictures (docs/own_data.md) or of synthetic hands. docs/datasets.md has every data set, docs/synthetic.md
the synthetic ones.

configurations (--config-name), for synthetic hands:
"""
KEYS = {
    "dataset=NAME": "a public data set, or a tool that you labelled with; a wrong name lists them all",
    "root=FOLDER": "the data set's folder (default: the environment variable NAME_ROOT)",
    "out=FOLDER": "where the table goes",
    "hand=FILE": "the hand model that the annotations were made with: file or folder of MANO",
    "options={...}": "the data set's own, such as {side: right}",
    "max_units=N": "only so many recordings of every split, to try",
    "engine=ray": "by workers of many machines (docs/scale.md; default: processes of this one)",
    "processes=N": "default: one a core",
    "overwrite=true": "replace a table that was made with other settings",
}
EXAMPLES = """examples:
  tempohand prepare --config-name=synthetic-demo out=data/demo
  tempohand prepare dataset=freihand root=path/to/FreiHAND_pub_v2 out=data/freihand hand=path/to/MANO
  tempohand prepare dataset=labelme root=my_pictures out=data/mine 'options={side: right}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The page that `tempohand prepare --help` prints."""
    names = "\n".join(f"  {name}" for name in configurations(SYNTHETIC))
    describe_settings(parser, description=DESCRIPTION + names, keys=KEYS, examples=EXAMPLES)
