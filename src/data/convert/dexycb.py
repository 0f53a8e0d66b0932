"""DexYCB (Chao et al., CVPR 2021): hands that grasp objects, 1,000 sequences from 8 cameras, one hand a
sequence, right or left.

    <date>-subject-XX/<sequence>/meta.yml, <date>-subject-XX/<sequence>/<camera>/color_%06d.jpg and
    labels_%06d.npz
    calibration/intrinsics/<camera>_640x480.yml, calibration/mano_<name>/mano.yml

Labels: joint_3d [1, 21, 3] metres, OpenCV, OpenPose order, and joint_2d [1, 21, 2]; both -1 where nothing is
annotated. pose_m [1, 51]: axis-angle of the wrist, 45 PCA coefficients counted from the mean pose,
translation; 0 where unknown. The left hand was fitted with MANO_LEFT.pkl as it is. Splits and their order
follow the official toolkit (dex_ycb_toolkit/dex_ycb.py).
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.mano import MM_PER_METRE, ManoParameters
from tempohand.data.convert.read import need, read_npz, read_png, read_yaml
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, WRIST

CAMERAS = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
SEQUENCES = 100  # of every subject: five an object
USUAL_FRAMES = 73  # of a sequence
FRAMES_PER_SECOND = 30  # what the cameras ran at by the paper's description; not in the files
HAND = 255  # of the labels' seg
SETUPS = ("s0", "s1", "s2", "s3")


class DexYcb(Converter):
    """Splits: {s0,s1,s2,s3}_{train,val,test}, the official setups: unseen sequences, subjects, cameras,
    objects."""

    name = "dexycb"
    title = "DexYCB"
    licence = "CC BY-NC 4.0"
    url = "https://dex-ycb.github.io"
    left_shapedirs = "unfixed"
    reprojection_px = 1.0
    pose_mm = 6.0
    missing = "has no folder <date>-subject-XX: unpack DexYCB's archives of subjects there"

    def find_units(self) -> list[Unit]:
        need(self.root / "calibration", "the cameras of DexYCB, unpacked from calibration.tar.gz")
        units = [
            Unit(f"{sequence}/{camera}", USUAL_FRAMES, splits, (sequence, camera))
            for sequence, camera, splits in self._recordings()
        ]
        # Those of the same splits together make larger shards; within them the official order stays.
        return sorted(units, key=lambda unit: unit.splits)

    def _recordings(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(sequence, camera, splits) in the official order."""
        for folder in sorted(self.root.glob("*-subject-*")):
            if not (named := re.fullmatch(r"\d{8}-subject-(\d\d)", folder.name)):
                continue
            names = sorted(path.name for path in folder.iterdir() if path.is_dir())
            if len(names) != SEQUENCES:
                raise ValueError(
                    f"'{folder}' has {len(names)} sequences, DexYCB {SEQUENCES} of every subject, "
                    "and its splits count them: unpack all"
                )
            for index, name in enumerate(names):
                for number, camera in enumerate(CAMERAS):
                    yield f"{folder.name}/{name}", camera, _splits(int(named[1]) - 1, index, number)

    def open(self, unit: Unit) -> Recording:
        sequence, camera = unit.payload
        calibration = self.root / "calibration"
        meta = read_yaml(self.root / sequence / "meta.yml")
        is_right = {"right": True, "left": False}[meta["mano_sides"][0]]
        betas = read_yaml(calibration / f"mano_{meta['mano_calib'][0]}" / "mano.yml")["betas"]
        betas = np.array(betas, float).reshape(NUM_BETAS)
        lens = read_yaml(calibration / "intrinsics" / f"{camera}_640x480.yml")["color"]
        pinhole = Camera.of_values(lens["fx"], lens["fy"], lens["ppx"], lens["ppy"])

        def frame(number: int) -> Frame:
            folder = self.root / unit.key
            labels = read_npz(folder / f"labels_{number:06d}.npz", ("joint_3d", "joint_2d", "pose_m", "seg"))
            metres = labels["joint_3d"].reshape(NUM_JOINTS, 3).astype(float)
            joints2d = labels["joint_2d"].reshape(NUM_JOINTS, 2).astype(float)
            if (metres == -1).all():
                raise Unusable("no hand annotated")
            joints = MM_PER_METRE * metres
            parameters, stored = None, labels["pose_m"].reshape(51)
            if self.hands is not None and stored.any():
                pose = self.hands.from_pca(stored[:3], stored[3:48], is_right=is_right)
                parameters = ManoParameters(pose, self.hands.shape(betas, is_right=is_right), joints[WRIST])
            mask = labels["seg"] == HAND
            hand = HandLabels(is_right, joints, joints2d, parameters, mask=mask)
            picture = folder / f"color_{number:06d}.jpg"
            stored = read_png(folder / f"aligned_depth_to_color_{number:06d}.png")
            depth = None if stored is None else stored.astype(np.float32)  # mm
            time = number / FRAMES_PER_SECOND
            return Frame(picture, unit.key, sequence, number, [hand], pinhole, time, depth)

        return Recording(range(meta["num_frames"]), frame)

    def official_order(self) -> dict[str, list[tuple[str, int]]]:
        """Every sample, those that nothing is annotated in as well: the official script counts them and
        leaves them out."""
        order: dict[str, list[tuple[str, int]]] = {}
        metas: dict[str, Any] = {}
        for sequence, camera, splits in self._recordings():
            path = self.root / sequence / "meta.yml"
            if sequence not in metas and path.is_file():
                metas[sequence] = read_yaml(path)
            if meta := metas.get(sequence):
                name = f"{sequence}/{camera}/{meta['mano_sides'][0]}"
                for split in splits:
                    if not split.endswith("train"):
                        order.setdefault(split, []).extend(
                            (name, number) for number in range(meta["num_frames"])
                        )
        return order


def _splits(subject: int, sequence: int, camera: int) -> tuple[str, ...]:
    """The splits of every setup that a recording belongs to; all indices from 0."""
    held_out = {
        "s0": sequence % 5 == 4 and ("val" if subject < 2 else "test"),
        "s1": {6: "val", 7: "test", 8: "test"}.get(subject),
        "s2": {6: "val", 7: "test"}.get(camera),
        "s3": {3: "val", 19: "val", 7: "test", 11: "test", 15: "test"}.get(sequence // 5),
    }
    return tuple(f"{setup}_{held_out[setup] or 'train'}" for setup in SETUPS)
