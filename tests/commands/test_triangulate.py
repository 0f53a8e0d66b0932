"""`tempohand triangulate`: calibrations of OpenCV and caliscope, views that are predictions, and joints that
`tempohand hand fit` reads."""

import json

import cv2
import numpy as np
import pytest
from export_support import moving_hands, write_predictions

from tempohand import cli
from tempohand.commands.calibrations import read_cameras

LENS = [-0.2, 0.05, 0.001, -0.002, 0.0]


def cameras():
    """name -> (K, dist, R, t in metres): two cameras a hand's length from each other, looking the same
    way."""
    found = {}
    for number, (name, turn) in enumerate((("left", -0.25), ("right", 0.3))):
        matrix = np.array([[800.0 + 50 * number, 0, 320], [0, 805.0, 240], [0, 0, 1]])
        rotation = cv2.Rodrigues(np.array([0.02, turn, -0.01]))[0]
        place = rotation @ np.array([0.15 - 0.3 * number, 0.0, 0.0])
        found[name] = matrix, np.array(LENS), rotation, place
    return found


def write_json(path):
    content = {
        name: {"K": k.tolist(), "dist": d.tolist(), "R": r.tolist(), "t": t.tolist()}
        for name, (k, d, r, t) in cameras().items()
    }
    path.write_text(json.dumps(content))


def write_opencv(path):
    """By OpenCV's own writer, matrices and a column of t."""
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, (k, d, r, t) in cameras().items():
        file.startWriteStruct(name, cv2.FileNode_MAP)
        for key, value in (("camera_matrix", k), ("distortion_coefficients", d), ("R", r), ("T", t[:, None])):
            file.write(key, value)
        file.endWriteStruct()
    file.release()


def write_caliscope(path):
    """As its persistence.py writes camera_array.toml: rotation vectors."""
    lines = []
    for number, (k, d, r, t) in enumerate(cameras().values()):
        vector = cv2.Rodrigues(r)[0][:, 0]
        lines += [f"[cameras.{number}]", f"cam_id = {number}", "size = [640, 480]", "rotation_count = 0"]
        lines += ["error = 0.3", f"matrix = {k.tolist()}", f"distortions = {d.tolist()}"]
        lines += [f"translation = {t.tolist()}", f"rotation = {vector.tolist()}", "fisheye = false", ""]
    path.write_text("\n".join(lines))


def write_aniposelib(path):
    lines = []
    for number, (k, d, r, t) in enumerate(cameras().values()):
        vector = cv2.Rodrigues(r)[0][:, 0]
        lines += [f"[cam_{number}]", f'name = "cam_{number}"', "size = [640, 480]", f"matrix = {k.tolist()}"]
        lines += [f"distortions = {d.tolist()}", f"rotation = {vector.tolist()}"]
        lines += [f"translation = {t.tolist()}", ""]
    path.write_text("\n".join([*lines, "[metadata]", "adjusted = false", "error = 0.0"]))


FORMATS = {
    "rig.json": (write_json, ("left", "right")),
    "rig.yml": (write_opencv, ("left", "right")),
    "rig.yaml": (write_opencv, ("left", "right")),
    "camera_array.toml": (write_caliscope, ("0", "cam_1")),
    "calibration.toml": (write_aniposelib, ("cam_0", "1")),
}


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """Predictions of both cameras, and the true joints: hands before the rig."""
    monkeypatch.chdir(tmp_path)
    truth = moving_hands()
    joints = truth["joints"].astype(float)
    for name, (k, d, r, t) in cameras().items():
        pixels, _ = cv2.projectPoints(joints.reshape(-1, 1, 3), cv2.Rodrigues(r)[0], t * 1000, k, d)
        shown = truth | {"joints2d": pixels.reshape(-1, 21, 2).astype(np.float32)}
        write_predictions(tmp_path / f"{name}.npz", shown)
    return truth


def triangulated(calibration, names, *more):
    views = [f"{name}={file}.npz" for name, file in zip(names, ("left", "right"))]
    cli.main(["triangulate", calibration, *views, "--out", "joints.npz", *more])
    return dict(np.load("joints.npz"))


@pytest.mark.parametrize("name", FORMATS)
def test_every_calibration_gives_the_joints_in_space(rig, tmp_path, capsys, name):
    write, names = FORMATS[name]
    write(tmp_path / name)
    found = triangulated(name, names)
    key = np.lexsort((rig["is_right"], rig["frame"]))
    np.testing.assert_allclose(found["joints"], rig["joints"][key], atol=0.05)
    np.testing.assert_array_equal(found["frame"], rig["frame"][key])
    np.testing.assert_array_equal(found["is_right"], rig["is_right"][key])
    assert found["mask"].all() and found["used"].all() and found["reprojection"].max() < 0.05
    said = capsys.readouterr().out
    assert "left out" in said and "wrote joints.npz" in said


def test_hand_fit_reads_what_it_writes(rig, tmp_path):
    write_json(tmp_path / "rig.json")
    triangulated("rig.json", ("left", "right"))
    cli.main(["hand", "fit", "joints.npz", "fitted.npz", "--one-shape"])
    fitted = dict(np.load("fitted.npz"))
    assert fitted["converged"].all() and np.nanmax(fitted["residual"]) < 3


def test_units_and_names_that_do_not_fit_are_one_line(rig, tmp_path, capsys):
    write_json(tmp_path / "rig.json")
    for arguments, message in (
        (["rig.json", "left=left.npz", "right=right.npz", "--unit", "mm"], "did you mean --unit m?"),
        (["rig.json", "left=left.npz", "middle=right.npz"], "has no camera 'middle', it has: left, right"),
        (["rig.json", "left.npz", "right=right.npz"], "'left.npz' is no view: write CAMERA=FILE"),
        (["rig.json", "left=left.npz"], "needs two views or more, not 1"),
        (
            ["rig.json", "left=left.npz", "right=right.npz", "--outlier", "0"],
            "--outlier is a positive number",
        ),
        (["gone.json", "left=left.npz", "right=right.npz"], "there is no calibration 'gone.json'"),
        (["rig.json", "left=gone.npz", "right=right.npz"], "no file 'gone.npz'"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["triangulate", *arguments, "--out", "none.npz"])
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert not (tmp_path / "none.npz").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.toml", "[cameras", "cannot be read"),
        ("a.yaml", "3", "holds no cameras by name"),
        ("a.xml", "<a/>", "calibrations are read from"),
        ("a.json", '{"left": {"size": [1, 2]}}', "holds no camera: each has a name"),
        ("a.json", '{"left": {"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}', "camera left has no R and no t"),
        ("a.json", '{"left": {"K": [1, 2], "R": [0, 0, 0], "t": [0, 0, 0]}}', "camera left: cannot reshape"),
        ("a.json", '{"left": {"K": "x", "R": [0, 0, 0], "t": [0, 0, 0]}}', "camera left: could not convert"),
    ],
)
def test_a_calibration_that_is_none_is_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_cameras(tmp_path / name, 1.0)
    assert "\n" not in str(caught.value)


def test_views_that_do_not_belong_together_are_one_line(rig, tmp_path, capsys):
    write_json(tmp_path / "rig.json")
    pixels = np.zeros((2, 21, 2))
    cases = {
        "has two right hands": {"joints2d": pixels, "frame": [3, 3]},
        "has no 'joints2d', but joints": {"joints": np.zeros((1, 21, 3))},
        "shape [2, 20, 2]; expected [N, 21, 2]": {"joints2d": pixels[:, :20]},
        "are they numbered alike": {"joints2d": pixels, "frame": [900, 901]},
    }
    for message, content in cases.items():
        np.savez(tmp_path / "odd.npz", **content)
        with pytest.raises(SystemExit):
            cli.main(["triangulate", "rig.json", "left=left.npz", "right=odd.npz", "--out", "none.npz"])
        assert message in capsys.readouterr().err
