"""Photographed skin: pictures of hands that were painted onto MakeHuman's mesh, carried to the two textures
of `atlas.py`.

The open hand's vertices are some of that mesh's, so a texel of the atlas finds its place in the picture by
drawing the whole mesh on the atlas. What is kept of a photograph is how it differs from its own skin's tone:
creases, nails, mottling; the tone is the person's, and so a few photographs are skin of every colour.
"""

from functools import cache
from io import BytesIO
from typing import NamedTuple
from zipfile import BadZipFile

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.hand.files import OPEN_HAND_SOURCE
from tempohand.hand.surface import open_hand_source
from tempohand.render import Buffers, rasterise
from tempohand.synthetic.archive import Archive
from tempohand.synthetic.atlas import ATLAS_MM, ATLAS_SIZE, HandAtlas
from tempohand.synthetic.skin import SkinMap, to_linear

UV_FILE = "hand_uv.npz"
FAR_MM = 1e5  # the atlas is a view from afar
WRIST_MM = 4.0, 22.0  # from the hand's end, where the photograph fades into the arm's plain skin
EVEN_TEXELS, EVEN = 20.0, 0.5  # differences wider than this are reduced by this share: the photograph's light
LEAST, MOST = -1.2, 0.7  # of a difference
TONE_STEPS = 9  # between back and palm, at which a photograph's tone is taken
CANDIDATES = 3  # photographs, of which the one that fits the person is taken


def _drawn(vertices: Float[ndarray, "v 3"], faces: ndarray, atlas: HandAtlas, side: float) -> Buffers:
    """A mesh (mm, at rest) on the texture of the back (side 1) or of the palm (-1)."""
    flat = vertices[:, [0, 2]] - atlas.middle
    seen = np.column_stack([flat, FAR_MM - side * vertices[:, 1]])
    focal = ATLAS_SIZE / ATLAS_MM * FAR_MM
    middle = (ATLAS_SIZE - 1) / 2
    faces = np.ascontiguousarray(faces if side > 0 else faces[:, ::-1], np.int32)
    size = (ATLAS_SIZE, ATLAS_SIZE)
    return rasterise(seen, faces, (focal, focal), (middle, middle), size, cull=True)


def _spread(values: Float[ndarray, "s s c"], known: ndarray) -> Float[ndarray, "s s c"]:
    """Values where they are known, and elsewhere those of the nearest texel that has some."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.empty((labels.max() + 1, values.shape[-1]), values.dtype)
    by_label[labels[known]] = values[known]
    return by_label[labels.astype(np.intp)]


def _corners(buffers: Buffers, corners: Float[ndarray, "f 3 c"], side: float) -> Float[ndarray, "s s c"]:
    """Values given at the corners of faces, on the texels of `_drawn`."""
    corners = corners if side > 0 else corners[:, ::-1]
    known = buffers.face >= 0
    weights = buffers.weights[known]
    weights = np.column_stack([1 - weights.sum(1), weights])
    values = np.einsum("sk,skc->sc", weights, corners[buffers.face[known]])
    out = np.zeros((*known.shape, corners.shape[-1]))
    out[known] = values
    return _spread(out, known)


class Photograph(NamedTuple):
    """A photographed hand on the atlas: logarithms of its colour over its own skin's tone, linear light."""

    lightness: float  # of the back of the hand, linear
    palm: Float[ndarray, "s s 3"]
    back: Float[ndarray, "s s 3"]


class Skins:
    """The photographed hands (hands_*.png) of an archive, on the open hand's atlas.

    Raises ValueError when the archive lacks pictures or their texture coordinates (hand_uv.npz), or they
    belong to another mesh.
    """

    def __init__(self, archive: Archive, skin: SkinMap, atlas: HandAtlas, faces: ndarray):
        self.archive, self.names = archive, archive.names("hands_", ".png")
        mesh, uv = self._mesh()
        source = open_hand_source()
        self.places: list[ndarray] = []  # in the pictures, of the texels of palm and back
        self.palm: list[ndarray] = []  # how much of a texel is the palm's skin, 0..1
        self.kept: list[ndarray] = []  # whether the hand itself lies there
        x = (np.arange(ATLAS_SIZE) + 0.5) / ATLAS_SIZE * ATLAS_MM - ATLAS_MM / 2 + atlas.middle[0]
        near, far = skin.rest[:, 0].max() - np.array(WRIST_MM)
        fade = np.clip((near - x) / (near - far), 0, 1)[None, :, None]  # the fingers point toward -x
        for side in (-1.0, 1.0):
            drawn = _drawn(source, mesh, atlas, side)
            self.places.append(_corners(drawn, uv, side).astype(np.float32))
            own = _drawn(skin.rest, faces, atlas, side)
            self.palm.append(_corners(own, skin.palm[faces][..., None], side)[..., 0])
            self.kept.append(own.face >= 0)
        self.fade = fade
        self.load = cache(self._load)

    def pick(self, rng: np.random.Generator, tone: Float[ndarray, "3"]) -> Photograph:
        """A photograph for a person of this tone (linear): that of a few whose own is nearest, for dark hands
        have other palms and nails than pale ones."""
        drawn = rng.choice(self.names, min(CANDIDATES, len(self.names)), replace=False)
        return min(
            map(self.load, drawn.tolist()), key=lambda photo: abs(np.log(photo.lightness / tone.mean()))
        )

    def _mesh(self) -> tuple[ndarray, ndarray]:
        """Triangles [3196, 3] of the source's mesh, and their corners' places in the pictures, 0..1."""
        data = BytesIO(self.archive.read(UV_FILE))
        try:
            with np.load(data, allow_pickle=False) as tables:
                mesh, uv = tables["faces_R"], tables["face_uv_crop_R"]
        except (KeyError, OSError, EOFError, ValueError, BadZipFile) as error:
            raise ValueError(
                f"{self.archive.setting}={self.archive.path}: {UV_FILE} cannot be read ({error})"
            ) from None
        with np.load(OPEN_HAND_SOURCE, allow_pickle=False) as archive:
            count = len(archive["vertices"])
        if (
            mesh.shape[1:] != (3,)
            or uv.shape != (*mesh.shape, 2)
            or mesh.min() < 0
            or mesh.max() != count - 1
        ):
            raise ValueError(
                f"{self.archive.setting}={self.archive.path}: {UV_FILE} is of another mesh than the open "
                f"hand's of {count} vertices"
            )
        return mesh, uv.astype(float)

    def _load(self, name: str) -> Photograph:
        picture = to_linear(self.archive.picture(name) / 255).astype(np.float32)
        height, width = picture.shape[:2]
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5)
        logs = []
        for places in self.places:
            u, v = np.moveaxis(places * np.array([width, height], np.float32) - np.float32(0.5), -1, 0)
            logs.append(np.log(np.maximum(cv2.remap(picture, u, v, cv2.INTER_LINEAR), 1e-3)))
        # The photograph's own tone, from back to palm: what the person's takes the place of.
        palm = np.concatenate([p[kept] for p, kept in zip(self.palm, self.kept)])
        seen = np.concatenate([log[kept] for log, kept in zip(logs, self.kept)])
        steps = np.linspace(0, 1, TONE_STEPS)
        hats = np.maximum(1 - np.abs(palm[:, None] - steps) * (TONE_STEPS - 1), 0)
        tone = np.linalg.lstsq(hats, seen, rcond=None)[0]
        own = [np.stack([np.interp(p, steps, c) for c in tone.T], axis=-1) for p in self.palm]
        sheets = [self._difference(log - t, kept) for log, t, kept in zip(logs, own, self.kept)]
        return Photograph(float(np.exp(tone[0]).mean()), *sheets)

    def _difference(self, log: Float[ndarray, "s s 3"], kept: ndarray) -> Float[ndarray, "s s 3"]:
        """Differences to the skin's tone made more even, and fading toward the arm."""
        share = cv2.GaussianBlur(kept.astype(np.float32), (0, 0), EVEN_TEXELS)[..., None]
        wide = cv2.GaussianBlur(np.where(kept[..., None], log, 0.0), (0, 0), EVEN_TEXELS)
        log = self.fade * (log - EVEN * wide / np.maximum(share, 0.05))
        return np.clip(log, LEAST, MOST).astype(np.float32)
