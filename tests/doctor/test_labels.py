"""Planted mistakes of conversions, in tables on disk: each is named, in the checks that it breaks, with its
remedy; others stay ok."""

import numpy as np
import pytest
import torch

from tempohand.data.consistency import HandModels
from tempohand.data.table import FrameTable
from tempohand.doctor.labels import check_labels
from tempohand.geometry import mirror_pose, rotate_pose
from tempohand.skeleton import MANO21_TO_OP

HANDS = HandModels()
OPENGL = np.array([1, -1, -1], np.float32)
TO_MANO = np.argsort(MANO21_TO_OP)
RING_AND_PINKY = [*range(13), 17, 18, 19, 20, 13, 14, 15, 16]


def layer(row):
    return HANDS.right if row["is_right"] else HANDS.left


def tensor(value):
    return torch.from_numpy(np.asarray(value, np.float32))


def millimetres_to(factor, *names):
    return lambda row: {name: row[name] * factor for name in names}


def opengl(row):
    turned = rotate_pose(torch.diag(tensor(OPENGL)), tensor(row["pose"])).numpy()
    return {"joints": row["joints"] * OPENGL, "trans": row["trans"] * OPENGL, "pose": turned}


def in_pca(row):
    return {"pose": torch.cat(layer(row).pose_to_pca(tensor(row["pose"]))).numpy()}


def swapped_size(row):
    return {"joints2d": row["joints2d"] * size_of(row)[::-1] / size_of(row)}


def unmirrored(row):
    return {"pose": row["pose"] if row["is_right"] else mirror_pose(tensor(row["pose"])).numpy()}


def transl(row):
    return {"trans": layer(row).wrist_to_transl(tensor(row["trans"]), tensor(row["shape"])).numpy()}


def turned(row):
    return {"pose": np.concatenate([row["pose"][:3] + [1, 0, 1], row["pose"][3:]])}


def gathered(gather, *names):
    return lambda row: {name: row[name][gather] for name in names}


def size_and_corner(row):
    return {"box": np.concatenate([row["box"][:2], row["box"][2:] - row["box"][:2]])}


def size_of(row):
    return np.array([row["width"], row["height"]], np.float32)


BEFORE, BONES, REPROJECTION = "joints lie before the camera", "3D bone lengths", "2D = projection of 3D"
WRIST, POSE, ORDER, BOX = (
    "trans is the wrist",
    "pose and shape give the joints",
    "joint order",
    "box around the 2D joints",
)
# name -> mistake, checks that FAILED (and no others), what the cause says, what the remedy says
PLANTED = {
    "metres": (millimetres_to(1e-3, "joints", "trans"),
               {BEFORE, BONES, POSE}, "joints and trans in metres", "multiply joints and trans by 1000"),
    "joints in metres": (millimetres_to(1e-3, "joints"),
                         {BEFORE, BONES, WRIST, POSE}, "joints in metres", "multiply joints by 1000"),
    "centimetres": (millimetres_to(0.1, "joints", "trans"), {BONES, POSE}, "in centimetres", "by 10 "),
    "centred already": (lambda row: {"joints": row["joints"] - row["trans"]},
                        {BEFORE, REPROJECTION, WRIST}, "centred already", "add trans"),
    "centred twice": (lambda row: {"joints": row["joints"] - 2 * row["trans"]},
                      {BEFORE, REPROJECTION, WRIST}, "subtracted twice", "add 2 trans"),
    "centred on a knuckle": (lambda row: {"joints": row["joints"] - row["joints"][9]},
                             {BEFORE, REPROJECTION, WRIST}, "another joint than", "camera"),
    "OpenGL": (opengl, {BEFORE, REPROJECTION}, "joints, trans and pose in OpenGL axes", "diag(1, -1, -1)"),
    "OpenGL joints": (lambda row: {"joints": row["joints"] * OPENGL},
                      {BEFORE, REPROJECTION, WRIST, POSE}, "joints in OpenGL axes", "diag(1, -1"),
    "MANO's order": (gathered(TO_MANO, "joints", "joints2d"),
                     {POSE, ORDER}, "MANO's 16 joints", "[0, 13, 14, 15"),
    "MANO's order in 3D": (gathered(TO_MANO, "joints"),
                           {REPROJECTION, POSE, ORDER}, "joints in another order", "[0, 13, 14"),
    "MANO's order in 2D": (gathered(TO_MANO, "joints2d"),
                           {REPROJECTION}, "joints2d in another order", "[0, 13, 14"),
    "an order of its own": (gathered(RING_AND_PINKY, "joints", "joints2d"),
                            {POSE}, "ring_1 at pinky_1's", "gather"),
    "unmirrored pose": (unmirrored, {POSE}, "unmirrored", "-y, -z"),
    "sides exchanged": (lambda row: {"is_right": not row["is_right"]},
                        {POSE}, "sides exchanged", "invert is_right"),
    "mean missing": (lambda row: {"pose": layer(row).subtract_mean(tensor(row["pose"])).numpy()},
                     {POSE}, "PCA and mean mixed up", "add_mean"),
    "mean twice": (lambda row: {"pose": layer(row).add_mean(tensor(row["pose"])).numpy()},
                   {POSE}, "PCA and mean mixed up", "subtract_mean"),
    "PCA coefficients": (in_pca, {POSE}, "PCA coefficients in place of axis-angle", "pca_to_pose"),
    "MANO's transl": (transl, {WRIST}, "transl", "transl_to_wrist"),
    "2D as row and column": (lambda row: {"joints2d": row["joints2d"][:, ::-1]},
                             {REPROJECTION}, "(row, column)", "(u, v)"),
    "2D normalised": (lambda row: {"joints2d": row["joints2d"] / size_of(row) - 0.5},
                      {REPROJECTION, BOX}, "normalised to [-0.5, 0.5]", "(W, H)"),
    "2D with W and H swapped": (swapped_size, {REPROJECTION}, "width and height exchanged", "W / H"),
    "2D mirrored": (lambda row: {"joints2d": [row["width"] - 1, 0] + row["joints2d"] * [-1, 1]},
                    {REPROJECTION}, "2D joints mirrored", "W - 1 - u"),
    "picture resized": (millimetres_to(2.0, "focal", "princpt"),
                        {REPROJECTION}, "2 times as large", "by 0.5"),
    "centre x and y swapped": (lambda row: {"princpt": row["princpt"][::-1]},
                               {REPROJECTION}, "princpt with x and y swapped", "(x, y)"),
    "crop without its centre": (lambda row: {"princpt": row["princpt"] + 10 + row["trans"][:2] / 10},
                                {REPROJECTION}, "principal point", "corner"),
    "orientation in other axes": (turned, {POSE}, "global orientation", "R R_root"),
    "boxes as corner and size": (size_and_corner, {BOX}, "width, height", "xyxy"),
    "another hand model": (lambda row: {"shape": row["shape"] + 4},
                           {POSE}, "another hand model", "network.hand"),
}  # fmt: skip


def examine(root):
    table = FrameTable(root, "train")
    rows = np.arange(len(table))
    return {
        result.check: result
        for result in check_labels(table.labels(rows), table.column("source")[rows].astype(str), HANDS)
    }


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_named(planted, name):
    mistake, breaks, cause, remedy = PLANTED[name]
    results = examine(planted(mistake, every=4))
    failed = {check for check, result in results.items() if result.verdict == "FAILED"}
    # A mistake may push single rows over other bounds as well; those named must fail, and each says why.
    assert breaks <= failed, failed
    told = " ".join(results[check].cause for check in failed)
    assert cause in told and remedy in told, told
    explained = failed - {ORDER}
    assert all(cause in results[check].cause for check in explained), [
        results[check].cause for check in explained
    ]


def test_the_film_has_both_sides_and_no_fault(film_root):
    assert set(FrameTable(film_root, "train").column("is_right")) == {True, False}
    assert all(result.verdict == "ok" and not result.cause for result in examine(film_root).values())


def test_one_source_of_several_is_named(planted):
    change = {"source": "second", "joints": None}
    root = planted(
        lambda row: {**change, "joints": row["joints"] / 1000} if row["sequence"].endswith("3") else {}
    )
    cause = examine(root)[BONES].cause
    assert "Source 'second': 100 %" in cause and "metres" in cause


def test_a_mistake_is_named_where_only_some_rows_have_what_shows_it(planted):
    """Half of the rows have no camera and a third no hand parameters."""
    root = planted(
        lambda row: {**opengl(row), "has_camera": row["frame"] % 2 == 0, "has_hand": row["frame"] % 3 > 0}
    )
    results = examine(root)
    assert "OpenGL axes" in results[BEFORE].cause and "OpenGL axes" in results[REPROJECTION].cause


def test_single_bad_rows_are_a_warning(planted):
    root = planted(
        lambda row: (
            {"joints": row["joints"] + [0, 0, 1] * np.arange(21)[:, None] * 50}
            if (row["sequence"][-1], row["frame"]) == ("2", 4)
            else {}
        )
    )
    results = examine(root)
    assert results[BONES].verdict == "warning" and "check-data" in results[BONES].cause


def test_without_hand_parameters_the_order_shows_in_the_bones(planted):
    root = planted(
        lambda row: {
            "joints": row["joints"][TO_MANO],
            "joints2d": row["joints2d"][TO_MANO],
            "has_hand": False,
        }
    )
    results = examine(root)
    assert results[POSE].value == "not known in any row"
    assert results[ORDER].verdict == "FAILED" and "MANO's 16 joints" in results[ORDER].cause


def test_labels_without_3d_are_no_alarm(planted):
    nothing = {
        "joints_mask": np.zeros(21, bool),
        "joints": np.full((21, 3), np.nan),
        "has_hand": False,
        "has_camera": False,
    }
    results = examine(planted(lambda row: nothing))
    assert all(result.verdict == "ok" for result in results.values())
