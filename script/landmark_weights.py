"""Reads MediaPipe's hand networks out of a wheel of mediapipe 0.10.21, which is not installed, into the
safetensors files that come with the package (half precision, as in the wheel).

    pip download --no-deps --python-version 3.11 --only-binary=:all: --dest . mediapipe==0.10.21
    python script/landmark_weights.py mediapipe-0.10.21-*.whl
    python script/landmark_weights.py mediapipe-0.10.21-*.whl --lite --folder elsewhere

Prints each file's SHA-256.
"""

import argparse
import json
from pathlib import Path

import safetensors.torch

from tempohand.console import run_clearly
from tempohand.evaluation.provenance import file_hash
from tempohand.inference.detector import read_wheel
from tempohand.manifest import write_manifest
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector
from tempohand.model.tflite import read_operators, state_dict_of
from tempohand.model.weights import MEDIAPIPE
from tempohand.writing import whole_folder

LICENCE = "LICENSE"
FILES = {
    "hand_landmark_full": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
    "palm_detection_full": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
    LICENCE: "mediapipe-0.10.21.dist-info/LICENSE",
}
LITE = {"hand_landmark_lite": "mediapipe/modules/hand_landmark/hand_landmark_lite.tflite"}
NETWORKS = {
    "hand_landmark_full": HandLandmarkNetwork,
    "hand_landmark_lite": lambda: HandLandmarkNetwork("lite"),
    "palm_detection_full": PalmDetector,
}
NOTICE = (
    "MediaPipe hand model, Copyright The MediaPipe Authors, Apache-2.0 (LICENSE). Changed: the weights of "
    "mediapipe 0.10.21's {file} in PyTorch's order of axes, as safetensors."
)


@run_clearly
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", help="mediapipe-0.10.21-*.whl, of any platform")
    parser.add_argument("--lite", action="store_true", help="the lite landmark network, too")
    parser.add_argument("--folder", default=str(MEDIAPIPE), help="default: the package's own")
    arguments = parser.parse_args(argv)
    files = FILES | (LITE if arguments.lite else {})
    content = read_wheel(arguments.wheel, files)
    with whole_folder(Path(arguments.folder)) as part:
        (part / LICENCE).write_bytes(content.pop(LICENCE))
        for name, data in content.items():
            weights = state_dict_of(NETWORKS[name](), read_operators(data, files[name]), files[name])
            # One entry: several would come in another order each time.
            notice = {"notice": NOTICE.format(file=Path(files[name]).name)}
            (part / f"{name}.safetensors").write_bytes(safetensors.torch.save(weights, notice))
        write_manifest(part)
    digests = {name: file_hash(Path(arguments.folder) / f"{name}.safetensors") for name in content}
    print(json.dumps(digests, indent=1))


if __name__ == "__main__":
    main()
