"""One's own labels: rows a second from labelled pictures to a frame table, every format's way after its
file of labels is read, by COCO's and LabelMe's."""

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from tempohand.data.convert.convert import Conversion, convert
from tempohand.data.parallel_jobs import LocalPool
from tempohand.data.table import read_index
from tempohand.geometry import project
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import JOINT_NAMES, NUM_BETAS

from .report import Report

SIZE = (320, 240)
DIFFERENT = 64  # pictures that are drawn; the others are copies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many pictures, by how many processes."""
    parser.add_argument("--pictures", type=int, default=10_000, metavar="N", help="(default %(default)s)")
    parser.add_argument("--processes", type=int, metavar="N", help="(default: one a core)")


def run(arguments: argparse.Namespace) -> Report:
    """Rows a second, with everything: labels read, pictures found, decoded, cropped, encoded, written."""
    joints = _hands()
    pictures = [_picture(each) for each in joints]
    rows, details = [], {}
    for form, write in (("coco_keypoints", _coco), ("labelme", _labelme)):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "pictures")
            root.mkdir()
            names = [f"{number:06d}.jpg" for number in range(arguments.pictures)]
            for number, name in enumerate(names):
                (root / name).write_bytes(pictures[number % DIFFERENT])
            write(root, names, joints)
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                out = Path(folder, "table")
                convert(Conversion(form, str(root)), out, engine=LocalPool(arguments.processes))
            seconds = time.perf_counter() - start
            assert read_index(out)["about"]["rejected"] == {}
        details[form] = {"pictures": arguments.pictures, "seconds": seconds}
        details[form]["rows_per_second"] = arguments.pictures / seconds
        rate = f"{arguments.pictures / seconds:,.0f}"
        rows.append([form, f"{arguments.pictures:,}", f"{SIZE[0]} x {SIZE[1]}", f"{seconds:.1f}", rate])
    return Report(["format", "pictures", "px", "s", "rows/s"], rows, {}, details)


def _hands() -> np.ndarray:
    """px [n, 21, 2] of hands in named poses, turned about the camera's axis."""
    names = list(POSES)
    angles = torch.from_numpy(np.stack([POSES[names[number % len(names)]] for number in range(DIFFERENT)]))
    turns = torch.zeros(DIFFERENT, 3, dtype=torch.float64)
    turns[:, 2] = torch.linspace(0, 6, DIFFERENT)
    turns[:, 0] = 1.5
    place = torch.tensor([[0.0, 0.0, 600.0]]).expand(DIFFERENT, 3)
    pose = angles_to_pose(angles, turns).float()
    joints = HandLayer()(pose, torch.zeros(DIFFERENT, NUM_BETAS), place).joints
    focal, middle = torch.tensor([300.0, 300.0]), torch.tensor(SIZE) / 2.0
    return project(joints, focal.expand(DIFFERENT, 2), middle.expand(DIFFERENT, 2)).double().numpy()


def _picture(joints: np.ndarray) -> bytes:
    """A JPEG with dots for joints on a coarse pattern."""
    coarse = np.random.default_rng(0).integers(60, 200, (12, 16, 3), np.uint8)
    picture = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)
    for x, y in joints.round().astype(int).tolist():
        cv2.circle(picture, (x, y), 3, (255, 255, 255), -1)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _coco(root: Path, names: list[str], joints: np.ndarray) -> None:
    marked = [np.column_stack([each, np.full(len(each), 2)]).ravel().tolist() for each in joints]
    content = {
        "images": [
            {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for number, name in enumerate(names)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "keypoints": marked[number % DIFFERENT]}
            for number in range(len(names))
        ],
        "categories": [{"id": 1, "name": "right hand", "keypoints": list(JOINT_NAMES)}],
    }
    (root / "labels.json").write_text(json.dumps(content))


def _labelme(root: Path, names: list[str], joints: np.ndarray) -> None:
    for number, name in enumerate(names):
        points = (joints[number % DIFFERENT] + 0.5).tolist()
        shapes = [
            {"label": f"right_{joint}", "points": [point], "shape_type": "point"}
            for joint, point in zip(JOINT_NAMES, points)
        ]
        content = {"shapes": shapes, "imagePath": name, "imageWidth": SIZE[0], "imageHeight": SIZE[1]}
        (root / name).with_suffix(".json").write_text(json.dumps(content))
