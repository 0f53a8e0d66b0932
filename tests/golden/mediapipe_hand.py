"""What MediaPipe's own networks say, in their own runtime, of a picture that is drawn here.

    pip install ai-edge-litert
    python tests/golden/mediapipe_hand.py mediapipe-0.10.21-*.whl        writes mediapipe_hand.json

tests/model/test_landmarks.py and test_palms.py hold the networks of src/model against these numbers. Where
the runtime is installed and TEMPOHAND_MEDIAPIPE_WHEEL names the wheel, they compare on other pictures, too.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from tempohand.inference.detector import read_wheel

STORED = Path(__file__).with_suffix(".json")
WHEEL = os.environ.get("TEMPOHAND_MEDIAPIPE_WHEEL")
FOLDER = "mediapipe/modules"
NETWORKS = {
    "hand_landmark_full": (f"{FOLDER}/hand_landmark/hand_landmark_full.tflite", 224),
    "hand_landmark_lite": (f"{FOLDER}/hand_landmark/hand_landmark_lite.tflite", 224),
    "palm_detection_full": (f"{FOLDER}/palm_detection/palm_detection_full.tflite", 192),
}
# Capsules of a hand: start, end and radius, of the picture's edge; palm, then thumb to little finger.
PALM = ((0.45, 0.66), (0.52, 0.66), 0.15)
FINGERS = (
    ((0.36, 0.70), (0.22, 0.54), 0.042),
    ((0.40, 0.56), (0.36, 0.24), 0.036),
    ((0.48, 0.54), (0.48, 0.18), 0.037),
    ((0.56, 0.56), (0.60, 0.24), 0.035),
    ((0.62, 0.62), (0.71, 0.38), 0.030),
)
FOREARM = ((0.49, 0.74), (0.50, 1.10), 0.11)


def picture(size: int) -> np.ndarray:
    """A flat hand with its fingers up, size x size x 3, uint8. Nothing but sums, products, quotients and
    roots, which are the same everywhere: so is the picture, bit for bit."""
    place = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(place, place)
    colour = np.stack([0.25 + 0.1 * y, 0.3 + 0.1 * x, 0.35 - 0.1 * y], axis=-1)
    for (x0, y0), (x1, y1), radius in (FOREARM, PALM, *FINGERS):
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
        off = np.sqrt((x - x0 - along * (x1 - x0)) ** 2 + (y - y0 - along * (y1 - y0)) ** 2)
        inside = np.clip((radius - off) * size, 0, 1)[..., None]
        light = 1 - 0.35 * (off / radius)[..., None] ** 2
        skin = np.array([0.85, 0.64, 0.52]) * light
        colour = colour * (1 - inside) + skin * inside
    return (np.clip(colour, 0, 1) * 255).astype(np.uint8)


def original(name: str, image: np.ndarray, wheel: str | Path) -> dict[str, np.ndarray]:
    """The outputs of an original network by name, for a picture of its size in 0..1."""
    from ai_edge_litert.interpreter import Interpreter

    model = read_wheel(wheel, {name: NETWORKS[name][0]})[name]
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
    interpreter.invoke()
    return {
        each["name"]: interpreter.get_tensor(each["index"])[0] for each in interpreter.get_output_details()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel")
    wheel = parser.parse_args().wheel
    stored = {}
    for name, (_, size) in NETWORKS.items():
        found = original(name, picture(size) / 255, wheel)
        if "palm" in name:  # of 2,016 anchors the 20 best
            best = np.sort(np.argsort(-found["Identity_1"][:, 0], kind="stable")[:20])
            found = {key: values[best] for key, values in found.items()} | {"anchors": best}
        stored[name] = {key: values.tolist() for key, values in found.items()}
    STORED.write_text(json.dumps(stored) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
