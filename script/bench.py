"""Measures Tempohand: a table in the terminal, and with --json the same numbers in a file whose keys stay.

    python script/bench.py hand                      the hand layer beside smplx
    python script/bench.py fit                       hands fitted to joints
    python script/bench.py stage2                    Stage 2 steps from cached tokens beside recomputing the
    backbone
    python script/bench.py stream --json FILE        Stage 2 per frame of a stream beside Stage 1
    python script/bench.py find --data data/find     hands found in a table's pictures, and their sides
    python script/bench.py border INPUT...           hands at the edge of a picture

Both sides of a comparison run in turns within one process, so that what else the machine does reaches both.
Ratios are of medians, above 1 where ours is faster.
"""

import argparse
import importlib
import json
from pathlib import Path

from tempohand.console import run_clearly
from tempohand.writing import write_whole

# Each is a module of script/benchmarks: SUMMARY, add_arguments(parser), run(arguments) ->
# benchmarks.report.Report.
BENCHMARKS = ("hand", "fit", "stage2", "stream", "find", "border")


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in BENCHMARKS}
    for name, module in modules.items():
        added = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        added.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here, too")
        module.add_arguments(added)
    arguments = parser.parse_args()
    report = modules[arguments.name].run(arguments)
    print(report.text())
    if arguments.json:
        write_whole(arguments.json, json.dumps(report.to_json(), indent=1) + "\n")
        print(f"wrote {arguments.json}")


if __name__ == "__main__":
    main()
