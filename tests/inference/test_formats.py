"""Tables and joint lists that predictions are exported to, each read as its own documentation says, and what
cannot be exported."""

import csv
import importlib.util
import io
import json
import re
import sys

import numpy as np
import pytest
import smplx
import torch
from export_support import FOCAL, LEFT, SIZE, moving_hands, write_predictions
from scipy.spatial.transform import Rotation
from tests_support import noise_hand

from tempohand import cli
from tempohand.data.convert.coco_wholebody import CocoWholeBody
from tempohand.hand.anatomy import FLEXION, angles_to_pose
from tempohand.hand.files import read_hand_file, write_hand_file
from tempohand.hand.tables import mirrored
from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.formats.registry import FORMATS, export_predictions
from tempohand.skeleton import JOINT_NAMES

ROWS = 12
NEEDS = {"usd": "pxr", "robot": "dexi_rs"}  # format -> its optional package
MM = 1e-3


@pytest.fixture(scope="module")
def columns():
    return moving_hands()


@pytest.fixture(scope="module")
def path(columns, tmp_path_factory):
    return write_predictions(tmp_path_factory.mktemp("predictions") / "predictions.npz", columns)


def test_the_command_writes_every_format_beside_the_predictions(path, capsys):
    names = {"bvh": "predictions-bvh", "csv": "predictions.csv", "glb": "predictions.glb"}
    here = [name for name in FORMATS if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]
    for name in here:
        cli.main(["export", str(path), "--to", name])
        said = capsys.readouterr().out
        assert (path.parent / names.get(name, "predictions")).name in said
        assert f"(hands: 2, predictions: {ROWS})" in said
    assert not list(path.parent.glob("*.part"))
    assert len(list(path.parent.iterdir())) == 1 + len(here)


def test_csv_has_every_number_under_its_name_and_unit(path, columns):
    text = export_predictions(path, "csv").out.read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == ROWS and not any(None in row.values() for row in rows)
    for number, row in enumerate(rows):
        assert int(row["frame"]) == columns["frame"][number]
        assert row["side"] == ("right" if columns["is_right"][number] else "left")
        assert float(row["time_s"]) == pytest.approx(columns["time"][number], abs=1e-6)
        for place, joint in enumerate(JOINT_NAMES):
            joints = [float(row[f"{joint}_{axis}_mm"]) for axis in "xyz"]
            np.testing.assert_allclose(joints, columns["joints"][number, place], rtol=1e-6)
            pixels = [float(row[f"{joint}_{axis}_px"]) for axis in "uv"]
            np.testing.assert_allclose(pixels, columns["joints2d"][number, place], rtol=1e-6)
        pose = [float(row[f"pose_wrist_{axis}_rad"]) for axis in "xyz"]
        np.testing.assert_allclose(pose, columns["pose"][number, :3], rtol=1e-6)
        assert float(row["focal_y_px"]) == FOCAL[1]


def test_mediapipe_has_its_results_fields(path, columns):
    lines = export_predictions(path, "mediapipe").out.read_text().splitlines()
    results = [json.loads(line) for line in lines]
    assert [one["frame"] for one in results] == sorted(set(columns["frame"].tolist()))
    row = 0
    for one in results:
        assert len(one["hand_landmarks"]) == len(one["hand_world_landmarks"]) == len(one["handedness"])
        for number, (landmarks, side) in enumerate(zip(one["hand_landmarks"], one["handedness"])):
            points = np.array([[point[axis] for axis in "xyz"] for point in landmarks])
            world = np.array([[p[axis] for axis in "xyz"] for p in one["hand_world_landmarks"][number]])
            assert side[0]["category_name"] == ("Right" if columns["is_right"][row] else "Left")
            joints = columns["joints"][row]
            np.testing.assert_allclose(points[:, :2] * SIZE - 0.5, columns["joints2d"][row], atol=1e-3)
            np.testing.assert_allclose(world, (joints - joints.mean(0)) * MM, atol=1e-6)
            # z is as x: the same offset across the picture at the wrist's distance
            across = FOCAL[0] / joints[0, 2] * (joints[:, 2] - joints[0, 2]) / SIZE[0]
            np.testing.assert_allclose(points[:, 2], across, atol=1e-6)
            row += 1
    assert row == ROWS


def test_coco_is_read_by_the_reader_of_coco_wholebody(tmp_path, columns):
    names = [f"{number}.png" for number in range(10)]
    moved = columns | {"joints2d": columns["joints2d"] - [0, 200]}  # partly out of the picture
    done = export_predictions(write_predictions(tmp_path / "p.npz", moved, names), "coco")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    done.out.rename(tmp_path / "annotations" / "coco_wholebody_val_v1.0.json")
    reader, seen = CocoWholeBody(tmp_path), set()
    for unit in reader.find_units():
        recording = reader.open(unit)
        for number in recording.numbers:
            frame, row = recording.frame(number), number - 1
            (hand,) = frame.hands
            assert hand.is_right == columns["is_right"][row]
            assert frame.picture.name == f"{columns['frame'][row]}.png"
            pixels = moved["joints2d"][row]
            inside = ((pixels > -0.5) & (pixels < np.array(SIZE) - 0.5)).all(axis=1)
            np.testing.assert_allclose(hand.joints2d[inside], pixels[inside], atol=1e-3)
            assert np.isnan(hand.joints2d[~inside]).all()
            seen.add(row)
    assert seen == set(range(ROWS))
    content = json.loads((tmp_path / "annotations" / "coco_wholebody_val_v1.0.json").read_text())
    assert {image["id"] for image in content["images"]} == set(columns["frame"].tolist())
    for one in content["annotations"]:
        assert len(one["face_kpts"]) == 204 and len(one["foot_kpts"]) == 18 and len(one["keypoints"]) == 51


@pytest.mark.parametrize("name", ["openxr", "webxr"])
def test_xr_joints_lie_and_turn_as_the_specifications_say(path, columns, name):
    content = json.loads(export_predictions(path, name).out.read_text())
    joints = content["joints"]
    assert len(joints) == {"openxr": 26, "webxr": 25}[name] and len(content["hands"]) == ROWS
    assert ("palm" in joints) == (name == "openxr") and "metacarpals" in " ".join(content["invented"])
    place = {re.sub("-finger|-phalanx", "", joint).replace("-", "_"): i for i, joint in enumerate(joints)}
    place["little_tip"] = place.get("little_tip", place.get("pinky_tip"))
    for row, hand in enumerate(content["hands"]):
        points, turns = np.array(hand["positions"]), Rotation.from_quat(hand["orientations"]).as_matrix()
        wanted = columns["joints"][row] * [1, -1, -1] * MM
        np.testing.assert_allclose(points[place["wrist"]], wanted[0], atol=1e-6)
        chain = ["metacarpal", "proximal", "distal", "tip"]
        np.testing.assert_allclose(points[[place[f"thumb_{p}"] for p in chain]], wanted[1:5], atol=1e-6)
        chain = ["proximal", "intermediate", "distal", "tip"]
        np.testing.assert_allclose(points[[place[f"index_{p}"] for p in chain]], wanted[5:9], atol=1e-6)
        np.testing.assert_allclose(points[place["little_tip"]], wanted[20], atol=1e-6)
        for first, following in zip(joints, joints[1:]):
            if first.rsplit("-" if name == "webxr" else "_", 1)[-1] in ("tip", "palm", "wrist"):
                continue
            a, b = joints.index(first), joints.index(following)
            ahead = (points[b] - points[a]) / np.linalg.norm(points[b] - points[a])
            np.testing.assert_allclose(-turns[a][:, 2], ahead, atol=1e-5)
        # the palm's normal, by the right-hand rule of its own side, is the wrist's y
        index, little = wanted[5] - wanted[0], wanted[17] - wanted[0]
        back = np.cross(little, index) * (1 if columns["is_right"][row] else -1)
        assert turns[place["wrist"]][:, 1] @ back / np.linalg.norm(back) > 0.95
        for finger in ("index", "middle", "ring"):
            y = turns[place[f"{finger}_metacarpal"]][:, 1]
            assert y @ turns[place["wrist"]][:, 1] > 0.9


def test_fingers_bend_down_in_xr_and_not_aside(tmp_path):
    """As the specifications have it: y is the back of every joint, so tips of bent fingers lie below."""
    angles = torch.zeros(15, 3)
    angles[:, FLEXION] = 35
    pose = angles_to_pose(angles, torch.tensor([0.4, 2.0, -0.7]))
    path = write_predictions(tmp_path / "p.npz", moving_hands({0: [0], LEFT: [0]}, pose=pose))
    content = json.loads(export_predictions(path, "openxr").out.read_text())
    assert [hand["handedness"] for hand in content["hands"]] == ["right", "left"]
    for hand in content["hands"]:
        places, joints = np.array(hand["positions"]), content["joints"]
        for finger in ("thumb", "index", "middle", "ring", "little"):
            first = joints.index(f"{finger}_{'metacarpal' if finger == 'thumb' else 'proximal'}")
            turn = Rotation.from_quat(hand["orientations"][first])
            right, up, back = turn.inv().apply(places[joints.index(f"{finger}_tip")] - places[first])
            assert up < -0.01 and abs(right) < 0.35 * abs(up) and back < 0, (hand["handedness"], finger)


@pytest.mark.parametrize("which", ["open", "noise"])
def test_mano_is_posed_by_smplx_as_predicted(tmp_path, which):
    file = None
    if which == "noise":
        file = tmp_path / "noise.npz"
        np.savez(file, **noise_hand(), side="right")
    columns = moving_hands(hand=file, shape_noise=0.3)
    done = export_predictions(write_predictions(tmp_path / "p.npz", columns), "mano", hand=file)
    tables = read_hand_file(file, side="right")
    with np.load(done.out) as arguments:
        for is_right in (True, False):
            name = tmp_path / f"MANO_{'RIGHT' if is_right else 'LEFT'}.npz"
            write_hand_file(tables if is_right else mirrored(tables), name)
            rows = arguments["is_rhand"] == is_right
            flat = {
                "use_pca": bool(arguments["use_pca"]),
                "flat_hand_mean": bool(arguments["flat_hand_mean"]),
            }
            hand = smplx.create(
                str(name), "mano", ext="npz", is_rhand=is_right, batch_size=int(rows.sum()), **flat
            )
            # smplx mends an official left file's table where it finds the error; this one has none
            hand.shapedirs = torch.from_numpy((tables if is_right else mirrored(tables)).shapedirs)
            given = ("global_orient", "hand_pose", "betas", "transl")
            with torch.no_grad():
                posed = hand(**{name: torch.from_numpy(arguments[name][rows]) for name in given})
            np.testing.assert_allclose(posed.vertices, columns["vertices"][rows] * MM, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        (
            "p.npz",
            ["--to", "fbx"],
            f"--to is a format: {', '.join(FORMATS)}; not 'fbx'",
        ),
        ("p.npz", [], "required: --to"),
        ("p.npz", ["--to", "mano", "--out", "p.npz"], "--out 'p.npz' is the predictions' own file"),
        ("p.npz", ["--to", "csv", "--out", "folder"], "'folder': Is a directory"),
        ("p.npz", ["--to", "bvh", "--out", "text.npz"], "text.npz"),
        ("p.npz", ["--to", "glb", "--hand", "noise.npz"], "another hand model than 'noise.npz'"),
        ("noise_p.npz", ["--to", "glb"], "another hand model than the open hand"),
        ("absent.npz", ["--to", "glb"], "there is no file 'absent.npz'"),
        ("folder", ["--to", "glb"], "there is no file 'folder'"),
        ("text.npz", ["--to", "csv"], "'text.npz' is no predictions.npz"),
        ("list.npy", ["--to", "csv"], "'list.npy' is no predictions.npz"),
        ("other.npz", ["--to", "csv"], "its format is 'none'"),
        ("none.npz", ["--to", "glb"], "'none.npz' holds no hand"),
        ("nan.npz", ["--to", "csv"], "`joints` of frame 2 (row 3) is not finite"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    tmp_path, monkeypatch, columns, capsys, name, arguments, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.npz").write_text("no archive")
    np.save("list.npy", np.arange(3))
    np.savez("other.npz", joints=np.zeros((2, 21, 3)))
    np.savez("noise.npz", **noise_hand(), side="right")
    write_predictions(tmp_path / "p.npz", columns)
    write_predictions(tmp_path / "none.npz", {key: values[:0] for key, values in columns.items()})
    if name == "noise_p.npz":
        write_predictions(tmp_path / name, moving_hands(hand=tmp_path / "noise.npz"))
    joints = columns["joints"].copy()
    joints[3, 5, 1] = np.nan
    write_predictions(tmp_path / "nan.npz", columns | {"joints": joints})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(SystemExit) as leave:
        cli.main(["export", name, *arguments])
    error = capsys.readouterr().err
    assert leave.value.code == 2 and error.count("\n") == 1 and says in error
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_package_is_one_line(path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, NEEDS[name], None)
    before = sorted(path.parent.iterdir())
    with pytest.raises(ValueError, match=r"pip install 'tempohand\[\w+\]'"):
        export_predictions(path, name)
    assert sorted(path.parent.iterdir()) == before


def test_a_hand_that_changes_its_side_is_two(tmp_path, columns):
    one = columns | {"hand_id": np.zeros(ROWS, int)}
    tracks = Predictions.read(write_predictions(tmp_path / "p.npz", one)).tracks()
    assert [track.name for track in tracks] == ["hand0_right", "hand0_left"]
