"""Fixtures that many tests share. Shape annotations are checked while tests run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from jaxtyping import install_import_hook

install_import_hook("tempohand", "beartype.beartype")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from tempohand.data.table import write_index, write_shard  # noqa: E402
from tempohand.geometry import project  # noqa: E402
from tempohand.hand.layer import HandLayer  # noqa: E402

torch.set_num_threads(2)


def hand_rows(sequence: str, frames: int, seed: int, size: int = 96, is_right: bool = True) -> list[dict]:
    """A moving hand drawn as dots on a gradient: every label exact, the picture plain."""
    rng = np.random.default_rng([seed, 7])
    layer = HandLayer()
    pose = torch.from_numpy(rng.normal(0, 0.25, 48)).float().expand(frames, -1).clone()
    pose[:, :3] += torch.linspace(0, 0.5, frames)[:, None]
    betas = torch.from_numpy(rng.normal(0, 0.5, 10)).float().expand(frames, -1).clone()
    trans = torch.tensor([30.0, 10.0, 500.0]) + torch.linspace(0, 40, frames)[:, None] * torch.tensor([1.0, 0.5, 0.3])
    joints, _ = layer(pose, betas, trans)
    if not is_right:
        flip = torch.tensor([-1.0, 1.0, 1.0])
        joints, trans, pose = joints * flip, trans * flip, pose * torch.tensor([1.0, -1.0, -1.0]).repeat(16)
    focal, princpt = torch.tensor([size * 1.5, size * 1.55]), torch.tensor([size / 2 - 3.0, size / 2 + 2.0])
    joints2d = project(joints, focal.expand(frames, 2), princpt.expand(frames, 2))
    rows = []
    for frame in range(frames):
        picture = np.linspace(40, 200, size, dtype=np.uint8)[None, :, None].repeat(size, 0).repeat(3, 2).copy()
        for number, (u, v) in enumerate(joints2d[frame].numpy()):
            cv2.circle(picture, (round(float(u)), round(float(v))), 2, (255, 12 * number, 60), -1)
        points = joints2d[frame].numpy()
        rows.append(
            {
                "image": cv2.imencode(".png", picture[..., ::-1])[1].tobytes(),
                "width": size,
                "height": size,
                "focal": focal.numpy(),
                "princpt": princpt.numpy(),
                "box": np.concatenate([points.min(0), points.max(0)]),
                "is_right": is_right,
                "joints2d": points,
                "joints2d_mask": np.ones(21, bool),
                "joints": joints[frame].numpy(),
                "joints_mask": np.ones(21, bool),
                "pose": pose[frame].numpy(),
                "shape": betas[frame].numpy(),
                "trans": trans[frame].numpy(),
                "has_hand": True,
                "has_camera": True,
                "hidden": 0.6 if frame % 4 == 3 else 0.0,
                "source": "test",
                "sequence": sequence,
                "frame": frame,
                "time": frame / 30,
            }
        )
    return rows


def write_table(root, splits: dict[str, list[list[dict]]]):
    """A table of the given splits, each a list of sequences of rows."""
    root.mkdir(parents=True, exist_ok=True)
    for split, sequences in splits.items():
        write_shard(root / f"{split}-00000.arrow", [row for sequence in sequences for row in sequence])
    write_index(root, {split: [f"{split}-00000.arrow"] for split in splits}, {"made_by": "tests"})
    return root


@pytest.fixture(scope="session")
def table_root(tmp_path_factory):
    """A small table: 4 training, 2 validation and 2 test sequences, the last of each split a left hand."""
    splits = {}
    for number, (split, count, frames) in enumerate((("train", 4, 12), ("val", 2, 9), ("test", 2, 10))):
        splits[split] = [hand_rows(f"{split}-{k}", frames, 100 * number + k, is_right=k != count - 1) for k in range(count)]
    return write_table(tmp_path_factory.mktemp("table"), splits)
