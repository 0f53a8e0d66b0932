"""`tempohand masks`: the masks of hands that a frame table lacks."""

import argparse

from tempohand.commands.scripts import CONFIGS, FOLDER_HELP

DESCRIPTION = """Writes a frame table again, with masks: where a row has none, one is made of its picture and
2D joints, by GrabCut from the colours about the skeleton. All splits. What becomes of the rows is counted;
those that get no mask, and those whose mask looks like no hand and is left out, are listed in masks.jsonl in
the new folder. An interrupted run goes on where it was."""

EXAMPLES = """examples:
  tempohand masks data/stb
  tempohand masks data/panoptic --out data/panoptic-with-masks --workers 8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand masks`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("table", metavar="TABLE", help=FOLDER_HELP)
    parser.add_argument(
        "--out", metavar="FOLDER", help="the new table (default: beside the old one, its name and -masks)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a table there that was made with other settings"
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the masks and says what became of the rows."""
    from tempohand.data.arguments import table_folder
    from tempohand.data.masks import make_masks

    options = {"workers": arguments.workers, "overwrite": arguments.overwrite}
    out, counts = make_masks(table_folder(arguments.table, CONFIGS), arguments.out, **options)
    total = max(counts.total(), 1)
    for outcome, count in counts.most_common():
        print(f"{count:9,}  {count / total:6.1%}  {outcome}")
    print(f"wrote '{out}'")
