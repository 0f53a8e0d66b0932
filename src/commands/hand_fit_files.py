"""Files of `tempohand hand fit`: measured joints in, fitted hands out."""

import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.geometry import bone_lengths, mirror_pose, project
from tempohand.hand.anatomy import FLEXION
from tempohand.hand.fit_solver import LEAST_JOINTS, FittedHands
from tempohand.hand.prior import AnglePrior
from tempohand.skeleton import BONES, MANO21_TO_OP, NUM_JOINTS, NUM_MANO_JOINTS
from tempohand.writing import write_whole

FORMAT = "tempohand-fit-1"
CONVENTIONS = (
    "One row per hand. pose is absolute axis-angle (global orientation, then 15 joints in MANO order), "
    "shape is betas, trans is the wrist, "
    "joints are the fitted hand's 21 in OpenPose order; mm, in the frame of the given joints, or in the "
    "camera's space "
    "(OpenCV: x right, y down, z forward). "
    "residual is the distance of each given joint to the fitted one in residual_unit, nan where none "
    "was given. "
    "Rows of hands with too few joints are nan. A left hand's values are those of the left hand: mirror "
    "its pose by (x, -y, -z) and its points "
    "by x -> -x for a right-hand model."
)
# Number of joints in the file, and the gather to OpenPose's order; joints beyond that number are missing.
ORDERS = {
    "openpose": (NUM_JOINTS, tuple(range(NUM_JOINTS))),
    "mano21": (NUM_JOINTS, MANO21_TO_OP),
    "mano16": (NUM_MANO_JOINTS, MANO21_TO_OP),
}
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
BONE_MM = (5.0, 200.0)  # the median bone of any hand, with room
DOUBTFUL_MM, DOUBTFUL_DEG = 10.0, 10.0
FINGER_ENDS = [
    3 * finger + joint for finger in range(4) for joint in (1, 2)
]  # among MANO's joints without the wrist


class MeasuredJoints(NamedTuple):
    """Joints as read: mm [N, 21, 3] without a camera, or px [N, 21, 2] with one; OpenPose order, float64."""

    points: Float[Tensor, "n 21 c"]
    mask: Bool[Tensor, "n 21"]
    is_right: Bool[Tensor, "n"]
    focal: Float[Tensor, "n 2"] | None
    princpt: Float[Tensor, "n 2"] | None
    person: Int[Tensor, "n"]  # whose hand it is; 0 where the file does not say

    @property
    def camera(self) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]] | None:
        """(focal, princpt), px."""
        return None if self.focal is None or self.princpt is None else (self.focal, self.princpt)

    @property
    def unit(self) -> str:
        """Of a residual."""
        return "mm" if self.focal is None else "px"


def read_joints(
    path: str | Path, *, unit: str = "mm", order: str = "openpose", side: str | None = None
) -> MeasuredJoints:
    """Reads `joints`, or `joints2d` with `focal` and `princpt`, and perhaps `mask`, `is_right` and `person`,
    from a .npz or .json file.

    unit: "mm" or "m"; order: a key of ORDERS; side: "right" or "left" for all, None for what the file says
    (right if nothing). Raises FileNotFoundError, and ValueError for what is no such file, has wrong shapes,
    no joints, or bones of no hand's length.
    """
    path = Path(path)
    content = read_arrays(path)
    name = next((name for name in ("joints", "joints2d") if name in content), None)
    if name is None:
        raise ValueError(
            f"{path}: has neither 'joints' nor 'joints2d', but {', '.join(sorted(content)) or 'nothing'}"
        )
    count, gather = ORDERS[order]
    dimensions = 3 if name == "joints" else 2
    points = numbers(path, content, name)
    if points.shape[1:] != (count, dimensions) or points.ndim != 3:
        raise ValueError(
            f"{path}: {name} has shape {list(points.shape)}; expected [N, {count}, {dimensions}] (order "
            f"{order})"
        )
    n = len(points)
    mask = np.isfinite(points).all(axis=-1) & (numbers(path, content, "mask", (n, count), np.ones(1)) > 0)
    points, mask = (
        np.concatenate([x, np.zeros((n, NUM_JOINTS - count, *x.shape[2:]), x.dtype)], axis=1)[:, gather]
        for x in (points, mask)
    )
    if not mask.sum(axis=1, initial=0).max(initial=0) >= LEAST_JOINTS:
        raise ValueError(f"{path}: no hand has {LEAST_JOINTS} finite joints in {name}; nothing can be fitted")
    is_right = numbers(path, content, "is_right", (n,), np.ones(1)) > 0
    if side is not None:
        is_right = np.full(n, side == "right")
    if name == "joints":
        points = points * UNITS_MM[unit]
        check_size(path, points, mask, unit, f" and `order` {order}")
        camera = None, None
    else:
        camera = tuple(
            torch.from_numpy(numbers(path, content, key, (n, 2)).copy()) for key in ("focal", "princpt")
        )
        if not (camera[0] > 0).all() or not camera[1].isfinite().all():
            raise ValueError(f"{path}: focal and princpt are pixels (x, y): focal positive, both finite")
    person = numbers(path, content, "person", (n,), np.zeros(1))
    if not (np.mod(person, 1) == 0).all():
        raise ValueError(f"{path}: person is a whole number of each hand")
    own = (torch.from_numpy(value) for value in (points, mask, is_right))
    return MeasuredJoints(*own, *camera, torch.from_numpy(person.astype(np.int64)))


def read_arrays(path: Path) -> dict:
    """Arrays by name of a .npz or .json file. Raises FileNotFoundError, or ValueError for what is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no file '{path}'")
    if path.suffix not in (".npz", ".json"):
        raise ValueError(f"{path}: joints are read from .npz or .json")
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
        else:
            with np.load(path, allow_pickle=False) as archive:
                content = dict(archive)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable {path.suffix} file of plain numbers ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: holds a {type(content).__name__} where an object with 'joints' is expected"
        )
    return content


def numbers(
    path: Path,
    content: dict,
    key: str,
    shape: tuple[int, ...] | None = None,
    default: np.ndarray | None = None,
) -> np.ndarray:
    """An entry as float64 (null is nan), spread over `shape`."""
    if key not in content and default is None:
        raise ValueError(f"{path}: joints2d needs '{key}' beside it, in pixels")
    try:
        values = np.asarray(content.get(key, default), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {key} is not an array of numbers ({error})") from error
    try:
        return values if shape is None else np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(f"{path}: {key} has shape {list(values.shape)}; expected {list(shape)}") from None


def check_size(path: str | Path, points: np.ndarray, mask: np.ndarray, unit: str, besides: str = "") -> None:
    """Raises ValueError for joints (mm, if lengths are of `unit`) whose bones are of no hand's length.
    besides: what else may be the cause, for the message."""
    parents, children = np.array(BONES).T
    seen = mask[:, parents] & mask[:, children]
    if not seen.any():
        return
    bone = float(np.median(bone_lengths(points)[seen]))
    low, high = BONE_MM
    if low <= bone <= high:
        return
    for other, scale in UNITS_MM.items():
        if low <= bone / UNITS_MM[unit] * scale <= high:
            raise ValueError(
                f"{path}: with `unit` {unit} the median bone is {bone:.3g} mm long, which is no hand's; "
                f"did you mean `unit` {other}?"
            )
    raise ValueError(
        f"{path}: the median bone is {bone:.3g} mm long; a hand's have {low:.0f} to {high:.0f} mm: check "
        f"`unit` {unit}{besides}"
    )


def check_output(path: str | Path, *suffixes: str, besides: str | Path) -> None:
    """Raises ValueError for an output file of another kind, or in place of the input `besides`."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"'{path}' cannot be written: the file's name ends in {' or '.join(suffixes)}")
    if path.resolve() == Path(besides).resolve():
        raise ValueError(f"'{path}' is the input and would be overwritten; choose another name")


def write_fitted(path: str | Path, fitted: FittedHands, measured: MeasuredJoints) -> None:
    """Writes fitted hands as .npz: the columns that CONVENTIONS names, and with a camera focal, princpt and
    joints2d."""
    columns = {**fitted._asdict(), "is_right": measured.is_right}
    if measured.camera is not None:
        focal, princpt = measured.camera
        columns |= {"focal": focal, "princpt": princpt, "joints2d": project(fitted.joints, focal, princpt)}
    arrays = {
        name: (column.float() if column.is_floating_point() else column).numpy()
        for name, column in columns.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, format=FORMAT, conventions=CONVENTIONS, residual_unit=measured.unit)
    write_whole(path, buffer.getvalue())


def summary(fitted: FittedHands, measured: MeasuredJoints, noise: float, seconds: float) -> str:
    """How the fit went, in a few lines."""
    residual = fitted.residual[fitted.residual.isfinite()].double()
    usable = fitted.pose.isfinite().all(dim=1)
    median, high, worst = (
        (float(residual.quantile(q)) for q in (0.5, 0.95, 1.0)) if len(residual) else (np.nan,) * 3
    )
    lines = [
        f"{len(usable)} hand{'s' * (len(usable) != 1)} in {seconds:.1f} s",
        f"distance of a given joint to the fitted one: median {median:.2f}, 95 % {high:.2f}, worst "
        f"{worst:.2f} {measured.unit}",
    ]
    if (missing := int((~usable).sum())) > 0:
        lines.append(f"{missing} with fewer than {LEAST_JOINTS} joints: nan")
    lines.append(f"{int((usable & ~fitted.converged).sum())} did not converge")
    bend = backward_bend(fitted, measured)
    if measured.focal is None and median > DOUBTFUL_MM:
        lines.append(f"a median of {median:.0f} mm is no good fit: are --order and --side right?")
    elif bend > DOUBTFUL_DEG:
        lines.append(f"the fingers bend backward, by {bend:.0f} degrees a joint: is --side right?")
    elif median > 3 * noise:
        lines.append(
            f"the joints are less exact than --noise {noise:g} says; with --noise {median:.1g} shape and "
            "pose would be more usual ones"
        )
    return "\n".join(lines)


def backward_bend(fitted: FittedHands, measured: MeasuredJoints) -> float:
    """Degrees by which the last two joints of the four fingers bend away from the palm, the median over
    hands: what a wrong side does."""
    pose = torch.where(measured.is_right[:, None], fitted.pose, mirror_pose(fitted.pose)).double()
    pose = pose[pose.isfinite().all(dim=1), 3:].unflatten(1, (15, 3))
    flexion = AnglePrior().angles(roma.rotvec_to_rotmat(pose))[:, FINGER_ENDS, FLEXION]
    return -float(torch.rad2deg(flexion.mean(dim=1).median()))
