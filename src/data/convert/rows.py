"""Frames become rows of the frame table: cropped generously around each hand and re-encoded, the intrinsics
moved along; or left as they are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tempohand.data.consistency import describe, faults, measure
from tempohand.data.convert.frame import Camera, Frame, HandLabels, Unusable
from tempohand.data.convert.read import read_picture
from tempohand.data.pictures import REFERENCE, encode_depth, encode_mask
from tempohand.data.table import COLUMNS, LABELS
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, POSE_DIM, WRIST

PLANES = {"depth": encode_depth, "mask": lambda mask: encode_mask(mask > 0)}
MIN_JOINTS = 4  # 2D joints that a box can be made of


@dataclass(frozen=True)
class Storage:
    """How pictures are kept.

    crop: cut a square of `margin` times the hand box (what a view with every augmentation can ask for: 2 x
    1.15 x jitter and shift) and shrink it to at most `max_edge` px, JPEG of `quality`. Without crop a picture
    stays whole: its file is referred to.
    """

    crop: bool = True
    margin: float = 2.8
    max_edge: int = 448
    quality: int = 92

    def __post_init__(self):
        if self.margin < 1 or self.max_edge < 32 or not 1 <= self.quality <= 100:
            raise ValueError(
                f"storage: margin is at least 1, max_edge at least 32 px, quality 1 to 100, got {self}"
            )


@dataclass(frozen=True)
class Rejected:
    """A hand, a frame or (without a number) a recording that became no row, and why."""

    sequence: str
    number: int | None
    reason: str
    detail: str


def rows_of(frame: Frame, root: Path, source: str, storage: Storage) -> Iterator[dict | Rejected]:
    """The rows of a frame's hands, each in the sequence of its own side. Raises Unusable where the picture is
    none."""
    data, picture = _picture(frame, root)
    for hand in frame.hands:
        sequence = f"{frame.sequence}/{hand.side}"
        try:
            row = _labelled(frame, hand, picture.shape[1::-1])
            planes = _planes(frame, hand, picture.shape[:2])
            if storage.crop:
                row |= _cropped(picture, data, row, storage, planes)
            else:
                row["image"] = _whole(frame, root, data, picture, storage)
                row |= {name: PLANES[name](plane) for name, plane in planes.items()}
            row |= {"source": source, "sequence": sequence, "recording": frame.recording}
            row |= {"frame": frame.number, "time": frame.time}
            _refuse_inconsistent(row)
        except Unusable as error:
            yield Rejected(sequence, frame.number, error.reason, error.detail)
        else:
            yield row


def _picture(frame: Frame, root: Path) -> tuple[bytes | None, UInt8[np.ndarray, "h w 3"]]:
    """The encoded bytes, if there are any, and the decoded picture, RGB."""
    if isinstance(frame.picture, np.ndarray):
        return None, frame.picture
    name = frame.picture.relative_to(root).as_posix() if isinstance(frame.picture, Path) else "in the archive"
    return read_picture(frame.picture, name)


def _planes(frame: Frame, hand: HandLabels, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The depth and mask that there are. size: (H, W) of the picture. Raises Unusable for another size."""
    planes = {"depth": frame.depth, "mask": hand.mask}
    planes = {name: plane for name, plane in planes.items() if plane is not None}
    for name, plane in planes.items():
        if plane.shape != size:
            raise Unusable(
                f"{name} of another size",
                f"{plane.shape[1]} x {plane.shape[0]} px, the picture {size[1]} x {size[0]}: register it to "
                "the picture",
            )
    return planes


def _labelled(frame: Frame, hand: HandLabels, size: tuple[int, int]) -> dict:
    """A row without its picture, in the whole picture's pixels. size: (W, H)."""
    unknown2d = np.full((NUM_JOINTS, 2), np.nan)
    unknown3d = np.full((NUM_JOINTS, 3), np.nan)
    joints = unknown3d if hand.joints is None else np.asarray(hand.joints, float)
    if hand.joints2d is not None:
        joints2d = np.asarray(hand.joints2d, float)
    else:
        joints2d = unknown2d if frame.camera is None else frame.camera.project(joints)
    mask = np.isfinite(joints).all(1)
    mask2d = np.isfinite(joints2d).all(1)
    camera = frame.camera or _guessed_camera(size)
    known = hand.parameters
    return {
        "width": size[0],
        "height": size[1],
        "focal": camera.focal,
        "princpt": camera.princpt,
        "box": _box(hand, joints2d[mask2d], size),
        "is_right": hand.is_right,
        "joints2d": np.nan_to_num(joints2d),
        "joints2d_mask": mask2d,
        "joints": np.nan_to_num(joints),
        "joints_mask": mask,
        "pose": np.zeros(POSE_DIM) if known is None else known.pose,
        "shape": np.zeros(NUM_BETAS) if known is None else known.shape,
        "trans": np.nan_to_num(joints[WRIST]) if known is None else known.wrist,
        "has_hand": known is not None,
        "has_camera": frame.camera is not None and frame.camera.known,
        "hidden": hand.hidden,
    }


def _guessed_camera(size: tuple[int, int]) -> Camera:
    """For pictures without a camera: rows say has_camera = False, and the focal length is the diagonal, as in
    inference/camera.py."""
    return Camera(np.full(2, math.hypot(*size)), (np.array(size, float) - 1) / 2)


def _box(hand: HandLabels, known: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    if hand.box is not None:
        box = np.asarray(hand.box, float)
    elif len(known) >= MIN_JOINTS:
        box = np.concatenate([known.min(0), known.max(0)])
    else:
        raise Unusable("no box", f"{len(known)} known 2D joints, a box is made of {MIN_JOINTS}")
    seen = np.minimum(box[2:], size) - np.maximum(box[:2], 0)
    if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise Unusable("box without an area", f"box {np.round(box, 1).tolist()}")
    if (seen <= 0).any():
        raise Unusable(
            "outside the picture", f"box {np.round(box, 1).tolist()} of a picture of {size[0]} x {size[1]}"
        )
    return box


def _cropped(
    picture: np.ndarray, data: bytes | None, row: dict, storage: Storage, planes: dict[str, np.ndarray]
) -> dict:
    """The picture's part around the box, shrunk if it is large, and what of the row lives in its pixels."""
    height, width = picture.shape[:2]
    low, high = row["box"][:2], row["box"][2:]
    centre, reach = (low + high) / 2, (high - low).max() * storage.margin / 2
    x0, y0 = np.maximum(np.floor(centre - reach), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(centre + reach) + 1, (width, height)).astype(int)
    if min(x1 - x0, y1 - y0) < 2:
        raise Unusable(
            "outside the picture", f"of its surroundings {x1 - x0} x {y1 - y0} px are in the picture"
        )
    part = picture[y0:y1, x0:x1]
    shrink = min(1.0, storage.max_edge / max(part.shape[:2]))
    small = (max(round(part.shape[1] * shrink), 1), max(round(part.shape[0] * shrink), 1))
    if shrink < 1:
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    scale = np.array(small, float) / (x1 - x0, y1 - y0)

    def moved(points):  # pixel centres at integers: u' = (u - x0 + 0.5) s - 0.5
        return (points - (x0, y0) + 0.5) * scale - 0.5

    untouched = (
        shrink == 1 and part.shape == picture.shape and data is not None and data.startswith(b"\xff\xd8")
    )

    def cut(plane: np.ndarray) -> np.ndarray:
        """Its nearest samples: a mean would mix surfaces."""
        return cv2.resize(
            plane[y0:y1, x0:x1].astype(np.float32), small, interpolation=cv2.INTER_NEAREST_EXACT
        )

    return {name: PLANES[name](cut(plane)) for name, plane in planes.items()} | {
        "image": data if untouched else _encoded(part, storage.quality),
        "width": small[0],
        "height": small[1],
        "focal": row["focal"] * scale,
        "princpt": moved(row["princpt"]),
        "box": np.concatenate([moved(low), moved(high)]),
        "joints2d": np.where(row["joints2d_mask"][:, None], moved(row["joints2d"]), 0.0),
    }


def _whole(frame: Frame, root: Path, data: bytes | None, picture: np.ndarray, storage: Storage) -> bytes:
    if isinstance(frame.picture, Path):
        return REFERENCE + frame.picture.relative_to(root).as_posix().encode()
    return _encoded(picture, storage.quality) if data is None else data


def _encoded(picture: np.ndarray, quality: int) -> bytes:
    done, code = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done, "a picture of bytes can be encoded"
    return code.tobytes()


def _refuse_inconsistent(row: dict) -> None:
    """Raises Unusable for a row that training would leave out."""
    labels = {name: np.asarray(row[name])[None] for name in LABELS if name in COLUMNS}
    measures = measure(labels)
    if wrong := faults(measures)[0]:
        raise Unusable(f"inconsistent: {wrong[0]}", describe(wrong[0], float(measures[wrong[0]][0])))
