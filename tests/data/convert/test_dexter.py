"""Dexter+Object and EgoDexter: folders of their own formats, made of the open hand, come back as fingertips
in the colour camera's space."""

import json

import numpy as np
import pytest
from convert_support import assert_shows, convert_here, picture, recordings, rows, true_hand, write_picture

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

TIPS = [4, 8, 12, 16, 20]
FRAMES = 3
# name -> sequence, colour K, depth K, X_colour = R X_depth + t, signs of the file's x, y, z, what is unknown
# in 3D and in 2D
SETS = {
    "dexter_object": (
        "Occlusion",
        np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]]),
        np.array([[224.502, 0, 160], [0, 230.494, 120], [0, 0, 1]]),
        np.array(
            [
                [0.9999, 0.0034, 0.0161, 19.0473],
                [-0.0033, 1.0, -0.0079, -1.8514],
                [-0.0162, 0.0079, 0.9998, -4.7501],
            ]
        ),
        np.array([-1.0, -1.0, 1.0]),
        "0, 0, 32001",
        "0, 0",
    ),
    "egodexter": (
        "Kitchen",
        np.array([[617.173, 0, 315.453], [0, 617.173, 242.259], [0, 0, 1]]),
        np.array([[475.62, 0, 311.125], [0, 475.62, 245.965], [0, 0, 1]]),
        np.array(
            [
                [1.0, 0.00090442, -0.0074, 20.2365],
                [-0.00071933, 0.9997, 0.0248, 1.2846],
                [0.0075, -0.0248, 0.9997, 5.7360],
            ]
        ),
        np.array([1.0, 1.0, 1.0]),
        "0, 0, 0",
        "-1, -1",
    ),
}


@pytest.fixture(params=SETS)
def folder(request, tmp_path):
    """Three frames of a sequence; in the second the ring finger's tip is unknown, in the third all are."""
    sequence, colour, depth, motion, signs, unknown3d, unknown2d = SETS[request.param]
    root = tmp_path / request.param
    hands = [true_hand(frame, is_right=False, wrist=(0, 30, 450)) for frame in range(FRAMES)]
    lines2d, lines3d = [], []
    for frame, hand in enumerate(hands):
        write_picture(
            root / f"data/{sequence}/color/image_{frame:05d}.png", picture([hand], colour, 640, 480)
        )
        tips = np.linalg.solve(motion[:, :3], (hand.joints[TIPS] - motion[:, 3]).T).T
        pixels = tips @ depth.T
        known = [frame != 2 and (frame, tip) != (1, 3) for tip in range(5)]
        lines3d.append(
            "; ".join(
                ", ".join(f"{x:.4f}" for x in tip * signs) if ok else unknown3d
                for tip, ok in zip(tips, known)
            )
            + ";"
        )
        lines2d.append(
            "; ".join(
                f"{u / z:.2f}, {v / z:.2f}" if ok else unknown2d for (u, v, z), ok in zip(pixels, known)
            )
            + ";"
        )
    at = root / "data" / sequence
    names = (at / "annotation.txt", at / "annotation.txt_3D.txt")
    if request.param == "dexter_object":
        (at / "annotations").mkdir()
        names = (at / f"annotations/{sequence}2D.txt", at / f"annotations/{sequence}3D.txt")
    for path, lines in zip(names, (lines2d, lines3d)):
        path.write_text("\n".join(lines) + "\n")
    return request.param, root, sequence, colour, hands, names


def test_fingertips_come_in_the_colour_cameras_space(folder, tmp_path):
    name, root, sequence, colour, hands, _ = folder
    table = convert_here(name, root, tmp_path / "table", storage=Storage(crop=False))
    found = rows(table, "test")
    assert sorted(found) == [(f"{sequence}/left", 0), (f"{sequence}/left", 1)]
    assert recordings(table, "test") == {sequence: {f"{sequence}/left"}}
    for (_, frame), row in found.items():
        known = TIPS if frame == 0 else [4, 8, 12, 20]
        assert (
            not row["is_right"]
            and not row["has_hand"]
            and row["has_camera"]
            and row["time"] == pytest.approx(frame / 30)
        )
        assert (
            np.flatnonzero(row["joints_mask"]).tolist()
            == np.flatnonzero(row["joints2d_mask"]).tolist()
            == known
        )
        np.testing.assert_allclose(row["joints"][known], hands[frame].joints[known], atol=0.1)
        np.testing.assert_allclose(row["joints2d"][known], hands[frame].project(colour)[known], atol=0.1)
        low, high = row["box"][:2], row["box"][2:]
        assert high[0] - low[0] == pytest.approx(high[1] - low[1], rel=1e-4) and 200 < high[0] - low[0] < 350
        assert (low < hands[frame].project(colour)[known].min(0)).all() and (
            high > hands[frame].project(colour)[known].max(0)
        ).all()
        assert_shows(row | {"joints2d": hands[frame].project(colour)}, hands[frame])
    listed = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    assert [(one["number"], one["reason"]) for one in listed] == [(2, "no annotation")]


def test_axes_that_are_not_the_pictures_are_refused(folder, tmp_path):
    name, root, *_, (_, path3d) = folder
    lines = path3d.read_text().splitlines()
    flipped = [
        "; ".join(
            ",".join(f"{-float(x)}" if axis == 0 else x for axis, x in enumerate(tip.split(",")))
            for tip in line.split(";")[:5]
        )
        for line in lines
    ]
    path3d.write_text("\n".join(f"{line};" for line in flipped))
    with pytest.raises(ValueError, match="nothing of .* could be used.*2D and 3D tips disagree"):
        convert_here(name, root, tmp_path / "table")


def test_damaged_pictures_cost_themselves_and_damaged_labels_their_sequence(folder, tmp_path):
    name, root, sequence, *_, (path2d, path3d) = folder
    image = root / f"data/{sequence}/color/image_00000.png"
    image.write_bytes(image.read_bytes()[:2000])
    table = convert_here(name, root, tmp_path / "table")
    assert (
        sorted(rows(table, "test")) == [(f"{sequence}/left", 1)]
        and read_index(table)["about"]["rejected"]["picture damaged"] == 1
    )
    lines = path3d.read_text().splitlines()
    for content, message in (
        (lines[:2], "3 pictures, 3 lines of 2D and 2 of 3D"),
        (["1, 2; 3"] * 3, "damaged annotation"),
    ):
        path3d.write_text("\n".join(content))
        with pytest.raises(ValueError, match=message):
            convert_here(name, root, tmp_path / "again")
    path2d.unlink()
    with pytest.raises(ValueError, match="file missing"):
        convert_here(name, root, tmp_path / "again")


def test_other_folders_are_refused_in_one_line(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="unpack (Dexter.Object|EgoDexter) there"):
        convert_here(folder[0], tmp_path, tmp_path / "table")
