"""The two pictures of docs/open_hand.md: named poses, and the shape directions."""

from pathlib import Path

import cv2
import numpy as np
import torch

from tempohand.geometry import mirror_pose
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.hand.surface import close_wrist, open_hand_region
from tempohand.render import render, shade, vertex_normals
from tempohand.writing import write_whole

SIZE = 240
DISTANCE_MM, SPAN_MM = 1500.0, 250.0
SKIN = np.array([[0.80, 0.62, 0.52], [0.90, 0.68, 0.60], [0.95, 0.80, 0.77]], dtype=np.float32)
# Camera axes (x right, y down, z forward) in the hand's frame: looking at the back, at the palm, and from the
# thumb's side.
VIEWS = {
    "back": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "palm": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "thumb": np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
}


def write_pictures(folder: Path) -> None:
    """Writes open_hand_poses.png (each named pose, and the left hand at rest: back, palm, thumb's side) and
    open_hand_shapes.png (each shape direction at -2 and +2)."""
    layer = HandLayer()
    left = HandLayer(side="left")
    zero = torch.zeros(10)

    def strip(vertices, hand, name):
        return np.concatenate(
            [_picture(vertices, hand, view, name if view == "back" else "") for view in VIEWS], axis=1
        )

    named = {name: angles_to_pose(torch.from_numpy(angles).float()) for name, angles in POSES.items()}
    poses = [strip(layer(pose, zero).vertices.numpy(), layer, name) for name, pose in named.items()]
    poses.append(strip(left(mirror_pose(named["rest"]), zero).vertices.numpy(), left, "rest, left"))
    half = len(poses) // 2
    _write(
        folder / "open_hand_poses.png",
        np.concatenate([np.concatenate(poses[:half]), np.concatenate(poses[half:])], axis=1),
    )

    rows = []
    for sign in (-2.0, 2.0):
        hands = [layer(torch.zeros(48), sign * torch.eye(10)[k]).vertices.numpy() for k in range(10)]
        rows += [[_picture(v, layer, "back", f"{sign:+.0f} x {k}") for k, v in enumerate(hands)]]
    grid = [np.concatenate(row[start : start + 5], axis=1) for start in (0, 5) for row in rows]
    _write(folder / "open_hand_shapes.png", np.concatenate(grid))


def _picture(vertices: np.ndarray, layer: HandLayer, view: str, label: str) -> np.ndarray:
    skin = layer.faces.numpy()
    faces = np.concatenate([skin, close_wrist(skin)])
    # Of the picture, too: the camera stands on the other side.
    mirror = np.array([1.0 if layer.side == "right" else -1.0, 1, 1])
    points = mirror * ((mirror * vertices - [-85, -8, 5]) @ VIEWS[view].T) + [0, 0, DISTANCE_MM]
    normals = vertex_normals(points, skin)  # without the cap, which would bend them
    light = {"lights": ((0.5, -0.6, -1.0), (-0.8, 0.1, -0.6)), "intensities": (0.6, 0.5), "ambient": 0.25}
    colours = shade(points, faces, SKIN[open_hand_region()], normals=normals, **light)
    focal, centre = SIZE * DISTANCE_MM / SPAN_MM, (SIZE - 1) / 2
    camera = ((focal, focal), (centre, centre), (SIZE, SIZE))
    background = np.full((SIZE, SIZE, 3), 0.12, np.float32)
    colour = render(points, faces, colours, *camera, background=background, antialias=3)
    image = (255 * colour.clip(0, 1)).round().astype(np.uint8)
    cv2.putText(image, label, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (230, 230, 230), 1, cv2.LINE_AA)
    return image


def _write(path: Path, image: np.ndarray) -> None:
    # Dropping the last two bits does not show, and halves the file.
    _, encoded = cv2.imencode(".png", (image & 0xFC)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    write_whole(path, encoded.tobytes())
    print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
