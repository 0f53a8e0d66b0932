"""A small predictions.npz: a right hand with a gap, and a left one that comes later and goes earlier."""

from pathlib import Path

import numpy as np
import torch

from tempohand.geometry import mirror_points, mirror_pose, project
from tempohand.hand.layer import HandLayer
from tempohand.inference.export import describe, write_npz

SIZE = (640, 480)
FOCAL = (800.0, 790.0)
FRAMES = {0: [0, 1, 2, 3, 7, 8, 9], 1: [2, 3, 4, 5, 6]}  # hand 0 is right, hand 1 left
LEFT = 1


def moving_hands(
    frames=FRAMES,
    hand: str | Path | None = None,
    shape_noise: float = 0.0,
    pose: torch.Tensor | None = None,
) -> dict:
    """Columns of predictions: each hand turns, closes and moves; its shape is one, but for `shape_noise`.
    pose: [48], of a right hand, for all of them instead."""
    layer, generator, parts = HandLayer(hand, side="right"), torch.Generator().manual_seed(7), []
    for number, given in frames.items():
        frame = torch.tensor(given)
        n, t = len(frame), frame[:, None] / 10.0
        start, speed = (torch.randn(1, 48, generator=generator) * angle for angle in (0.3, 0.4))
        start[:, 0], speed[:, 0] = start[:, 0] + 2.8, 1.0  # passes half a turn
        posed = start + t * speed if pose is None else pose.repeat(n, 1)
        shape = torch.randn(1, 10, generator=generator).repeat(n, 1)
        shape = shape + shape_noise * torch.randn(n, 10, generator=generator)
        trans = torch.tensor([[-60.0 + 120 * number, 10.0, 500.0]]) + t * torch.tensor([[30.0, -10.0, 50.0]])
        joints, vertices = layer(posed, shape, trans)
        if number == LEFT:
            posed = mirror_pose(posed)
            trans, joints, vertices = (mirror_points(x) for x in (trans, joints, vertices))
        camera = torch.tensor(FOCAL).repeat(n, 1), (torch.tensor(SIZE) / 2.0).repeat(n, 1)
        pixels = project(joints, *camera)
        values = {
            "frame": frame,
            "time": (frame + 0.2 * (frame % 3 == 1)).double() / 30,
            "hand_id": torch.full((n,), number),
            "is_right": torch.full((n,), number != LEFT),
            "history": torch.ones(n, dtype=torch.long),
            "image_size": torch.tensor([SIZE] * n),
            "box": torch.cat([pixels.amin(1), pixels.amax(1)], dim=1),
            **{"focal": camera[0], "princpt": camera[1], "pose": posed, "shape": shape, "trans": trans},
            **{"joints": joints, "joints2d": pixels, "vertices": vertices},
        }
        parts.append({name: value.numpy() for name, value in values.items()})
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns["frame"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def write_predictions(path: Path, columns: dict | None = None, names: list[str] | None = None) -> Path:
    """A file of columns (default: `moving_hands`), as predict writes it; names: of a folder's pictures."""
    columns = moving_hands() if columns is None else columns
    about = describe("clip.mp4", names or [], 10, None if names else 30)
    write_npz(path, columns, HandLayer().faces.numpy(), about)
    return path
