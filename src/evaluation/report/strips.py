"""A strip of frames over an occlusion: what is in the picture, and what each predictor says of it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from tempohand.draw import draw_skeleton
from tempohand.geometry import project

TRUTH = "truth"
SHOWN_ROWS = ("stage1", "stage2")  # whose skeletons are drawn, where they are there
PICTURE_PX = 200


@dataclass(frozen=True)
class Strip:
    """One stretch of a sequence, as an evaluation kept it."""

    sequence: str
    image: UInt8[ndarray, "n 3 h w"]
    focal: Float[ndarray, "n 2"]
    princpt: Float[ndarray, "n 2"]
    joints: dict[str, Float[ndarray, "n 21 3"]]  # by predictor; TRUTH too
    true_mask: ndarray
    mpjpe_root: dict[str, Float[ndarray, "n"]]
    hidden: Float[ndarray, "n"]
    frame: Int[ndarray, "n"]

    @classmethod
    def load(cls, path: str | Path) -> "Strip":
        """Reads a strip_<number>.npz. Raises FileNotFoundError when it is not there."""
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no strip at '{path}': tempohand evaluate writes strip_<number>.npz beside metrics.json"
            )
        with np.load(path, allow_pickle=False) as content:
            names = [str(row) for row in content["rows"]]
            return cls(
                sequence=str(content["sequence"]),
                **{
                    name: content[name]
                    for name in ("image", "focal", "princpt", "true_mask", "hidden", "frame")
                },
                joints={TRUTH: content["true_joints"], **dict(zip(names, content["joints"]))},
                mpjpe_root=dict(zip(names, content["mpjpe_root"])),
            )

    def chosen(self, count: int) -> list[int]:
        """`count` places spread over the stretch, its most hidden frame among them."""
        length = len(self.frame)
        places = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))
        if np.isfinite(self.hidden).any():
            peak = int(np.nanargmax(self.hidden))
            places[np.abs(places - peak).argmin()] = peak
        return places.tolist()

    def picture(self, place: int, row: str | None) -> UInt8[ndarray, "h w 3"]:
        """A frame, RGB, with a predictor's skeleton (TRUTH: the labels'; None: none)."""
        picture = np.ascontiguousarray(self.image[place].transpose(1, 2, 0))
        scale = PICTURE_PX / len(picture)
        picture = cv2.resize(
            picture, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        )
        if row is None:
            return picture
        joints, focal, princpt = (
            torch.from_numpy(x[place]).float() for x in (self.joints[row], self.focal, self.princpt)
        )
        pixels = project(joints, focal, princpt).numpy()
        pixels = (pixels + 0.5) * scale - 0.5  # pixel centres
        return draw_skeleton(
            picture, pixels, thickness=1.4, mask=self.true_mask[place] if row == TRUTH else None
        )
