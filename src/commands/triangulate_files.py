"""Files of `tempohand triangulate`: joints in views in, joints in space out."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from tempohand.commands.hand_fit_files import numbers, read_arrays
from tempohand.console import text_table
from tempohand.hand.triangulation import Triangulated
from tempohand.skeleton import NUM_JOINTS
from tempohand.writing import write_whole

FORMAT = "tempohand-triangulated-1"
CONVENTIONS = (
    "One row per hand and frame: joints [N, 21, 3] are mm in the calibration's space, OpenPose order, nan "
    "where fewer than two views agree; reprojection [N, 21] is the root mean square distance in px over the "
    "views that do; used [N, V, 21] says which of `views` these are."
)
Hand = tuple[int, bool]  # frame, is it a right hand


class HandsInViews(NamedTuple):
    """Hands that at least two views saw at once."""

    frame: Int[np.ndarray, "n"]
    is_right: Bool[np.ndarray, "n"]
    pixels: Float[np.ndarray, "v n 21 2"]  # nan: not seen


def read_view(path: str | Path, side: str | None) -> dict[Hand, Float[np.ndarray, "21 2"]]:
    """(frame, side) -> joints in the picture, px, of a .npz or .json: `joints2d` [n, 21, 2] and, where they
    are there, `frame` [n] (else the row's number), `is_right` [n] (else right) and `mask` [n, 21].
    Predictions are such a file. side: of all hands, whatever the file says.

    Raises FileNotFoundError or ValueError: no such file, other shapes, two hands of a side in one frame.
    """
    path = Path(path)
    content = read_arrays(path)
    if "joints2d" not in content:
        raise ValueError(f"{path}: has no 'joints2d', but {', '.join(sorted(content)) or 'nothing'}")
    points = numbers(path, content, "joints2d")
    if points.ndim != 3 or points.shape[1:] != (NUM_JOINTS, 2):
        raise ValueError(f"{path}: joints2d has shape {list(points.shape)}; expected [N, {NUM_JOINTS}, 2]")
    n = len(points)
    mask = numbers(path, content, "mask", (n, NUM_JOINTS), np.ones(1)) > 0
    frames = numbers(path, content, "frame", (n,), np.arange(n)).astype(int)
    right = numbers(path, content, "is_right", (n,), np.ones(1)) > 0
    if side is not None:
        right = np.full(n, side == "right")
    found: dict[Hand, np.ndarray] = {}
    for row, hand in enumerate(zip(frames.tolist(), right.tolist())):
        if hand in found:
            name = "right" if hand[1] else "left"
            raise ValueError(
                f"{path}: frame {hand[0]} has two {name} hands, and nothing tells whose they are: keep one"
            )
        found[hand] = np.where(mask[row, :, None], points[row], np.nan)
    return found


def together(views: list[dict[Hand, np.ndarray]]) -> HandsInViews:
    """Frames that belong together have one number. Raises ValueError where no two views share a hand."""
    if len(views) < 2:
        raise ValueError(f"triangulation needs two views or more, not {len(views)}")
    hands = sorted({hand for view in views for hand in view})
    hands = [hand for hand in hands if sum(hand in view for view in views) >= 2]
    if not hands:
        raise ValueError("no two views have a hand of one side in one frame: are they numbered alike?")
    unknown = np.full((NUM_JOINTS, 2), np.nan)
    pixels = np.stack([np.stack([view.get(hand, unknown) for hand in hands]) for view in views])
    frame, right = (np.array(values) for values in zip(*hands))
    return HandsInViews(frame, right, pixels)


def write_joints(path: str | Path, seen: HandsInViews, found: Triangulated, views: list[str]) -> None:
    """Writes what CONVENTIONS says, with frame and is_right, and `mask` for `tempohand hand fit`."""
    n = len(seen.frame)
    joints = found.points.reshape(n, NUM_JOINTS, 3)
    error, used = (value.reshape(len(views), n, NUM_JOINTS) for value in (found.error, found.used))
    count = used.sum(0)
    with np.errstate(all="ignore"):
        rms = np.sqrt(np.where(used, error**2, 0).sum(0) / np.where(count > 0, count, np.nan))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        joints=joints.astype(np.float32),
        mask=np.isfinite(joints).all(-1),
        is_right=seen.is_right,
        frame=seen.frame,
        reprojection=rms.astype(np.float32),
        used=used.transpose(1, 0, 2),
        views=np.array(views),
        format=FORMAT,
        conventions=CONVENTIONS,
    )
    write_whole(path, buffer.getvalue())


def summary(seen: HandsInViews, found: Triangulated, views: list[str]) -> str:
    """A line a view: joints, how far they are from the points in space, how many do not count."""
    given = np.isfinite(seen.pixels).all(-1).reshape(len(views), -1)
    lines = []
    for name, known, error, used in zip(views, given, found.error, found.used):
        off = error[used]
        median, high = np.percentile(off, (50, 95)) if len(off) else (np.nan, np.nan)
        left_out = known & np.isfinite(found.points).all(1) & ~used
        share = left_out.sum() / max(known.sum(), 1)
        lines.append([name, f"{known.sum():,}", f"{median:.2f}", f"{high:.2f}", f"{share:.1%}"])
    points = np.isfinite(found.points).all(1)
    tried = (given.sum(0) >= 2).sum()
    return (
        text_table(("view", "joints", "px, median", "px, 95 %", "left out"), lines)
        + f"\n{len(seen.frame):,} hands, {points.sum():,} of {tried:,} joints that two views saw are in space"
    )
