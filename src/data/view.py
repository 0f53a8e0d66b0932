"""A view: the crop and augmentation that turn stored frames into what a network sees, for image, camera and
labels alike.

Every geometric step is one homography per frame (mirror, camera rotation, crop), so nothing can be applied to
the picture and not to the labels. `draw` and `apply` are apart: a draw can be kept and applied again.

Depth is not augmented: scaling the scene about the camera changes the hand's size, and scaling focal length
and depth together changes the perspective that the picture shows. Both would make labels that no picture has.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tempohand import geometry
from tempohand.data.photometric import Photometric, PhotometricDraw
from tempohand.data.pictures import BEYOND

JITTER_CORRELATION = 0.8  # of a tracked box's error between neighbouring frames


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw a view from; each is constant along a sequence except the jitter, which is an AR(1)
    process over its frames."""

    roll: float = 180.0  # degrees either way about the optical axis
    tilt: float = 0.0  # degrees of camera rotation about an axis in the image plane
    scale: float = 0.15  # half-width of the crop side's factor
    shift: float = 0.06  # half-width of the crop centre's shift, of its side
    jitter_scale: float = 0.02  # standard deviation of the box's error in size ...
    jitter_shift: float = 0.015  # ... and in place, of the crop's side
    # probability of a hand's being turned so that its fingers point up, before it is rolled
    upright: float = 0.0
    mirror: float = 0.0  # probability of the other side's hand, which teaches sides and has no other label
    photometric: Photometric = field(default_factory=Photometric)


@dataclass(frozen=True)
class ViewDraw:
    """The drawn view of a stretch of frames: camera rotation (one, or one a frame), crop side factor and crop
    shift (of the side) per frame, colour.

    `draw[places]` is the same view of some of the frames, of a draw with one rotation.
    """

    rotation: Float[Tensor, "*t 3 3"]
    scale: Float[Tensor, "t"]
    shift: Float[Tensor, "t 2"]
    photometric: PhotometricDraw | None
    mirror: bool
    frame: Int[np.ndarray, "t"]  # place in the stretch: each has noise of its own
    upright: bool = False  # `turned_upright` is to be called

    def __getitem__(self, places: Int[np.ndarray, "n"]) -> "ViewDraw":
        return replace(self, scale=self.scale[places], shift=self.shift[places], frame=self.frame[places])


@dataclass(frozen=True)
class Placement:
    """Where a clip's frames went: per-frame homography from stored to crop pixels, camera of each crop, and
    the camera-space change."""

    homography: Float[Tensor, "t 3 3"]
    focal: Float[Tensor, "t 2"]
    princpt: Float[Tensor, "t 2"]
    rotation: Float[Tensor, "*t 3 3"]
    mirrored: bool


class View:
    """Crops of `size` px, the edge of a square or (height, width), with or without augmentation.

    The square around the hand, `expansion` times as wide as the longer edge of its box, fills the crop's
    shorter edge: whatever the crop's shape, a turned hand stays in it.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        expansion: float = 2.0,
        augmentation: Augmentation | None = None,
    ):
        self.size = (size, size) if isinstance(size, int) else tuple(size)  # (height, width)
        if min(self.size) < 32 or expansion < 1:
            raise ValueError(
                "view: size must be at least 32 px and expansion at least 1, "
                f"got size={size}, expansion={expansion}"
            )
        self.expansion, self.augmentation = expansion, augmentation

    def settings(self) -> dict:
        """`size` (the edge of square crops, or [height, width]) and `expansion`, for a file."""
        height, width = self.size
        return {"size": height if height == width else [height, width], "expansion": self.expansion}

    def draw(self, rng: np.random.Generator, num_frame: int) -> ViewDraw:
        """Draws the view of a stretch of `num_frame` frames; without augmentation it is the plain crop."""
        a, frame = self.augmentation, np.arange(num_frame)
        if a is None:
            still = torch.ones(num_frame).double(), torch.zeros(num_frame, 2).double()
            return ViewDraw(torch.eye(3, dtype=torch.float64), *still, None, False, frame)
        roll = rng.uniform(-a.roll, a.roll)
        tilt = rng.uniform(0, a.tilt)
        tilt_axis = rng.uniform(0, 2 * np.pi)
        in_plane = np.radians(tilt) * np.array([np.cos(tilt_axis), np.sin(tilt_axis), 0.0])
        rotation = torch.from_numpy(
            cv2.Rodrigues(in_plane)[0] @ cv2.Rodrigues(np.array([0.0, 0.0, np.radians(roll)]))[0]
        )
        scale = (1 + rng.uniform(-a.scale, a.scale)) * np.exp(
            a.jitter_scale * _correlated(rng, num_frame, 1)[:, 0]
        )
        shift = rng.uniform(-a.shift, a.shift, 2) + a.jitter_shift * _correlated(rng, num_frame, 2)
        colour, mirror = a.photometric.draw(rng), bool(rng.random() < a.mirror)
        upright = bool(rng.random() < a.upright)
        crop = torch.from_numpy(scale), torch.from_numpy(shift)
        return ViewDraw(rotation, *crop, colour, mirror, frame, upright)

    def place(
        self, draw: ViewDraw, width: Tensor | int, focal: Tensor, princpt: Tensor, box: Tensor, is_right: bool
    ) -> Placement:
        """The homographies and cameras of a clip: focal, princpt [T, 2] and box [T, 4] in px of stored
        pictures `width` px wide (one, or [T]).

        Crops show right hands: left ones are mirrored, unless the draw says the opposite.
        """
        mirrored = is_right == draw.mirror
        focal = focal.double()
        princpt = princpt.double()
        box = box.double()
        mirror = geometry.mirror_homography(width) if mirrored else torch.eye(3, dtype=torch.float64)
        centre, side = geometry.box_to_square(box, self.expansion)
        if mirrored:
            centre, princpt = (
                geometry.apply_homography(mirror, points[:, None])[:, 0] for points in (centre, princpt)
            )
        turn = geometry.camera_rotation_homography(draw.rotation, focal, princpt)
        centre = geometry.apply_homography(turn, centre[:, None])[:, 0] + draw.shift * side[:, None]
        crop = geometry.crop_homography(centre, side * draw.scale, *self.size)
        new_focal, new_princpt = geometry.crop_camera(crop, focal, princpt)
        return Placement(
            crop @ turn @ mirror, new_focal.float(), new_princpt.float(), draw.rotation, mirrored
        )

    def warp(
        self, pictures: list[UInt8[np.ndarray, "_ _ 3"]], placement: Placement, draw: ViewDraw
    ) -> UInt8[Tensor, "t 3 k l"]:
        """The clip's crops."""
        crops = [
            warp(picture, matrix, self.size)
            for picture, matrix in zip(pictures, placement.homography.numpy())
        ]
        if draw.photometric is not None:
            crops = draw.photometric.apply(crops, draw.frame)
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def crop(
        self,
        images: list,
        focal: Float[Tensor, "t 2"],
        princpt: Float[Tensor, "t 2"],
        box: Float[Tensor, "t 4"],
        is_right: bool,
    ) -> tuple[UInt8[Tensor, "t 3 k l"], Placement]:
        """Plain crops of RGB pictures for inference, and where they lie. A left hand comes out mirrored, its
        camera space with it."""
        plain = View(self.size, self.expansion).draw(np.random.default_rng(0), len(images))
        width = torch.tensor([image.shape[1] for image in images])
        placement = self.place(plain, width, focal, princpt, box, is_right)
        return self.warp(images, placement, plain), placement


def turned_upright(draw: ViewDraw, joints2d: Float[Tensor, "21 2"], is_right: bool) -> ViewDraw:
    """The view of a hand that is turned first so that its fingers point up in the crop; joints2d: px of the
    stored picture, of one frame, for one turn is all frames'."""
    angle = geometry.fingers_angle(joints2d.double())
    turn = angle if is_right == draw.mirror else -angle  # a mirrored hand points to the other side
    return replace(draw, rotation=draw.rotation @ geometry.rotation_about_z(turn), upright=False)


def place_labels(
    labels: dict[str, Tensor],
    *,
    homography: Float[Tensor, "b 3 3"],
    rotation: Float[Tensor, "b 3 3"],
    mirrored: Bool[Tensor, "b"],
    size: tuple[int, int],
) -> dict[str, Tensor]:
    """joints2d [B, 21, 2], joints [B, 21, 3], pose [B, 48] and trans [B, 3] of frames, in their views.

    size: (height, width) of the crops, over which joints2d comes back normalised to [-0.5, 0.5].
    """
    rotation = rotation.float()
    flip = mirrored[:, None]
    joints = torch.where(flip[..., None], geometry.mirror_points(labels["joints"]), labels["joints"])
    pose = torch.where(flip, geometry.mirror_pose(labels["pose"]), labels["pose"])
    trans = torch.where(flip, geometry.mirror_points(labels["trans"]), labels["trans"])
    pixels = geometry.apply_homography(homography, labels["joints2d"].double())
    return {
        "joints2d": geometry.normalise_pixels(pixels, size[::-1]).float(),
        "joints": joints @ rotation.mT,
        "pose": geometry.rotate_pose(rotation, pose),
        "trans": (rotation @ trans[..., None])[..., 0],
    }


def _correlated(rng: np.random.Generator, num_frame: int, channels: int) -> Float[np.ndarray, "t c"]:
    """A stationary AR(1) process of unit variance."""
    white = rng.standard_normal((num_frame, channels))
    values = [white[0]]
    for step in white[1:]:
        values.append(JITTER_CORRELATION * values[-1] + np.sqrt(1 - JITTER_CORRELATION**2) * step)
    return np.stack(values)


def warp(
    picture: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "3 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "k l 3"]:
    """The picture through a homography, its edge repeated beyond it; a picture that shrinks by 2 or more is
    averaged down first, for bilinear sampling would alias."""
    shrink = int(1 / np.sqrt(max(abs(np.linalg.det(matrix[:2, :2])), 1e-12)))
    shrink = min(shrink, max(picture.shape[:2]))  # beyond that nothing of the picture would be left to see
    if shrink >= 2:
        picture, matrix = _averaged(picture, shrink), matrix @ _to_full(shrink)
    options = {"dsize": size[::-1], "flags": cv2.INTER_LINEAR, "borderMode": BEYOND}
    if np.abs(matrix[2, :2]).max() * max(picture.shape) < 1e-9 * abs(matrix[2, 2]):
        return cv2.warpAffine(picture, matrix[:2] / matrix[2, 2], **options)
    return cv2.warpPerspective(picture, matrix, **options)


def _averaged(picture: UInt8[np.ndarray, "h w 3"], shrink: int) -> UInt8[np.ndarray, "k l 3"]:
    """Means of squares of `shrink` px, with one square of the repeated edge before the picture and one or
    more behind it: so the edge of what comes out is that of the picture itself, and no mean of what lies
    farther in."""
    height, width = picture.shape[:2]
    bottom, right = (shrink + -edge % shrink for edge in (height, width))
    wide = cv2.copyMakeBorder(picture, shrink, bottom, shrink, right, BEYOND)
    return cv2.resize(wide, (wide.shape[1] // shrink, wide.shape[0] // shrink), interpolation=cv2.INTER_AREA)


def _to_full(shrink: int) -> Float[np.ndarray, "3 3"]:
    """From `_averaged`'s pixels to the picture's, centres at integers: u = (u' + 0.5) shrink - 0.5 -
    shrink."""
    offset = -shrink / 2 - 0.5
    return np.array([[shrink, 0, offset], [0, shrink, offset], [0, 0, 1.0]])
