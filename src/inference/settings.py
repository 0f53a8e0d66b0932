"""Settings of a prediction on files (predict_files.py) and their defaults, which are the command line's, too:
nothing is imported here that takes long.
"""

from dataclasses import dataclass
from pathlib import Path

NETWORK = "tempohand-small"  # comes with the package (model/released)
FINDER = "palms"  # MediaPipe's networks, which come with the package, too (inference/palm_finder.py)
BESIDE = f"{FINDER}+"  # and a trained finder beside them, whose name or directory follows
PICTURE_FINDER = f"{BESIDE}tempohand-finder"  # where nothing is said, of single pictures; FINDER in a video
# MediaPipe's hand model, which `tempohand detector-model` makes of this wheel.
DETECTOR_MODEL = "hand_landmarker.task"
DETECTOR_WHEEL = (
    "pip download --no-deps --dest . mediapipe==0.10.21 "
    "(for another Python add --python-version 3.11 --only-binary=:all:)"
)


@dataclass(frozen=True)
class PredictSettings:
    """A prediction on files. The first of `boxes`, `box`, `detect` and `finder` that is given says where
    hands are. None is the default that docs/predict.md has for the input."""

    input: str | Path  # a video, a picture, or a folder of pictures
    checkpoint: str = (
        NETWORK  # directory of a trained network, or the name of one that comes with the package
    )
    out: str | Path | None = None  # folder for the results

    boxes: str | Path | None = None  # file with the boxes of each frame
    box: str | None = None  # X0,Y0,X1,Y1 in px, of every frame
    detect: bool = False  # by MediaPipe
    finder: str | None = None  # "palms", directory or name of a trained hand finder, or both: palms+NAME

    side: str | None = None  # right or left, of every hand
    max_gap: float | None = None  # seconds without a hand after which its history begins anew
    smoothing: float | None = None  # weight of the box before, 0 to below 1
    max_hands: int | None = None  # most hands found in a frame
    tiles: int | None = None  # 2 or more: the finder looks from nearer, too, for hands so many times as small
    every: int | None = None  # frames from one look of the finder to the next
    follow: str = "landmarks"  # by what hands are followed between looks, or "hand" (`_palm_finder`)
    detector_model: str | Path | None = None  # MediaPipe's file
    fps: float | None = None  # a folder's pictures are one sequence of so many frames a second

    focal_px: float | None = None  # focal length, px of the input
    fov_deg: float | None = None  # or the angle across the longer side, degrees
    princpt: str | None = None  # CX,CY in px
    depth: str | Path | None = None  # folder of 16-bit pictures of depth, registered to the frames
    depth_unit: float = 1.0  # mm, of the numbers in them

    overlay: bool = True  # draw the hands over the input
    opacity: float | None = None  # of the drawn mesh, 0 to 1
    obj: bool = False  # write every hand's mesh
    batch_size: int | None = None  # hands in a pass of the network (`BATCH_SIZES`)
    device: str | None = None  # cpu or cuda
    runtime: str | None = None  # "torch", or "onnx": ONNX Runtime, on the CPU (runtime.py)
