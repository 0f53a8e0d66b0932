"""RHD, the Rendered Hand Pose Dataset (Zimmermann and Brox, ICCV 2017): single rendered pictures of people,
both hands of each labelled.

    {training,evaluation}/color/%05d.png, 320 x 320, and
    {training,evaluation}/anno_{training,evaluation}.pickle; where they were unpacked, too,
    {training,evaluation}/{mask,depth}/%05d.png

The pickle: number -> {uv_vis [42, 3] (px and whether it is seen), xyz [42, 3] metres, K [3, 3]}; 21 joints of
the left hand and then of the right, the wrist and then each finger from tip to base. A hand of which the
picture shows nearly nothing is no row: what is hidden cannot be learnt, and nothing says where it is. Source:
the data set's README and its own viewer (lmb-freiburg/hand3d).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, batches
from tempohand.data.convert.mano import MM_PER_METRE
from tempohand.data.convert.orders import RHD_TO_OP
from tempohand.data.convert.read import need, read_pickle, read_png
from tempohand.skeleton import NUM_JOINTS

SPLITS = ("training", "evaluation")
SIDES = (False, True)  # is_right, as the joints come
# of a mask: 0 background, 1 the person, 2-17 the left hand, 18-33 the right one
FIRST, LAST = {False: 1, True: 17}, {False: 17, True: 33}
FARTHEST_MM = 5000.0  # what a depth of 65535 is
MIN_SEEN = 5  # joints


class Rhd(Converter):
    """Splits: training, evaluation. Both hands of a picture, as far as at least five joints are seen; all of
    such a hand's joints are labels. There are no hand parameters."""

    name = "rhd"
    title = "Rendered Hand Pose Dataset"
    licence = "research only, non-commercial"
    url = "https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html"
    reprojection_px = 0.5
    missing = "has neither training/color nor evaluation/color: unpack RHD_v1-1.zip there"

    def find_units(self) -> Iterator[Unit]:
        for split in SPLITS:
            if not (self.root / split / "color").is_dir():
                continue
            path = need(self.root / split / f"anno_{split}.pickle", "a part of RHD_v1-1.zip")
            entries = read_pickle(path)
            if not isinstance(entries, dict):
                raise ValueError(f"'{path}' is not what RHD has under this name: unpack RHD_v1-1.zip again")
            for part in batches(sorted(entries)):
                payload = {number: entries[number] for number in part}
                yield Unit(f"{split}/{part[0]:05d}", len(part), (split,), payload)

    def open(self, unit: Unit) -> Recording:
        (split,) = unit.splits

        def frame(number: int) -> Frame:
            entry = unit.payload[number]
            joints2d, joints = (
                np.array(entry[name], float).reshape(2, NUM_JOINTS, 3)[:, RHD_TO_OP]
                for name in ("uv_vis", "xyz")
            )
            stored = read_png(self.root / split / "mask" / f"{number:05d}.png")
            hands = [
                HandLabels(
                    is_right,
                    MM_PER_METRE * xyz,
                    uv_vis[:, :2],
                    mask=None if stored is None else (stored > FIRST[is_right]) & (stored <= LAST[is_right]),
                )
                for is_right, xyz, uv_vis in zip(SIDES, joints, joints2d)
                if (uv_vis[:, 2] > 0).sum() >= MIN_SEEN
            ]
            name = f"{split}/{number:05d}"
            picture = self.root / split / "color" / f"{number:05d}.png"
            depth = _depth(self.root / split / "depth" / f"{number:05d}.png")
            camera = Camera.of_matrix(entry["K"])
            return Frame(picture, name, name, number, hands, camera, depth=depth)

        return Recording(list(unit.payload), frame)


def _depth(path: Path) -> np.ndarray | None:
    """mm, of the upper 8 bits in red and the lower ones in green, as the viewer's depth_two_uint8_to_float
    has it."""
    stored = read_png(path)
    if stored is None:
        return None
    units = 256 * stored[..., 0].astype(np.float32) + stored[..., 1]
    return units * np.float32(FARTHEST_MM / 65535)
