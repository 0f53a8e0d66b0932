"""`tempohand check-data`: every row of a frame table, its picture and its labels."""

import argparse

from tempohand.commands.scripts import CONFIGS, FOLDER_HELP

DESCRIPTION = """Looks at every row of a frame table before a training run does: pictures that do not decode
or have another size than their row says, and labels that contradict each other (docs/doctor.md lists the
bounds). Exit code 0: clean, 1: something was found, 2: it could not be checked."""

EXAMPLES = """examples:
  tempohand check-data data/demo
  tempohand check-data data/ho3d --split train --hand models --json bad_rows.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand check-data`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("table", metavar="TABLE", help=FOLDER_HELP)
    parser.add_argument(
        "--split", action="append", metavar="NAME", help="a split to check, may be given again (default: all)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes; 0: none but this one (default: one a core)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the bad rows here, one JSON object a line and reason"
    )
    parser.add_argument(
        "--hand",
        metavar="FILE",
        help="the hand model that pose and shape belong to, as network.hand (default: the open hand)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Checks, prints the summary, writes the list; leaves with exit code 1 when something was found."""
    from tempohand.data.arguments import table_folder
    from tempohand.data.check import check_table, summary, write_rows

    table = table_folder(arguments.table, CONFIGS)
    counts, found = check_table(table, arguments.split, workers=arguments.workers, hand=arguments.hand)
    print(summary(counts, found))
    if arguments.json:
        write_rows(found, arguments.json)
        print(f"wrote {arguments.json}")
    if found:
        raise SystemExit(1)
