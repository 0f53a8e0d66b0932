"""A picture of fitted hands: their meshes, and the joints they were fitted to."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempohand.commands.hand_fit_files import MeasuredJoints
from tempohand.draw import draw_skeleton
from tempohand.geometry import (
    box_to_square,
    crop_camera,
    crop_homography,
    mirror_points,
    mirror_pose,
    project,
)
from tempohand.hand.fit_solver import FittedHands
from tempohand.hand.layer import HandLayer
from tempohand.hand.surface import close_wrist
from tempohand.render import render, shade
from tempohand.writing import write_whole

SHOWN = 6
TILE_PX = 280
MARGIN = 1.25
AWAY_MM = 1500.0  # of the camera that looks at hands in space
SKIN, GROUND = (0.90, 0.72, 0.62), 0.12
LIGHTS, INTENSITIES = ((-0.4, -0.7, -1.0), (0.8, 0.2, -0.6)), (0.55, 0.3)
# From the front (along z) and from the side (along -x).
VIEWS = {"front": np.eye(3), "side": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])}


def write_picture(path: str | Path, layer: HandLayer, fitted: FittedHands, measured: MeasuredJoints) -> None:
    """Draws some of the fitted hands, spread over all, into a .png or .jpg."""
    done, encoded = cv2.imencode(Path(path).suffix, draw_fitted(layer, fitted, measured)[..., ::-1])
    assert done, f"encoding {path} failed"
    write_whole(path, encoded.tobytes())


def draw_fitted(
    layer: HandLayer, fitted: FittedHands, measured: MeasuredJoints
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, RGB, a column per hand. Joints in space: one row from the front and one from the side; in
    a picture: as its camera sees them."""
    usable = fitted.pose.isfinite().all(dim=1).nonzero().squeeze(1)
    rows = usable[torch.linspace(0, len(usable) - 1, min(SHOWN, len(usable))).round().long()]
    columns = []
    for row in rows.tolist():
        right = bool(measured.is_right[row])
        vertices = _vertices(layer, fitted, row, right)
        faces = np.concatenate([layer.faces.numpy(), close_wrist(layer.faces.numpy())])
        faces = faces if right else faces[:, ::-1]
        given, mask = measured.points[row].double(), measured.mask[row]
        label = f"hand {row}: {fitted.residual[row].nanmean():.2f} {measured.unit}"
        if measured.focal is None:
            centre = fitted.joints[row].double().mean(dim=0)
            camera = torch.full((2,), AWAY_MM).double(), torch.zeros(2).double()
            tiles = []
            for name, view in VIEWS.items():
                turn, away = torch.from_numpy(view), torch.tensor([0.0, 0.0, AWAY_MM]).double()
                points = (given - centre) @ turn.mT + away
                tiles.append(
                    _tile(
                        (vertices - centre) @ turn.mT + away,
                        faces,
                        project(points, *camera),
                        mask,
                        *camera,
                        f"{label}, {name}",
                    )
                )
        else:
            tiles = [
                _tile(
                    vertices,
                    faces,
                    given,
                    mask,
                    measured.focal[row].double(),
                    measured.princpt[row].double(),
                    label,
                )
            ]
        columns.append(np.concatenate(tiles))
    return np.concatenate(columns, axis=1)


def _vertices(layer: HandLayer, fitted: FittedHands, row: int, right: bool) -> Float[Tensor, "778 3"]:
    pose = fitted.pose[row].float()
    vertices = layer(pose if right else mirror_pose(pose), fitted.shape[row].float()).vertices.double()
    return (vertices if right else mirror_points(vertices)) + fitted.trans[row].double()


def _tile(
    vertices: Tensor,
    faces: np.ndarray,
    pixels: Tensor,
    mask: Tensor,
    focal: Tensor,
    princpt: Tensor,
    label: str,
) -> UInt8[np.ndarray, "h w 3"]:
    """A crop about the mesh: the mesh, and the given joints over it."""
    seen = project(vertices, focal, princpt)
    centre, side = box_to_square(torch.cat([seen.amin(dim=0), seen.amax(dim=0)]), MARGIN)
    crop = crop_homography(centre, side, TILE_PX, TILE_PX)
    focal, princpt = (x.numpy() for x in crop_camera(crop, focal, princpt))
    colours = shade(vertices.numpy(), faces, SKIN, lights=LIGHTS, intensities=INTENSITIES)
    ground = np.full((TILE_PX, TILE_PX, 3), GROUND, np.float32)
    colour = render(
        vertices.numpy(), faces, colours, focal, princpt, (TILE_PX, TILE_PX), background=ground, antialias=3
    )
    picture = np.ascontiguousarray((255 * colour.clip(0, 1)).round().astype(np.uint8))
    joints = (pixels @ crop[:2, :2].mT + crop[:2, 2]).numpy()
    draw_skeleton(picture, joints, thickness=1.6, mask=mask.numpy())
    return cv2.putText(
        picture, label, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA
    )
