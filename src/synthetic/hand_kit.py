"""The hand model of synthetic scenes, and what is derived from it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from tempohand.hand.layer import HandLayer
from tempohand.hand.surface import wrist_loop
from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.atlas import HandAtlas
from tempohand.synthetic.forearm import RINGS_MM, forearm_topology
from tempohand.synthetic.skin import SkinMap


class HandKit(NamedTuple):
    """The hand model and what is derived from it once a process."""

    layer: HandLayer
    faces: Integer[ndarray, "1538 3"]
    loop: Integer[ndarray, "16"]
    forearm_faces: Integer[ndarray, "f 3"]
    skin: SkinMap
    atlas: HandAtlas

    @classmethod
    def load(cls, path: str | None = None) -> "HandKit":
        """From a hand model file; None for the open hand."""
        layer = HandLayer(path)
        faces = layer.faces.numpy().astype(np.int32)
        loop = wrist_loop(faces)
        forearm = forearm_topology(loop, NUM_VERTICES, len(RINGS_MM) + 1).astype(np.int32)
        return cls(layer, faces, loop, forearm, SkinMap.of(layer), HandAtlas.of(layer))

    @property
    def body_faces(self) -> Integer[ndarray, "f 3"]:
        """Faces of a right hand and its forearm."""
        return np.concatenate([self.faces, self.forearm_faces])
