"""A picture of a hand model: its flat hand, its mean pose and two bent ones, from the back and from the
palm."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.hand.surface import close_wrist
from tempohand.render import render, shade, vertex_normals
from tempohand.skeleton import FINGER_COLOURS, MANO_JOINT_NAMES, NUM_BETAS
from tempohand.writing import write_whole

SIZE = 260
DISTANCE_MM, SPAN_MM = 1500.0, 260.0
CENTRE_MM = np.array([-85.0, -8.0, 5.0])  # of what the picture shows, relative to the wrist
BENT = ("fist", "pinch")
# Camera axes (x right, y down, z forward) in a right hand's frame: looking at the back, and at the palm.
VIEWS = {
    "back": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "palm": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}
MIRROR = np.array([-1.0, 1.0, 1.0])
SKIN, FINGER_SHARE = np.array([0.90, 0.72, 0.62]), 0.5


def write_picture(path: Path, picture: str | Path) -> Path:
    """Draws the hand model of a file into the PNG or JPEG file `picture`. Raises ValueError for another kind
    of picture."""
    picture = Path(picture)
    try:
        done, encoded = cv2.imencode(picture.suffix, draw_hand(HandLayer(path))[..., ::-1])
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"{picture}: pictures are written as .png or .jpg")
    write_whole(picture, encoded.tobytes())
    return picture


def draw_hand(layer: HandLayer) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, RGB: one row per view, one column per pose. A left hand's is the mirror image of a right
    one's.

    Skin takes the colours of the fingers that move it, by its skinning weights.
    """
    sign = MIRROR if layer.side == "left" else np.ones(3)
    turn = torch.from_numpy(sign.prod() * sign).float()  # mirrors axis-angle
    bent = {
        name: angles_to_pose(torch.from_numpy(POSES[name]).float()).unflatten(-1, (-1, 3)) * turn
        for name in BENT
    }
    mean = torch.cat([torch.zeros(3), layer.hands_mean]).unflatten(-1, (-1, 3))
    poses = torch.stack([torch.zeros_like(mean), mean, *bent.values()]).flatten(-2)
    hands = layer(poses, torch.zeros(len(poses), NUM_BETAS)).vertices.numpy()
    names = ["flat", "mean pose", *BENT]
    rows = [
        [
            _draw(vertices - sign * CENTRE_MM, layer, sign[:, None] * view * sign, f"{name}, {side}")
            for vertices, name in zip(hands, names)
        ]
        for side, view in VIEWS.items()
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _draw(
    vertices: Float[np.ndarray, "778 3"], layer: HandLayer, view: np.ndarray, label: str
) -> UInt8[np.ndarray, "h w 3"]:
    skin = layer.faces.numpy()
    points, faces = vertices @ view.T + [0, 0, DISTANCE_MM], np.concatenate([skin, close_wrist(skin)])
    normals = vertex_normals(points, skin)  # without the cap, which would bend them
    colours = shade(
        points,
        faces,
        _albedo(layer),
        lights=((0.5, -0.6, -1.0), (-0.8, 0.1, -0.6)),
        intensities=(0.6, 0.5),
        normals=normals,
    )
    focal, centre = SIZE * DISTANCE_MM / SPAN_MM, (SIZE - 1) / 2
    background = np.full((SIZE, SIZE, 3), 0.12, np.float32)
    colour = render(
        points,
        faces,
        colours,
        (focal, focal),
        (centre, centre),
        (SIZE, SIZE),
        background=background,
        antialias=3,
    )
    image = (255 * colour.clip(0, 1)).round().astype(np.uint8)
    return cv2.putText(image, label, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230, 230, 230), 1, cv2.LINE_AA)


def _albedo(layer: HandLayer) -> Float[np.ndarray, "778 3"]:
    fingers = np.array([FINGER_COLOURS[name.split("_")[0]] for name in MANO_JOINT_NAMES]) / 255
    fingers[0] = SKIN
    return FINGER_SHARE * layer.weights.numpy() @ fingers + (1 - FINGER_SHARE) * SKIN
