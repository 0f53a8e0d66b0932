"""A frame table as pictures, masks and one JSON file, as the training data of Boukhayma et al. (CVPR 2019)
are kept: squares of 320 px around right hands, joints in that work's order, the numbers that its network
predicts."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from tempohand import geometry
from tempohand.data.addresses import Place, on_disk
from tempohand.data.convert.orders import HAND3D_TO_OP
from tempohand.data.convert.unified_json import JSON_NAME
from tempohand.data.mixture import hand_of
from tempohand.data.pictures import BadPicture, encode_mask
from tempohand.data.released_crop import EDGE, EXTENTS, moved, released_crop
from tempohand.data.table import FrameTable, read_index
from tempohand.data.view import warp
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_parameters import weak_hand
from tempohand.writing import whole_folder

ORDER = np.argsort(HAND3D_TO_OP)  # theirs = OpenPose's[ORDER]
MIN_JOINTS = 2  # known in 2D, that have an extent
JPEG_QUALITY = 95
CHUNK = 256  # rows whose labels are read together
FEW = "without an extent in 2D"
ABOUT = {
    "pictures": f"{EDGE} x {EDGE} px, {EXTENTS} extents of the known 2D joints, or whole pictures",
    "joints": "wrist; index, middle, pinky, ring, thumb, four each, from base to tip",
    "joints2d": "px of the picture, x right, y down, integers at pixel centres; then 1 if known, else 0",
    "joints3d": "mm in the space of the camera (x right, y down, z forward); then 1 if known, else 0",
    "camera": "px of the picture: focal x, y, principal point x, y",
    "numbers": "1, scale (px per metre), place x, y (px), rotation (axis-angle), 6 pose components, 10 betas",
    "hand": "of hand_model: absolute axis-angle pose [48], betas [10], wrist [3] (mm, camera space)",
    "box": "x0, y0, x1, y1, px of the picture",
    "hidden": "share of the hand that something covers",
    "recording, time": "what was filmed at once; s",
    "hands": "all are right ones; mirrored says which were left ones",
}


def export_json(
    root: str | Place, out: str | Path, *, hand: str | None = None, whole: bool = False
) -> tuple[Path, Counter]:
    """Writes every split of the table at `root` into the folder `out`, which it replaces; returns the JSON
    file, and how many rows each split has there and how many were left out, by reason.

    hand: the hand model that the table's parameters were made with (None: the open hand); parameters of
    another one are left out. whole: pictures stay as they are stored, in place of the square around the hand.
    Raises FileNotFoundError or ValueError where there is no table or hand model.
    """
    index, out = read_index(root), on_disk(out)
    mine = hand_of(index["about"]) in (None, "mano" if hand else "open")
    layer = HandLayer(hand) if mine else None
    counts: Counter = Counter()
    with whole_folder(out) as part:
        splits: dict[str, list[dict[str, Any]]] = {}
        for split, shards in index["splits"].items():
            (part / split).mkdir()
            entries = _entries(FrameTable(root, split), layer, part, whole=whole) if shards else ()
            splits[split] = []
            for entry in entries:
                if isinstance(entry, str):
                    counts[entry] += 1
                else:
                    splits[split].append(entry)
            counts[split] = len(splits[split])
        about = ABOUT | {"hand_model": hand_of(index["about"])}
        (part / JSON_NAME).write_text(json.dumps({"about": about, "splits": splits}), encoding="utf-8")
    return out / JSON_NAME, counts


def _entries(
    table: FrameTable, layer: HandLayer | None, part: Path, *, whole: bool
) -> Iterator[dict[str, Any] | str]:
    """The entry of every row, its pictures written; or in a word why it has none."""
    recordings = table.column("recording")
    for first in tqdm(range(0, len(table), CHUNK), desc=table.split, unit=f"{CHUNK} rows"):
        rows = np.arange(first, min(first + CHUNK, len(table)))
        columns = table.labels(rows) | {"recording": recordings[rows]}
        for place, row in enumerate(rows.tolist()):
            label = {name: column[place] for name, column in columns.items()}
            known = label["joints2d_mask"]
            if known.sum() < MIN_JOINTS or np.ptp(label["joints2d"][known], axis=0).max() < 1:
                yield FEW
                continue
            try:
                yield _entry(table, row, label, part, layer, whole)
            except BadPicture as error:
                yield error.reason


def _entry(
    table: FrameTable, row: int, label: dict, part: Path, layer: HandLayer | None, whole: bool
) -> dict[str, Any]:
    """One row's picture and mask, written, and what the JSON says of it."""
    size = int(label["width"]), int(label["height"])
    known = label["joints2d_mask"]
    matrix = np.eye(3) if whole else released_crop(label["joints2d"][known].astype(float), size)
    edges = size if whole else (EDGE, EDGE)
    mirrored = not label["is_right"]
    if mirrored:
        matrix = np.array([[-1, 0, edges[0] - 1], [0, 1, 0], [0, 0, 1.0]]) @ matrix
    name = f"{table.split}/{row:06d}"
    picture = warp(table.image(row), matrix, edges[::-1])
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    (part / f"{name}.jpg").write_bytes(data.tobytes())
    if (mask := table.mask(row)) is not None:
        nearest = {"flags": cv2.INTER_NEAREST, "borderMode": cv2.BORDER_CONSTANT}
        seen = cv2.warpAffine(mask.astype(np.uint8), matrix[:2], edges, **nearest) > 0
        (part / f"{name}_mask.png").write_bytes(encode_mask(seen))
    corners = moved(matrix, label["box"].astype(float).reshape(2, 2))
    return {
        "image": f"{name}.jpg",
        "mask": None if mask is None else f"{name}_mask.png",
        "size": list(edges),
        "joints2d": _listed(moved(matrix, label["joints2d"].astype(float)), known),
        **_in_space(label, matrix, mirrored, layer),
        "box": [*corners.min(0).tolist(), *corners.max(0).tolist()],
        "hidden": None if np.isnan(label["hidden"]) else float(label["hidden"]),
        "mirrored": mirrored,
        "recording": label["recording"],
        "time": float(label["time"]),
        **table.about_row(row),
    }


def _listed(points: Float[np.ndarray, "21 d"], known: np.ndarray) -> list[list[float]] | None:
    """Known joints in their order, each with a 1, and zeros for the others; None: there is none."""
    if not known.any():
        return None
    return np.where(known[:, None], np.column_stack([points, known]), 0.0)[ORDER].tolist()


def _in_space(
    label: dict, matrix: Float[np.ndarray, "3 3"], mirrored: bool, layer: HandLayer | None
) -> dict[str, list | dict | None]:
    """3D joints, camera, numbers and hand parameters of a row, as its picture shows them; None where they are
    not known."""
    if not label["has_camera"]:
        return dict.fromkeys(("joints3d", "camera", "numbers", "hand"))
    side = np.array([-1.0 if mirrored else 1.0, 1.0, 1.0])
    focal = label["focal"].astype(float) * np.abs(matrix[[0, 1], [0, 1]])
    princpt = moved(matrix, label["princpt"].astype(float))
    hand = numbers = None
    if label["has_hand"]:
        pose, shape, trans = (torch.from_numpy(label[name])[None] for name in ("pose", "shape", "trans"))
        if mirrored:
            pose, trans = geometry.mirror_pose(pose), geometry.mirror_points(trans)
        hand = {
            name: value[0].tolist() for name, value in (("pose", pose), ("shape", shape), ("wrist", trans))
        }
        if layer is not None:
            focal_1, princpt_1 = (torch.from_numpy(values).float()[None] for values in (focal, princpt))
            numbers = [1.0, *weak_hand(layer, pose, shape, trans, focal_1, princpt_1).packed()[0].tolist()]
    return {
        "joints3d": _listed(label["joints"].astype(float) * side, label["joints_mask"]),
        "camera": [*focal.tolist(), *princpt.tolist()],
        "numbers": numbers,
        "hand": hand,
    }
