"""A strip of frames over an occlusion: what is in the picture, and what each predictor says of it. Strips are
chosen before an evaluation, kept by it as strip_<number>.npz, and drawn in the report."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.draw import draw_skeleton
from tempohand.evaluation.evaluator import SequenceResult
from tempohand.geometry import project
from tempohand.writing import whole

TRUTH = "truth"
SHOWN_ROWS = ("stage1", "stage2")  # whose skeletons are drawn, where they are there
PICTURE_PX = 200  # high
REACH = 24  # frames either side of the most hidden one


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
        height, width = picture.shape[:2]
        scale = PICTURE_PX / height
        picture = cv2.resize(
            picture,
            (round(width * scale), PICTURE_PX),
            interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA,
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


@dataclass(frozen=True)
class StripChoice:
    """Frames to keep for the report: the rows of a stretch of one sequence."""

    sequence: str
    rows: Int[ndarray, "n"]


def choose_strips(
    hidden: Float[ndarray, "n"],
    starts: Int[ndarray, "n"],
    names: ndarray,
    count: int,
    reach: int = REACH,
) -> list[StripChoice]:
    """The `count` sequences with the clearest occlusion, each cut to `reach` frames either side of its most
    hidden frame.

    Clearest: the hidden fraction at the peak minus its mean at the two ends of the stretch. Columns are those
    of the whole split. Where the fraction is unknown everywhere, the middle of the first sequences.
    """
    ranked = []
    for first, length in zip(*np.unique(starts, return_counts=True)):
        rows = np.arange(first, first + length)
        values = np.nan_to_num(hidden[rows])
        peak = int(values.argmax()) if values.max() > 0 else len(rows) // 2
        stretch = slice(max(peak - reach, 0), peak + reach + 1)
        clear = values[peak] - (values[stretch][0] + values[stretch][-1]) / 2
        if len(rows) > 2:
            ranked.append((-clear, int(first), rows[stretch]))
    return [
        StripChoice(str(names[first]), rows)
        for _, first, rows in sorted(ranked, key=lambda item: item[:2])[:count]
    ]


class StripKeeper:
    """Keeps crops and results of chosen rows while an evaluation runs, and writes each stretch as
    strip_<number>.npz."""

    def __init__(self, choices: list[StripChoice], out: str | Path):
        self.choices, self.out = choices, Path(out)
        self._wanted = {int(row) for choice in choices for row in choice.rows}
        self._crops: dict[int, dict[str, ndarray]] = {}

    def observe(self, batch: ClipBatch) -> None:
        """Keeps the chosen frames' crops and cameras, of a batch on the CPU."""
        for place, row in enumerate(batch.row.tolist()):
            if row in self._wanted:
                self._crops[row] = {
                    name: getattr(batch.frames, name)[place].numpy().copy()
                    for name in ("image", "focal", "princpt")
                }

    def watching(self, batches: Iterable[ClipBatch]) -> Iterator[ClipBatch]:
        """The same batches, observed in passing."""
        for batch in batches:
            self.observe(batch)
            yield batch

    def watch(self, result: SequenceResult) -> None:
        """Writes the stretches that lie in an evaluated sequence."""
        place = {int(row): index for index, row in enumerate(result.rows.tolist())}
        for number, choice in enumerate(self.choices):
            # Others were left out, or lie in other sequences.
            rows = [int(row) for row in choice.rows if int(row) in place]
            if rows:
                self._write(number, choice.sequence, rows, result, torch.tensor([place[row] for row in rows]))

    def _write(
        self, number: int, sequence: str, shown: list[int], result: SequenceResult, chosen: Tensor
    ) -> None:
        crops = [self._crops.pop(row) for row in shown]
        rows = list(result.hands)
        errors, known = map(torch.stack, zip(*(result.errors[row]["mpjpe_root"] for row in rows)))
        content = {name: np.stack([crop[name] for crop in crops]) for name in crops[0]}
        content |= {
            "sequence": np.array(sequence),
            "rows": np.array(rows),
            "joints": torch.stack([result.hands[row].joints[chosen] for row in rows]).float().numpy(),
            "mpjpe_root": errors.masked_fill(~known, float("nan"))[:, chosen].float().numpy(),
            "true_joints": result.true.joints[chosen].numpy(),
            "true_mask": result.true.joints_mask[chosen].numpy(),
            "hidden": result.true.hidden[chosen].numpy(),
            "frame": result.true.frame[chosen].numpy(),
            "time": result.true.time[chosen].numpy(),
        }
        with whole(self.out / f"strip_{number}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **content)
