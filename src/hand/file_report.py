"""What a hand model file is, in words, and whether the hand layer makes a hand of it."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tempohand.geometry import bone_lengths
from tempohand.hand.files import read_hand_file, read_tables
from tempohand.hand.layer import HandLayer
from tempohand.hand.tables import HandTables, mirrored, shapedirs_form
from tempohand.skeleton import FINGERS, JOINT_NAMES, NUM_BETAS, NUM_MANO_JOINTS, WRIST

REST_TOLERANCE_M = 1e-5
BONE_RANGE_MM = (5.0, 150.0)  # any person's, with room; a file in other units is far outside
SHAPEDIRS = {
    "right fixed": "a right hand's",
    "right unfixed": "a right hand's, but their size direction disagrees with the template in x",
    "left fixed": "fixed: a left hand's",
    "left unfixed": (
        "unfixed: a right hand's in x, as in the official MANO_LEFT.pkl (read as left_shapedirs says)"
    ),
}
OPEN_LICENCE = "CC0: the open hand"
OTHER_LICENCE = (
    "not the open hand; official MANO files are licensed by MPI for non-commercial research, and not to be "
    "shipped"
)


def report(path: Path) -> dict[str, str]:
    """Facts about a hand model file by name, in the order of printing. Raises ValueError when it is no hand
    model, or when at rest the hand layer does not give its template (to 1e-5 m, relative to the wrist),
    finite joints and bones of a hand's length."""
    tables = read_tables(path)
    joints, error_m = rest_pose(path, tables)
    length = np.linalg.norm(joints[JOINT_NAMES.index("middle_tip")] - joints[WRIST])
    angle = np.degrees(np.linalg.norm(tables.hands_mean.reshape(-1, 3), axis=1).max())
    rows = bone_lengths(joints).reshape(len(FINGERS), -1)
    bones = [" ".join([finger, *(f"{bone:.0f}" for bone in row)]) for finger, row in zip(FINGERS, rows)]
    vertices, joint_count = tables.weights.shape
    return {
        "file": str(path),
        "side": tables.side,
        "mesh": f"{vertices} vertices, {len(tables.faces)} faces, {joint_count} joints",
        "shape directions": str(tables.shapedirs.shape[-1]),
        "left shapedirs": SHAPEDIRS[f"{tables.side} {shapedirs_form(tables)}"],
        "PCA components": str(len(tables.hands_components)),
        "mean pose": f"not zero: up to {angle:.0f} degrees" if angle > 0 else "zero",
        "hand length": f"{length:.1f} mm, wrist to middle fingertip, mean shape",
        "bone lengths": "; ".join(bones) + " mm",
        "rest pose": f"the template, to {error_m:.0e} m",
        "licence": OPEN_LICENCE if is_open_hand(tables) else OTHER_LICENCE,
    }


def rest_pose(path: Path, tables: HandTables) -> tuple[Float[np.ndarray, "21 3"], float]:
    """The hand layer's joints at rest, mm, relative to the wrist, and how far its vertices lie from the
    template, metres. Raises as `report`."""
    output = HandLayer(path)(torch.eye(3).expand(NUM_MANO_JOINTS, 3, 3), torch.zeros(NUM_BETAS))
    joints, vertices = output.joints.numpy().astype(np.float64), output.vertices.numpy() / 1000
    template = tables.v_template - tables.joint_regressor[0] @ tables.v_template
    error_m = float(np.abs(vertices - template).max())
    if not error_m < REST_TOLERANCE_M:
        raise ValueError(
            f"{path}: at rest the hand layer's vertices are {error_m:.1e} m from the template; at most "
            f"{REST_TOLERANCE_M:.0e} is right"
        )
    low, high = BONE_RANGE_MM
    for finger, bones in zip(FINGERS, bone_lengths(joints).reshape(len(FINGERS), -1)):
        if not all(low < bone < high for bone in bones):
            lengths = " ".join(f"{bone:.3g}" for bone in bones)
            raise ValueError(
                f"{path}: the {finger}'s bones are {lengths} mm long; a hand's have {low:.0f} to "
                f"{high:.0f} mm (tables are in metres)"
            )
    return joints, error_m


def is_open_hand(tables: HandTables) -> bool:
    """Whether a hand is the open hand, or its mirror image."""
    right = mirrored(tables) if tables.side == "left" else tables
    return np.array_equal(right.v_template, read_hand_file().v_template)
