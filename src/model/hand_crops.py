"""From a palm or a hand's landmarks to the crop for the landmark network, and back: MediaPipe's geometry.

Graphs palm_detection_detection_to_roi.pbtxt and hand_landmark_landmarks_to_roi.pbtxt, calculators
DetectionsToRectsCalculator, HandLandmarksToRectCalculator, RectTransformationCalculator and
LandmarkProjectionCalculator of github.com/google-ai-edge/mediapipe at 85c0cdc. Everything is in pixels of one
picture, x right, y down, with any batch dimensions; `data/view.py` makes the crops of training instead.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.geometry import (
    apply_homography,
    box_to_square,
    camera_rotation_homography,
    crop_homography,
    fingers_angle,
    rotation_about_z,
    upward_angle,
)
from tempohand.model.landmarks import SIZE

PALM_SHIFT, PALM_EXPANSION = 0.5, 2.6  # toward the fingers, in heights; of the longer side
TRACK_SHIFT, TRACK_EXPANSION = 0.1, 2.0
PALM_WRIST, PALM_MIDDLE = 0, 2  # keypoints of a palm
TRACKED = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # joints whose bounds are followed: those that bend least
DEPTH_SCALE = 0.4  # normalize_z of hand_landmark_cpu.pbtxt: what z is divided by


@dataclass(frozen=True)
class TurnedSquare:
    """Squares of a picture: centre and side in px, and the direction in which a hand's fingers point in it,
    as the angle (radians, clockwise as seen) from the picture's upward direction."""

    centre: Float[Tensor, "*batch 2"]
    side: Float[Tensor, "*batch"]
    angle: Float[Tensor, "*batch"]

    def homography(self, size: int = SIZE) -> Float[Tensor, "*batch 3 3"]:
        """From the picture's pixels to those of a crop of size x size px in which the fingers point up."""
        turn = camera_rotation_homography(
            rotation_about_z(-self.angle), torch.ones_like(self.centre), self.centre
        )
        return crop_homography(self.centre, self.side, size, size) @ turn


def square_of_palm(box: Float[Tensor, "*batch 4"], keypoints: Float[Tensor, "*batch 7 2"]) -> TurnedSquare:
    """The square around the hand of a palm (`model/palms.py`)."""
    angle = upward_angle(keypoints[..., PALM_WRIST, :], keypoints[..., PALM_MIDDLE, :])
    low, high = box[..., :2], box[..., 2:]
    return _around((low + high) / 2, high - low, angle, PALM_SHIFT, PALM_EXPANSION)


def square_of_landmarks(landmarks: Float[Tensor, "*batch 21 2"]) -> TurnedSquare:
    """The square around a hand in the frame after the one with these landmarks, for tracking."""
    angle = fingers_angle(landmarks)
    turn = rotation_about_z(angle)[..., :2, :2]
    turned = landmarks[..., TRACKED, :] @ turn  # times the inverse: along the square's own axes
    low, high = turned.amin(dim=-2), turned.amax(dim=-2)
    centre = (turn @ ((low + high) / 2)[..., None])[..., 0]
    return _around(centre, high - low, angle, TRACK_SHIFT, TRACK_EXPANSION)


def to_picture(
    screen: Float[Tensor, "*batch 21 3"], homography: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch 21 3"]:
    """The network's screen landmarks in pixels of the picture that its crops (`TurnedSquare.homography`) come
    from; z as the original graph scales it."""
    xy = apply_homography(homography.inverse(), screen[..., :2].to(homography))
    scale = homography[..., :2, 0].norm(dim=-1)  # pixels of the crop in one of the picture's
    return torch.cat([xy, screen[..., 2:] / (DEPTH_SCALE * scale[..., None, None])], dim=-1)


def world_to_picture(
    world: Float[Tensor, "*batch 21 3"], angle: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 21 3"]:
    """World landmarks along the axes of the picture, from along those of a crop turned by `angle`."""
    return world @ rotation_about_z(angle).mT


def letterbox(size: tuple[int, int], edge: int) -> Float[Tensor, "3 3"]:
    """The homography that puts a picture of `size` (W, H) wholly into a square of edge x edge px, in its
    middle. The palm detector was trained with black beside it."""
    whole = torch.tensor([-0.5, -0.5, size[0] - 0.5, size[1] - 0.5], dtype=torch.float64)
    return crop_homography(*box_to_square(whole, 1.0), edge, edge)


def _around(centre: Tensor, size: Tensor, angle: Tensor, shift: float, expansion: float) -> TurnedSquare:
    """The square around a rectangle turned by `angle`: moved up along its own axis by `shift` of its height,
    then `expansion` times its longer side wide."""
    up = torch.stack([angle.sin(), -angle.cos()], dim=-1)
    return TurnedSquare(centre + shift * size[..., 1:] * up, size.amax(dim=-1) * expansion, angle)
