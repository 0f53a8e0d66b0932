"""The training archives of HaMeR (Pavlakos et al., CVPR 2024): hands of many data sets, pictured one by one,
with one form of labels.

    <set>/%06d.tar, <set> being freihand-train, interhand26m-train, cocow-train ...; in each <key>.jpg and
    <key>.data.pyd

A .pyd is a pickled list with a dict a hand: keypoints_2d [21, 3] px and confidence; keypoints_3d [21, 4]
metres and confidence; center [2] px and scale [2], box edges over 200; hand_pose [48] absolute axis-angle;
betas [10]; right; has_hand_pose; has_betas. Left hands are stored as they are. No camera is stored, and of
many sets the 3D joints are known but for their place: their depth means nothing.
"""

import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from tempohand.data.convert.frame import Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.mano import MM_PER_METRE, ManoParameters
from tempohand.data.convert.read import read_pickle
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, POSE_DIM, WRIST

PICTURES = ("jpg", "jpeg", "png")
LABELS = "data.pyd"
BYTES_A_PICTURE = 150_000
BOX_UNIT = 200  # px of `scale`
# fits beyond have failed: HaMeR's settings, as third parties quote them, leave their parameters out, too
MAX_BETA = 3.0


class HamerTars(Converter):
    """Splits: train (all), and every set by its folder's name.

    confidence: 2D joints of no greater confidence count as unknown (0.3 in HaMeR's settings, as third parties
    quote them).
    """

    name = "hamer_tars"
    title = "HaMeR's training archives"
    licence = "those of the data sets in it; most are non-commercial"
    url = "https://github.com/geopavlakos/hamer"
    pose_mm = 8.0
    missing = "has no <set>/<number>.tar: unpack hamer_training_data_part*.tar.gz and pass its dataset_tars"
    box_source = "bounds of the labelled joints, where some are unsure the archive's box"

    def __init__(self, root, hands=None, confidence: float = 0.3):
        super().__init__(root, hands)
        self.confidence = confidence

    def find_units(self) -> Iterator[Unit]:
        for path in sorted(self.root.glob("*/*.tar")):
            splits = tuple(dict.fromkeys(("train", path.parent.name)))
            size = path.stat().st_size // BYTES_A_PICTURE + 1
            yield Unit(path.relative_to(self.root).as_posix(), size, splits)

    def open(self, unit: Unit) -> Recording:
        """Numbers count the hands of a tar. What cannot be read takes the place of a hand, to be counted as
        such."""
        # read as long as the unit is converted
        archive = tarfile.open(self.root / unit.key)  # noqa: SIM115
        members, broken = _members(archive)
        hands = [hand for key, files in members.items() for hand in _hands_of(archive, key, files)] + broken

        def frame(number: int) -> Frame:
            if isinstance(hands[number], Unusable):
                raise hands[number]
            key, index, picture, sample = hands[number]
            hand = _hand(sample, self.confidence)
            # keys say which hands are of one picture, not which pictures are of one recording
            recording = f"{unit.key.removesuffix('.tar')}/{key}"
            encoded = archive.extractfile(picture).read()
            return Frame(encoded, f"{recording}/{index}", recording, number, [hand], None)

        return Recording(range(len(hands)), frame)


def _hands_of(archive: tarfile.TarFile, key: str, files: dict[str, tarfile.TarInfo]) -> list:
    picture = next((files[kind] for kind in PICTURES if kind in files), None)
    if picture is None or LABELS not in files:
        return [Unusable("incomplete sample", f"{key} has {sorted(files)}")]
    try:
        samples = list(read_pickle(archive.extractfile(files[LABELS])))
    except (Unusable, TypeError) as error:
        return [Unusable("damaged annotation", f"{key}: {error}")]
    return [(key, index, picture, sample) for index, sample in enumerate(samples)]


def _members(archive: tarfile.TarFile) -> tuple[dict[str, dict[str, tarfile.TarInfo]], list[Unusable]]:
    """key -> kind of file -> member, in the archive's order; and what is wrong with the archive's end, if
    anything."""
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            key, _, kind = name.partition(".")
            if member.isfile():
                members.setdefault(f"{folder}/{key}".lstrip("./"), {})[kind] = member
    except tarfile.TarError as error:
        return members, [Unusable("damaged archive", f"after {len(members)} pictures: {error}")]
    return members, []


def _hand(sample: dict[str, Any], confidence: float) -> HandLabels:
    stored2d = np.array(sample["keypoints_2d"], float).reshape(NUM_JOINTS, 3)
    stored3d = np.array(sample["keypoints_3d"], float).reshape(NUM_JOINTS, 4)
    joints2d = np.where(stored2d[:, 2:] > confidence, stored2d[:, :2], np.nan)
    joints = np.where(stored3d[:, 3:] > 0, MM_PER_METRE * stored3d[:, :3], np.nan)
    centre = np.array(sample["center"], float).reshape(2)
    half = np.array(sample["scale"], float).reshape(2) * BOX_UNIT / 2
    box = None if np.isfinite(joints2d).all() else np.concatenate([centre - half, centre + half])
    is_right = bool(np.array(sample["right"]).item())
    return HandLabels(is_right, joints, joints2d, _parameters(sample, joints), box)


def _parameters(sample: dict[str, Any], joints: np.ndarray) -> ManoParameters | None:
    if not (np.array(sample["has_hand_pose"]).item() and np.array(sample["has_betas"]).item()):
        return None
    pose = np.array(sample["hand_pose"], float).reshape(POSE_DIM)
    shape = np.array(sample["betas"], float).reshape(NUM_BETAS)
    if np.abs(shape).max() > MAX_BETA:
        return None
    return ManoParameters(pose, shape, np.nan_to_num(joints[WRIST]))
