"""What the networks that come with the package are and say: their files' SHA-256, and their hands of three
rendered frames.

python tests/released/regenerate.py            writes expected.json anew: after a new release
python tests/released/regenerate.py --table    films the three frames anew, too
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tempohand.data.table import FrameTable
from tempohand.evaluation.provenance import file_hash
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.settings import NETWORK
from tempohand.model.registry import load_network
from tempohand.model.weights import RELEASED, WEIGHTS_NAME, released

HERE = Path(__file__).parent
TABLE, EXPECTED = HERE / "table", HERE / "expected.json"
SHOWN = (0, 4, 8, 12, 16, 20)  # joints that are written down: wrist and fingertips


def digests() -> dict[str, str]:
    """The SHA-256 of each network's weights file."""
    return {name: file_hash(RELEASED / name / WEIGHTS_NAME) for name in released()}


def hands() -> dict[str, list]:
    """What the networks say of the three frames, as one hand seen three times: joints in space (mm) and in
    the picture (px)."""
    table = FrameTable(TABLE, "test")
    labels = table.labels(np.arange(len(table)))
    pictures = [table.image(row) for row in range(len(table))]
    predictor = StreamingPredictor(load_network(NETWORK))
    cameras = [{name: labels[name][row] for name in ("focal", "princpt")} for row in range(len(table))]
    estimates = predictor.push_all(
        [
            HandInput(
                image=pictures[row],
                box=labels["box"][row],
                time=row / 30,
                is_right=bool(labels["is_right"][row]),
                **cameras[row],
            )
            for row in range(len(table))
        ]
    )
    return {
        "joints": [estimate.joints[list(SHOWN)].round(2).tolist() for estimate in estimates],
        "joints2d": [estimate.joints2d[list(SHOWN)].round(2).tolist() for estimate in estimates],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="film the frames anew")
    if parser.parse_args().table:
        counts = [
            "num_train=0",
            "num_val=0",
            "num_test=1",
            "frames_test=3",
            "camera.fps=10",
            "processes=1",
            "seed=5",
            "overwrite=true",
        ]
        script = HERE.parents[1] / "script" / "prepare.py"
        subprocess.run(
            [sys.executable, str(script), "--config-name=synthetic-wide", f"out={TABLE}", *counts], check=True
        )
    EXPECTED.write_text(json.dumps({"sha256": digests(), **hands()}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {EXPECTED}")


if __name__ == "__main__":
    main()
