"""The tables of a hand model: what they must look like, their mirror image, and the two forms that left hands
come in.

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
# The one tree there is, as files hold it: parents and joints. The root's parent is stored as -1 or, in
# unsigned numbers, as 2**32 - 1.
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
        """The tables under the names and in the types that files hold: float32, vertex and joint ids as
        uint32."""
        renamed = {
            "f": self.faces.astype(np.uint32),
            "J_regressor": self.joint_regressor,
            "kintree_table": KINTREE_TABLE,
        }
        return {key: renamed[key] if key in renamed else getattr(self, key) for key in SHAPES}


def checked_tables(raw: Mapping[str, np.ndarray], *, side: Side, source: str) -> HandTables:
    """Tables from a file's arrays, as float32 and int64.

    raw: arrays of numbers under the names of `SHAPES`, others ignored. source: what an error's line begins
    with, the file's path. Raises ValueError for a table that is missing, has another shape (both are named),
    holds something else than finite numbers, or describes another tree than MANO's or faces of vertices that
    do not exist.
    """
    tables = {}
    for key, shape in SHAPES.items():
        if key not in raw:
            raise ValueError(f"{source}: table {key!r} is missing; a hand model has {', '.join(SHAPES)}")
        table = raw[key]
        if table.dtype.kind not in "fiu":
            raise ValueError(
                f"{source}: table {key!r} cannot be read as an array of numbers (it holds {table.dtype})"
            )
        if table.shape != shape:
            raise ValueError(
                f"{source}: table {key!r} has shape {list(table.shape)}, a hand model's has {list(shape)}"
            )
        with np.errstate(
            all="ignore"
        ):  # what does not fit becomes infinite, or an id out of range, and is refused below
            tables[key] = np.array(table, dtype=np.int64 if key in INTEGER_TABLES else np.float32, order="C")
        if not np.isfinite(tables[key]).all():
            raise ValueError(f"{source}: table {key!r} holds values that are not finite")
    if tuple(tables["kintree_table"][0, 1:]) != MANO_PARENTS[1:]:
        raise ValueError(
            f"{source}: table 'kintree_table' has another tree than MANO's: "
            f"{tables['kintree_table'][0].tolist()}"
        )
    if tables["f"].min() < 0 or tables["f"].max() >= NUM_VERTICES:
        raise ValueError(f"{source}: table 'f' names vertices outside 0..{NUM_VERTICES - 1}")
    return HandTables(
        side=side,
        faces=tables["f"],
        joint_regressor=tables["J_regressor"],
        **{
            key: tables[key]
            for key in ("v_template", "shapedirs", "posedirs", "weights", "hands_mean", "hands_components")
        },
    )


def mirrored(tables: HandTables) -> HandTables:
    """The mirror image of a hand, x -> -x: a right hand of a left one and the other way round. Twice is the
    identity, bit for bit.

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
    """Whether the shape directions belong to the template ("fixed") or are a right hand's in x ("unfixed", as
    in the official MANO_LEFT.pkl).

    The first direction is size, so along every axis it grows with the template's coordinate, or shrinks with
    it along all three. In an unfixed table it shrinks a hand's length (x) while it widens and thickens it.
    """
    places = tables.v_template.astype(np.float64)
    growth = ((places - places.mean(0)) * tables.shapedirs[:, :, 0]).sum(0)
    return "fixed" if growth[0] * (growth[1] + growth[2]) >= 0 else "unfixed"


def with_left_shapedirs(tables: HandTables, form: LeftShapedirs) -> HandTables:
    """A left hand with its shape directions in the form asked for: the x rows negated where it comes in the
    other. A right hand as it is."""
    if tables.side == "right" or shapedirs_form(tables) == form:
        return tables
    return replace(tables, shapedirs=tables.shapedirs * _MIRROR[:, None])
