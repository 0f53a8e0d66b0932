"""STB, the stereo hand pose benchmark (Zhang et al., ICIP 2017): a left hand counting or moving freely before
six backgrounds.

    images/B<1-6>{Counting,Random}/{BB_left,BB_right,SK_color}_<0-1499>.png, 640 x 480
    labels/<sequence>_{BB,SK}.mat: handPara [3, 21, 1500] mm

BB is a stereo camera (joints in the left one's space), SK a depth camera (joints in the depth sensor's space)
with a colour camera beside it. Intrinsics, baseline and the colour camera's place are those of the data set's
README, as quoted in public loaders; X_color = R^-1 (X_depth - t). Joint 0 is the centre of the palm. Tables
hold wrists: wrist = 2 palm - base of the middle finger, as far behind the palm's centre as that joint lies
before it. Works differ in this; figures for STB count from the palm or leave the wrist out, and `wrist=false`
masks it. No source gives the frame rate: 30 a second is assumed.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.mano import ManoHands
from tempohand.data.convert.orders import STB_TO_OP
from tempohand.data.convert.read import refusing_damage
from tempohand.skeleton import JOINT_NAMES, NUM_JOINTS, WRIST

SEQUENCES = {  # sequence -> split
    f"B{number}{kind}": "test" if number == 1 else "train"
    for number in range(1, 7)
    for kind in ("Counting", "Random")
}
FRAMES = 1500  # of a sequence
FRAMES_PER_SECOND = 30  # assumed
MIDDLE_BASE = JOINT_NAMES.index("middle_1")


class _View(NamedTuple):
    """A camera: whose labels, and X_camera = rotation X_labels + translation (mm)."""

    labels: str
    camera: Camera
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]


BUMBLEBEE = Camera.of_values(822.79041, 822.79041, 318.47345, 250.31296)
COLOUR = Camera.of_values(607.92271, 607.88192, 314.78337, 236.42484)
COLOUR_TURN = Rotation.from_rotvec([0.00531, -0.01196, 0.00301]).as_matrix().T
VIEWS = {
    "BB_left": _View("BB", BUMBLEBEE, np.eye(3), np.zeros(3)),
    "BB_right": _View("BB", BUMBLEBEE, np.eye(3), np.array([-120.054, 0.0, 0.0])),
    "SK_color": _View("SK", COLOUR, COLOUR_TURN, -COLOUR_TURN @ np.array([-24.0381, -0.4563, -1.2326])),
}


class Stb(Converter):
    """Splits: test (the two sequences of B1) and train (B2 to B6). Left hands, joints alone.

    cameras: of BB_left, BB_right and SK_color those to convert; None: all. wrist: whether the extrapolated
    wrist is a label.
    """

    name = "stb"
    title = "STB (stereo hand pose benchmark)"
    licence = "research only, see the page"
    url = "https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset"
    missing = "lacks labels/ or images/B1Counting ... images/B6Random: unpack STB there"

    def __init__(
        self,
        root: Path,
        hands: ManoHands | None = None,
        *,
        cameras: list[str] | None = None,
        wrist: bool = True,
    ):
        super().__init__(root, hands)
        self.cameras, self.wrist = tuple(cameras or VIEWS), wrist
        if unknown := sorted(set(self.cameras) - set(VIEWS)):
            raise ValueError(f"options.cameras: '{unknown[0]}' is none of {', '.join(VIEWS)}")

    def find_units(self) -> list[Unit]:
        if not (self.root / "labels").is_dir():
            return []
        return [
            Unit(f"{sequence}/{camera}", FRAMES, (split,), (sequence, camera))
            for sequence, split in SEQUENCES.items()
            if (self.root / "images" / sequence).is_dir()
            for camera in self.cameras
        ]

    def open(self, unit: Unit) -> Recording:
        sequence, camera = unit.payload
        view = VIEWS[camera]
        stored = _labels(self.root / "labels" / f"{sequence}_{view.labels}.mat")

        def frame(number: int) -> Frame:
            joints = stored[number, STB_TO_OP]
            joints[WRIST] = 2 * joints[WRIST] - joints[MIDDLE_BASE] if self.wrist else np.nan
            hand = HandLabels(False, joints @ view.rotation.T + view.translation)
            picture = self.root / "images" / sequence / f"{camera}_{number}.png"
            time = number / FRAMES_PER_SECOND
            return Frame(picture, unit.key, sequence, number, [hand], view.camera, time)

        return Recording(range(len(stored)), frame)


def _labels(path: Path) -> Float[np.ndarray, "n 21 3"]:
    """Raises Unusable when the file is no such labels."""
    with path.open("rb") as file, refusing_damage(path):
        labels = np.asarray(loadmat(file)["handPara"], float)
    if labels.ndim != 3 or labels.shape[:2] != (3, NUM_JOINTS):
        raise Unusable(
            "damaged annotation",
            f"'{path}': handPara is {list(labels.shape)}, expected [3, {NUM_JOINTS}, frames]",
        )
    return labels.transpose(2, 1, 0)
