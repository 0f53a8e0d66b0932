"""Skeletons on pictures (RGB uint8, drawn in place, anti-aliased, pixel centres at integers), and depth as a
picture."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from tempohand.skeleton import BONES, FINGER_COLOURS, JOINT_NAMES

RGB = tuple[int, int, int]
OUTLINE: RGB = (20, 20, 24)
_SHIFT = 4  # OpenCV takes fixed-point coordinates with this many fractional bits
_FARTHEST_PX = 20_000.0  # a joint beyond this is not drawn: fixed point would overflow


def _fixed(point) -> tuple[int, int]:
    return int(round(float(point[0]) * (1 << _SHIFT))), int(round(float(point[1]) * (1 << _SHIFT)))


def finger_colours() -> list[RGB]:
    """One RGB colour for each of the 21 joints: its finger's."""
    return [FINGER_COLOURS[name.split("_")[0]] for name in JOINT_NAMES]


def draw_skeleton(
    picture: UInt8[ndarray, "h w 3"],
    joints2d_px: Float[ndarray, "21 2"],
    colours: RGB | list[RGB] | None = None,
    thickness: float = 2.0,
    *,
    mask: Bool[ndarray, "21"] | None = None,
) -> UInt8[ndarray, "h w 3"]:
    """Draws the 21 joints (px, OP order) and their bones into `picture`, RGB, and returns it.

    colours: one RGB triple for all, one for each joint, or None for a colour a finger; a bone takes its
    child's. A dark outline keeps the lines readable on any ground. A joint that `mask` excludes, that is not
    finite or that lies far outside is left out.
    """
    if not picture.flags["C_CONTIGUOUS"]:
        raise ValueError(
            "draw_skeleton draws in place and needs a contiguous picture: np.ascontiguousarray(picture)"
        )
    joints = np.asarray(joints2d_px, np.float64)
    assert joints.shape == (len(JOINT_NAMES), 2), f"expected 21 joints of 2 coordinates, got {joints.shape}"
    if colours is None:
        colours = finger_colours()
    elif not isinstance(colours, list):
        colours = [colours] * len(joints)
    shown = np.isfinite(joints).all(axis=1) & (np.abs(np.nan_to_num(joints)) < _FARTHEST_PX).all(axis=1)
    if mask is not None:
        shown &= np.asarray(mask, bool)

    line = max(1, round(thickness))
    radius = round(0.9 * max(thickness, 1.0) * (1 << _SHIFT))
    outline = round(0.6 * max(thickness, 1.0) * (1 << _SHIFT))
    bones = [(parent, child) for parent, child in BONES if shown[parent] and shown[child]]
    for parent, child in bones:
        cv2.line(
            picture, _fixed(joints[parent]), _fixed(joints[child]), OUTLINE, line + 2, cv2.LINE_AA, _SHIFT
        )
    for joint in np.flatnonzero(shown):
        cv2.circle(picture, _fixed(joints[joint]), radius + outline, OUTLINE, -1, cv2.LINE_AA, _SHIFT)
    for parent, child in bones:
        cv2.line(
            picture, _fixed(joints[parent]), _fixed(joints[child]), colours[child], line, cv2.LINE_AA, _SHIFT
        )
    for joint in np.flatnonzero(shown):
        cv2.circle(picture, _fixed(joints[joint]), radius, colours[joint], -1, cv2.LINE_AA, _SHIFT)
    return picture


def gaussian_maps(
    joints2d_px: Float[ndarray, "21 2"], size: tuple[int, int], sigma: float
) -> Float[ndarray, "21 h w"]:
    """Heat maps of joints, px of a picture of `size` (W, H): Gaussians of `sigma` px, 1 at their middles;
    nothing for a joint that is not finite."""
    u, v = np.arange(size[0]), np.arange(size[1])
    joints = np.asarray(joints2d_px, np.float64)
    x, y = (np.exp(-0.5 * ((at - joints[:, [axis]]) / sigma) ** 2) for axis, at in enumerate((u, v)))
    return np.nan_to_num(y[:, :, None] * x[:, None, :])


def draw_heatmaps(
    picture: UInt8[ndarray, "h w 3"], maps: Float[ndarray, "21 k l"]
) -> UInt8[ndarray, "h w 3"]:
    """The 21 joints' heat maps over the dimmed picture (RGB), each in its finger's colour and as bright as
    its share of its own greatest value."""
    height, width = picture.shape[:2]
    canvas = picture.astype(np.float64) / 3
    for heat, colour in zip(maps, finger_colours()):
        if (most := float(heat.max())) <= 0:
            continue
        share = cv2.resize(heat / most, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
        canvas += share * (np.array(colour) - canvas)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def write_names(
    picture: UInt8[ndarray, "h w 3"], joints2d_px: Float[ndarray, "21 2"], names: dict[int, str]
) -> UInt8[ndarray, "h w 3"]:
    """Writes the names of some joints (their numbers, OP order) beside them, in the joints' colours, and
    returns the picture. Joints that are not finite are left out."""
    colours = finger_colours()
    for joint, name in names.items():
        point = np.asarray(joints2d_px[joint], np.float64)
        if np.isfinite(point).all() and (np.abs(point) < _FARTHEST_PX).all():
            place = (int(round(point[0])) + 5, int(round(point[1])) - 4)
            for colour, width in ((OUTLINE, 3), (colours[joint], 1)):
                cv2.putText(picture, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, width, cv2.LINE_AA)
    return picture


def depth_picture(depth: Float[ndarray, "h w"], near: float, far: float) -> UInt8[ndarray, "h w 3"]:
    """Depth in colours: red at `near` and before, blue at `far` and beyond; black where it is 0,
    unmeasured."""
    share = np.clip((far - depth) / max(far - near, 1e-9), 0, 1)
    colours = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(depth[..., None] > 0, colours, 0).astype(np.uint8)
