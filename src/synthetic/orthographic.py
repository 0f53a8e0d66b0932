"""Single bare hands before any background, seen from so far that the picture is orthographic: what the
network of hand3d is pretrained on, drawn from the very numbers that it predicts.

A row is an ordinary one. Its camera stands DISTANCE_MM away with a focal length of scale x distance, so that
weak perspective and perspective agree to within a tenth of a pixel. Distributions are those of Boukhayma et
al., "3D Hand Shape and Pose from Images in the Wild" (CVPR 2019).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from scipy.spatial.transform import Rotation

from tempohand.data.pictures import encode_mask
from tempohand.hand.layer import MM_PER_METRE
from tempohand.hand.surface import close_wrist
from tempohand.render import rasterise, render, vertex_normals
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS
from tempohand.synthetic.ambient_occlusion import openness
from tempohand.synthetic.backdrop import LINEAR
from tempohand.synthetic.backgrounds import background, photo_background
from tempohand.synthetic.generate import SPLITS, given, hand_kit, recipe_of
from tempohand.synthetic.given import GivenPaths
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.lighting import Lights, cast_shadow, light_vertices
from tempohand.synthetic.skin import skin_colours, to_srgb

VERSION = 1  # of the pictures: raised when the same configuration gives other ones
DISTANCE_MM = 1e5
COMPONENTS = 6  # of the hand file's pose components
UPSIDE = Rotation.from_rotvec([np.pi, 0.0, 0.0])  # how the hand is held inside, before it is rotated
SUPERSAMPLES = 2  # per pixel edge
WRAP = 0.35, 0.18, 0.12  # light that enters skin leaves it redder
SRGB = np.rint(255 * to_srgb(np.linspace(0, 1, 4096))).astype(np.uint8)


class HandNumbers(NamedTuple):
    """The numbers of hand3d: a picture's camera and its hand.

    A point x of the hand model (posed with its root at UPSIDE, in its own frame, not the wrist's) is seen at
    place + scale * (rotation x), of which z is dropped.
    """

    scale: float  # px per mm
    place: Float[ndarray, "2"]  # px
    rotation: Rotation
    coefficients: Float[ndarray, "6"]  # of pose components
    betas: Float[ndarray, "10"]

    def listed(self) -> Float[ndarray, "23"]:
        """As on disk: a leading 1, scale (px per metre), place, axis-angle, coefficients, betas."""
        camera = [1.0, self.scale * MM_PER_METRE], self.place, self.rotation.as_rotvec()
        return np.concatenate([*camera, self.coefficients, self.betas])


@dataclass(frozen=True)
class OrthographicConfig:
    """Everything that determines the pictures. Ranges are (least, greatest)."""

    seed: int
    sequences: dict[str, int]  # pictures of each split: each is a sequence of one frame
    hand: str | None  # hand model file; None: the open hand
    backgrounds: str | None  # a folder of photos to put behind the hand; None: procedural ones
    image_size: int  # px, edge of the picture
    window: tuple[float, float]  # that edge in extents of the hand in it
    pose: float  # half-width of the coefficients' range
    shape: float  # half-width of the betas' range
    things: int  # at most, in a procedural background
    blur: tuple[float, float]  # its defocus: sigma over the picture's edge
    jpeg_quality: tuple[int, int]
    per_shard: ClassVar[int] = 500

    @property
    def frames(self) -> dict[str, int]:
        """Of a sequence in each split."""
        return dict.fromkeys(SPLITS, 1)

    @property
    def given(self) -> GivenPaths:
        """The files to use beside the hand."""
        return GivenPaths(self.backgrounds, None, None)

    def recipe(self) -> dict:
        """Everything that the bytes depend on, as JSON values."""
        return recipe_of(self, VERSION)

    def rows(self, split: str, index: int) -> Iterator[dict]:
        """The one row of a sequence. The generator's seed is (seed, split, index)."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        yield PictureOfNumbers(rng, self).row(f"hand3d-{split}-{index:06d}")


def draw_hand(rng: np.random.Generator, config: OrthographicConfig) -> HandNumbers:
    """A hand and its rotation, not yet in a picture: scale 1, place 0."""
    coefficients = config.pose * rng.uniform(-1, 1, COMPONENTS)
    betas = config.shape * rng.uniform(-1, 1, NUM_BETAS)
    axis = rng.uniform(-1, 1, 3)
    axis[rng.integers(3)] = 1.0
    angle = rng.uniform(-np.pi, np.pi)
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
    return HandNumbers(1.0, np.zeros(2), rotation, coefficients, betas)


class PictureOfNumbers:
    """A drawn hand in its picture: the numbers, its vertices and joints (camera space, mm), its camera."""

    def __init__(self, rng: np.random.Generator, config: OrthographicConfig):
        self.rng, self.config = rng, config
        self.kit = kit = hand_kit(config.hand)
        hand = draw_hand(rng, config)
        coefficients = torch.from_numpy(hand.coefficients).float()[None]
        orient = torch.from_numpy((hand.rotation * UPSIDE).as_rotvec()).float()[None]
        self.pose = kit.layer.pca_to_pose(orient, coefficients)
        self.shape = torch.from_numpy(hand.betas).float()[None]
        # The hand layer counts from the wrist, the numbers from the hand model's origin.
        wrist = hand.rotation.apply(kit.layer.rest_wrist(self.shape)[0].numpy())
        joints, vertices = (part[0].numpy() + wrist for part in kit.layer(self.pose, self.shape))
        low, high = vertices[:, :2].min(0), vertices[:, :2].max(0)
        edge = config.image_size
        scale = edge / (rng.uniform(*config.window) * (high - low).max())
        place = rng.uniform(-scale * low, edge - 1 - scale * high)
        self.numbers = hand._replace(scale=scale, place=place)
        self.focal = np.full(2, scale * DISTANCE_MM)
        self.princpt = np.full(2, (edge - 1) / 2)
        origin = np.append((place - self.princpt) / scale, DISTANCE_MM)
        self.joints, self.vertices = joints + origin, vertices + origin

    def row(self, name: str) -> dict:
        """A row of the frame table; `name`: the sequence's."""
        joints2d = self.joints[:, :2] / self.joints[:, 2:] * self.focal + self.princpt
        picture, mask = self.picture()
        return {
            "image": self.encoded(picture),
            "mask": encode_mask(mask),
            "width": self.config.image_size,
            "height": self.config.image_size,
            "focal": self.focal,
            "princpt": self.princpt,
            "box": np.concatenate([joints2d.min(0), joints2d.max(0)]),
            "is_right": True,
            "joints2d": joints2d,
            "joints2d_mask": np.ones(NUM_JOINTS, bool),
            "joints": self.joints,
            "joints_mask": np.ones(NUM_JOINTS, bool),
            "pose": self.pose[0].numpy(),
            "shape": self.shape[0].numpy(),
            "trans": self.joints[0],
            "has_hand": True,
            "has_camera": True,
            "hidden": 0.0,
            "source": "synthetic",
            "sequence": name,
            "frame": 0,
            "time": 0.0,
        }

    def picture(self) -> tuple[UInt8[ndarray, "s s 3"], Bool[ndarray, "s s"]]:
        """The hand before a background (RGB), and where it is seen."""
        size = (self.config.image_size, self.config.image_size)
        faces = _faces(self.config.hand)
        colours = self.lit(faces)
        behind = LINEAR[self.background()]
        camera = self.focal, self.princpt, size
        linear = render(self.vertices, faces, colours, *camera, background=behind, antialias=SUPERSAMPLES)
        mask = rasterise(self.vertices, faces, *camera).face >= 0
        return SRGB[(np.clip(linear, 0, 1) * (len(SRGB) - 1) + 0.5).astype(np.uint16)], mask

    def background(self) -> UInt8[ndarray, "s s 3"]:
        """A photo, where there are some; else a procedural one."""
        config = self.config
        if photos := given(config.given, config.hand).photos:
            return photo_background(self.rng, photos, config.image_size)
        return background(self.rng, config.image_size, config.things, config.blur)

    def lit(self, faces: ndarray) -> Float[ndarray, "778 3"]:
        """The colours of the vertices in this picture's light, linear."""
        rng, lights = self.rng, Lights(self.rng)
        albedo, _ = skin_colours(rng, self.kit.skin)
        vertices = self.vertices
        normals = vertex_normals(vertices, faces)
        shadow = cast_shadow(vertices, faces, len(vertices), lights.directions[0], lights.shadow)
        opened = openness(vertices, normals, self.joints[None], rng.uniform(0.4, 1.0))
        out = np.empty((len(vertices), 3), np.float32)
        toward_camera = np.broadcast_to(np.array([0.0, 0.0, -1.0]), vertices.shape)
        wrap = np.broadcast_to(rng.uniform(0.5, 1.3) * np.array(WRAP), vertices.shape)
        gloss = np.full(len(vertices), rng.uniform(0.0, 0.12))
        light_vertices(
            *(albedo, normals, toward_camera, lights.directions, lights.colours, wrap),
            *(lights.ambient(normals), shadow, opened, gloss, out),
        )
        return out

    def encoded(self, picture: UInt8[ndarray, "s s 3"]) -> bytes:
        """JPEG bytes."""
        low, high = self.config.jpeg_quality
        quality = int(self.rng.integers(low, high + 1))
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done, "JPEG encoding failed"
        return data.tobytes()


@cache
def _faces(hand: str | None) -> ndarray:
    """Of a bare hand, closed at the wrist."""
    kit: HandKit = hand_kit(hand)
    return np.concatenate([kit.faces, close_wrist(kit.faces)]).astype(np.int32)
