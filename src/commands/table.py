"""`tempohand table ACTION`: a frame table copied, as Parquet, and back."""

import argparse

from tempohand.commands.scripts import CONFIGS, TABLE_HELP

EXAMPLES = """examples:
  tempohand table copy s3://bucket/demo data/demo
  tempohand table to-parquet data/demo parquet/demo
  duckdb -c "SELECT split, source, count(*) FROM 'parquet/demo/**/*.parquet' GROUP BY ALL"
  tempohand table from-parquet parquet/chosen data/chosen"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand table`: its actions with theirs."""
    parser.epilog = EXAMPLES + "\n\ndocs/data.md has the columns."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    copied = actions.add_parser("copy", help="copy a frame table to this machine, from an address, too")
    copied.add_argument("table", metavar="TABLE", help=TABLE_HELP)
    copied.add_argument("out", metavar="OUT", help="the table's folder; an interrupted copy goes on")
    there = actions.add_parser("to-parquet", help="write a frame table as Parquet")
    there.add_argument("table", metavar="TABLE", help=TABLE_HELP)
    there.add_argument("out", metavar="OUT", help="the folder to write, or to replace")
    back = actions.add_parser("from-parquet", help="make a frame table of such a folder")
    back.add_argument(
        "table", metavar="FOLDER", help="split=<name>/*.parquet and about.json, as to-parquet writes them"
    )
    back.add_argument("out", metavar="OUT", help="the table's folder, which is not there yet")


def run(arguments: argparse.Namespace) -> None:
    """Writes the folder and says how many rows each split has, or of a copy how many files there are."""
    from tempohand.data.arguments import table_folder
    from tempohand.data.copying import copy_table
    from tempohand.data.parquet import from_parquet, to_parquet

    if arguments.action == "copy":
        files = copy_table(table_folder(arguments.table, CONFIGS), arguments.out)
        print(f"wrote '{arguments.out}' ({len(files)} files)")
        return
    if arguments.action == "to-parquet":
        counts = to_parquet(table_folder(arguments.table, CONFIGS), arguments.out)
    else:
        counts = from_parquet(arguments.table, arguments.out)
    for split, rows in counts.items():
        print(f"{rows:9,}  {split}")
    print(f"wrote '{arguments.out}'")
