"""Measures Tempohand: a table in the terminal, and with --json the same numbers in a file whose keys stay.

    tempohand bench hand                      the hand layer beside smplx
    tempohand bench stream --json FILE        Stage 2 per frame of a stream beside Stage 1
    tempohand bench find --data data/find     hands found in a table's pictures, and their sides

Both sides of a comparison run in turns within one process, so that what else the machine does reaches both.
Ratios are of medians, above 1 where ours is faster.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

from tempohand.console import run_clearly
from tempohand.writing import write_whole

# Each is a module of script/benchmarks, imported when it is asked for: add_arguments(parser), and
# run(arguments) -> benchmarks.report.Report.
BENCHMARKS = {
    "hand": "the hand layer beside smplx: forward, forward and backward, memory, at batches of 1, 32 and 256",
    "fit": "fitting hands to 21 joints: residual, vertices, converged, time",
    "stage2": "Stage 2 training steps from cached tokens beside steps that run the backbone",
    "stream": "streaming Stage 2 beside Stage 1 alone and beside recomputing its window",
    "step": "where a training step's time goes, and the loop beside the bare network",
    "nodes": "a training step on two nodes (this machine's loopback) beside one",
    "draw": "where a core's time goes when synthetic sequences are drawn",
    "gpu": "training steps of Stage 1 on a GPU: pictures a second, memory, share of its rate",
    "live": "a frame of a video from picture to hand, by torch and by ONNX Runtime",
    "predict": "a frame of the whole predict command, step by step, and its steps ahead of each other",
    "memory": "what the predict command holds in memory over a long video",
    "web": "the page of tempohand web in Chromium beside predict: joints, and a frame's time",
    "find": "hands found in a table's pictures, and their sides",
    "labels": "one's own labelled pictures into a frame table: rows a second",
    "masks": "masks made of pictures and 2D joints beside a table's true ones",
    "border": "hands at a picture's edge beside the same hands in the whole picture",
}


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tempohand bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    asked = next((word for word in sys.argv[1:] if word in BENCHMARKS), None)
    for name, summary in BENCHMARKS.items():
        added = commands.add_parser(name, help=summary, description=summary)
        added.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here, too")
        if name == asked:
            module = importlib.import_module(f"benchmarks.{name}")
            module.add_arguments(added)
    arguments = parser.parse_args()
    report = module.run(arguments)
    print(report.text())
    if arguments.json:
        write_whole(arguments.json, json.dumps(report.to_json(), indent=1) + "\n")
        print(f"wrote {arguments.json}")


if __name__ == "__main__":
    main()
