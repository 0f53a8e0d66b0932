"""A hand model's tables: their shapes, their mirror image, and the two forms of left hands.

Names and sizes are MANO's (Romero, Tzionas and Black, "Embodied Hands", 2017).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from tempohand.skeleton import MANO_PARENTS, NUM_BETAS, NUM_FACES, NUM_MANO_JOINTS, NUM_VERTICES, POSE_DIM

Side = Literal["right", "left"]
LeftShapedirs = Literal["fixed", "unfixed"]

HAND_POSE_DIM = POSE_DIM - 3
SHAPES = {
    "v_template": (NUM_VERTICES, 3),
    "f": (NUM_FACES, 3),
    "shapedirs": (NUM_VERTICES, 3, NUM_BETAS),
    "posedirs": (NUM_VERTICES, 3, 9 * (NUM_MANO_JOINTS - 1)),
    "J_regressor": (NUM_MANO_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_MANO_JOINTS),
    "kintree_table": (2, NUM_MANO_JOINTS),
    "hands_mean": (HAND_POSE_DIM,),
    "hands_components": (HAND_POSE_DIM, HAND_POSE_DIM),
}
# MANO's tree as files hold it: parents and joints; the root's parent is -1 or, unsigned, 2**32 - 1.
KINTREE_TABLE = np.array([MANO_PARENTS, range(NUM_MANO_JOINTS)], dtype=np.int64).astype(np.uint32)
INTEGER_TABLES = ("f", "kintree_table")

_MIRROR = np.array([-1, 1, 1], dtype=np.float32)  # of a point: x -> -x
_MIRROR_ROTVEC = np.array([1, -1, -1], dtype=np.float32)  # of a rotation, an axial vector


@dataclass(frozen=True)
class HandTables:
    """The tables of one hand model, in metres, in the model's rest frame. Joints in MANO's order of 16."""

    side: Side
    v_template: Float[np.ndarray, "778 3"]
    faces: Int[np.ndarray, "1538 3"]
    shapedirs: Float[np.ndarray, "778 3 10"]
    posedirs: Float[np.ndarray, "778 3 135"]
    joint_regressor: Float[np.ndarray, "16 778"]
    weights: Float[np.ndarray, "778 16"]
    hands_mean: Float[np.ndarray, "45"]
    hands_components: Float[np.ndarray, "45 45"]

    def as_file(self) -> dict[str, np.ndarray]:
        """The tables under the names and in the types of files: float32, vertex and joint ids uint32."""
        faces = self.faces.astype(np.uint32)
        renamed = {"f": faces, "J_regressor": self.joint_regressor, "kintree_table": KINTREE_TABLE}
        return {key: renamed[key] if key in renamed else getattr(self, key) for key in SHAPES}


def checked_tables(raw: Mapping[str, np.ndarray], *, side: Side, source: str) -> HandTables:
    """Tables, as float32 and int64, from a file's arrays under the names of `SHAPES`. source: the file's
    path, for errors. Raises ValueError for a table that is missing, has another shape (both are named), holds
    anything but finite numbers, another tree than MANO's, or faces of vertices that do not exist."""
    tables = {}
    for key, shape in SHAPES.items():
        if key not in raw:
            raise ValueError(f"{source}: table {key!r} is missing; a hand model has {', '.join(SHAPES)}")
        table = raw[key]
        where = f"{source}: table {key!r}"
        if table.dtype.kind not in "fiu":
            raise ValueError(f"{where} cannot be read as an array of numbers (it holds {table.dtype})")
        if table.shape != shape:
            raise ValueError(f"{where} has shape {list(table.shape)}, a hand model's has {list(shape)}")
        # What does not fit becomes infinite, or an id out of range, and is refused below.
        with np.errstate(all="ignore"):
            tables[key] = np.array(table, dtype=np.int64 if key in INTEGER_TABLES else np.float32, order="C")
        if not np.isfinite(tables[key]).all():
            raise ValueError(f"{where} holds values that are not finite")
    parents, faces = tables.pop("kintree_table")[0], tables.pop("f")
    if tuple(parents[1:]) != MANO_PARENTS[1:]:
        found = parents.tolist()
        raise ValueError(f"{source}: table 'kintree_table' has another tree than MANO's: {found}")
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise ValueError(f"{source}: table 'f' names vertices outside 0..{NUM_VERTICES - 1}")
    return HandTables(side=side, faces=faces, joint_regressor=tables.pop("J_regressor"), **tables)


def mirrored(tables: HandTables) -> HandTables:
    """The mirror image of a hand, x -> -x, of the other side; twice is the identity, bit for bit.

    With M = diag(-1, 1, 1), a hand posed by rotations R is the mirror image of its mirrored tables posed by M
    R M, that is by axis-angle (x, -y, -z), with the same shape coefficients. The pose directions multiply the
    entries of R - I, row by row, so each sign is the product of the offset's, the row's and the column's.
    """
    entries = np.tile(np.outer(_MIRROR, _MIRROR).ravel(), NUM_MANO_JOINTS - 1)
    turns = np.tile(_MIRROR_ROTVEC, NUM_MANO_JOINTS - 1)
    return replace(
        tables,
        side="right" if tables.side == "left" else "left",
        v_template=tables.v_template * _MIRROR,
        faces=np.ascontiguousarray(tables.faces[:, [0, 2, 1]]),
        shapedirs=tables.shapedirs * _MIRROR[:, None],
        posedirs=tables.posedirs * (_MIRROR[:, None] * entries),
        hands_mean=tables.hands_mean * turns,
        hands_components=tables.hands_components * turns,
    )


def shapedirs_form(tables: HandTables) -> LeftShapedirs:
    """Whether the shape directions fit the template ("fixed") or are a right hand's in x ("unfixed", as in
    the official MANO_LEFT.pkl), where the first, size, shrinks a hand's length while it widens it."""
    places = tables.v_template.astype(np.float64)
    growth = ((places - places.mean(0)) * tables.shapedirs[:, :, 0]).sum(0)
    return "fixed" if growth[0] * (growth[1] + growth[2]) >= 0 else "unfixed"


def with_left_shapedirs(tables: HandTables, form: LeftShapedirs) -> HandTables:
    """A left hand with its shape directions in `form`: the x rows negated if need be. A right hand as is."""
    if tables.side == "right" or shapedirs_form(tables) == form:
        return tables
    return replace(tables, shapedirs=tables.shapedirs * _MIRROR[:, None])
