"""Two opinions on one hand in a video: how far apart they are, and how much either trembles."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from tempohand.evaluation.metrics.errors import pa_mpjpe
from tempohand.skeleton import FINGERS, NUM_JOINTS, WRIST

TIPS = [4, 8, 12, 16, 20]


@dataclass(frozen=True)
class Opinion:
    """What one tool says of a hand: a row a frame, in the order of frames."""

    frame: Int[np.ndarray, "n"]
    joints: Float[np.ndarray, "n 21 3"]  # mm, OpenPose order, in any frame of its own
    joints2d: Float[np.ndarray, "n 21 2"]  # px of the picture
    box: Float[np.ndarray, "n 4"]  # xyxy px

    @classmethod
    def read(cls, path: str | Path, hand: int | None = None) -> "Opinion":
        """From a predictions.npz (one hand of it) or another tool's landmarks. Raises FileNotFoundError or
        ValueError, one line."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
        try:
            with np.load(path, allow_pickle=False) as archive:
                content = dict(archive)
        except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(
                f"'{path}' is not an .npz file of plain arrays ({' '.join(str(error).split())[:100]})"
            ) from None
        if "hand_id" in content:
            ids, counts = np.unique(content["hand_id"], return_counts=True)
            wanted = int(ids[counts.argmax()]) if hand is None else hand
            if wanted not in ids:
                raise ValueError(f"'{path}' has no hand {wanted}, it has {ids.tolist()}")
            rows = np.flatnonzero(content["hand_id"] == wanted)
            found = cls(*(content[name][rows] for name in ("frame", "joints", "joints2d", "box")))
        else:
            if lacking := sorted({"joints_3d_mm", "joints_2d", "box_xyxy"} - set(content)):
                raise ValueError(
                    f"'{path}' is neither a predictions.npz nor has it the array '{lacking[0]}' "
                    "(tempohand compare --help)"
                )
            rows = np.flatnonzero(content.get("detected", np.ones(len(content["joints_2d"]), bool)))
            found = cls(rows, *(content[name][rows] for name in ("joints_3d_mm", "joints_2d", "box_xyxy")))
        if found.joints.shape[1:] != (NUM_JOINTS, 3) or found.joints2d.shape[1:] != (NUM_JOINTS, 2):
            raise ValueError(
                f"'{path}' has joints of shape {found.joints.shape[1:]} and {found.joints2d.shape[1:]}, "
                "not 21 in space and picture"
            )
        return found

    def of(self, frames: Int[np.ndarray, "m"]) -> "Opinion":
        """The same for some of its frames."""
        rows = np.searchsorted(self.frame, frames)
        return Opinion(frames, self.joints[rows], self.joints2d[rows], self.box[rows])


def compare(ours: Opinion, other: Opinion) -> dict:
    """Figures over the frames that both have, and `frames`: each frame's. Raises ValueError when there is
    none.

    pa_mpjpe_mm: mean joint distance after the best similarity of ours onto the other's. distance_2d_px,
    distance_2d_box: mean joint distance in the picture, in px and over the other's longer box edge; tips_...,
    palm_...: of the five fingertips, and of wrist and knuckles. acceleration_ours, acceleration_other: mean
    |x[t-1] - 2 x[t] + x[t+1]| of the joints relative to the wrist, mm/frame^2, over three frames in a row;
    acceleration_error: of their difference (Kocabas et al., CVPR 2020), without any alignment.
    """
    frames = np.intersect1d(ours.frame, other.frame)
    if not len(frames):
        raise ValueError("the two have no frame in common")
    missed = int(len(np.setdiff1d(other.frame, frames)))
    ours, other = ours.of(frames), other.of(frames)
    mask = torch.ones(len(frames), NUM_JOINTS, dtype=torch.bool)
    aligned = pa_mpjpe(
        torch.from_numpy(ours.joints).double(), torch.from_numpy(other.joints).double(), mask
    ).value.numpy()
    distance = np.linalg.norm(ours.joints2d.astype(float) - other.joints2d, axis=2)
    edge = (other.box[:, 2:] - other.box[:, :2]).max(1)
    triple = np.flatnonzero((np.diff(frames[:-1]) == 1) & (np.diff(frames[1:]) == 1)) + 1
    accelerations = [_acceleration(one.joints, triple) for one in (ours, other)]
    tips, palm = TIPS, [WRIST, *(tip - 3 for tip in TIPS)]
    return {
        "n": len(frames),
        "missed": missed,
        "pa_mpjpe_mm": float(aligned.mean()),
        "pa_mpjpe_mm_95": float(np.percentile(aligned, 95)),
        "distance_2d_px": float(distance.mean()),
        "distance_2d_box": float((distance.mean(1) / edge).mean()),
        "tips_2d_box": float((distance[:, tips].mean(1) / edge).mean()),
        "palm_2d_box": float((distance[:, palm].mean(1) / edge).mean()),
        **{
            f"{finger}_tip_2d_box": float((distance[:, tip] / edge).mean())
            for finger, tip in zip(FINGERS, tips)
        },
        "acceleration_ours": _mean_length(accelerations[0]),
        "acceleration_other": _mean_length(accelerations[1]),
        "acceleration_error": _mean_length(accelerations[0] - accelerations[1]),
        "frames": {
            "frame": frames.tolist(),
            "pa_mpjpe_mm": aligned.tolist(),
            "distance_2d_box": (distance.mean(1) / edge).tolist(),
        },
    }


def _acceleration(
    joints: Float[np.ndarray, "n 21 3"], triple: Int[np.ndarray, "m"]
) -> Float[np.ndarray, "m 21 3"]:
    relative = joints.astype(float) - joints[:, WRIST : WRIST + 1]
    return relative[triple - 1] - 2 * relative[triple] + relative[triple + 1]


def _mean_length(vectors: Float[np.ndarray, "m 21 3"]) -> float:
    return float(np.linalg.norm(vectors, axis=2).mean()) if len(vectors) else float("nan")


def lines(figures: dict) -> list[str]:
    """The figures as text."""
    f = figures
    percent = {name: f"{100 * value:.1f} %" for name, value in f.items() if name.endswith("_box")}
    fingers = ", ".join(f"{finger} {percent[f'{finger}_tip_2d_box']}" for finger in FINGERS)
    return [
        f"{f['n']} frames in both, {f['missed']} of the other's are missing here",
        f"joints after the best similarity: {f['pa_mpjpe_mm']:.1f} mm on average, "
        f"{f['pa_mpjpe_mm_95']:.1f} mm in the worst twentieth",
        f"in the picture: {f['distance_2d_px']:.1f} px, {percent['distance_2d_box']} of the box's longer "
        "edge "
        f"(wrist and knuckles {percent['palm_2d_box']}, fingertips {percent['tips_2d_box']}: {fingers})",
        f"acceleration, mm/frame^2: this {f['acceleration_ours']:.2f}, the other "
        f"{f['acceleration_other']:.2f}, "
        f"their difference {f['acceleration_error']:.2f}",
    ]
