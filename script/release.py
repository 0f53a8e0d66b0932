"""Makes a checkpoint one of the networks that come with the package: half precision, a name, what it was made
from.

    python script/release.py tempohand-small outputs/stage2-small/checkpoint/best --note "drawn and real
    pictures" --notice src/model/released/mediapipe/LICENSE docs/NOTICE

Prints the file's SHA-256, which tests/released pins (regenerate.py there writes it anew).
"""

import argparse
import json
from pathlib import Path

from tempohand.console import run_clearly
from tempohand.evaluation.provenance import file_hash
from tempohand.model.release import make_release
from tempohand.model.weights import RELEASED, WEIGHTS_NAME, load_config


@run_clearly
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="what the network is to be called")
    parser.add_argument("checkpoint", help="checkpoint directory of Stage 2 or of a hand finder")
    parser.add_argument("--note", required=True, help="what it was trained on, for its config.json")
    parser.add_argument(
        "--notice", nargs="*", default=[], type=Path, help="files that travel with it: licences, attributions"
    )
    parser.add_argument("--folder", default=str(RELEASED), help="where releases lie (default: the package's)")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.checkpoint)
    training = {
        "data": arguments.note,
        "run": config["name"],
        "step": config["step"],
        "scores": config["scores"],
    }
    size = make_release(arguments.checkpoint, arguments.folder, arguments.name, training, arguments.notice)
    digest = file_hash(Path(arguments.folder) / arguments.name / WEIGHTS_NAME)
    print(json.dumps({"name": arguments.name, "bytes": size, "sha256": digest}, indent=1))


if __name__ == "__main__":
    main()
