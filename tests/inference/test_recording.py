"""What a Rerun recording holds, by Rerun's own reader."""

import sys

import cv2
import numpy as np
import pytest
from export_support import FOCAL, FRAMES, SIZE, moving_hands, write_predictions
from video_support import moving_pictures, write_video

from tempohand import cli
from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.recording import RerunRecording
from tempohand.skeleton import BONES

HANDS = {0: "hand0_right", 1: "hand1_left"}
COUNT = 12  # of frames: two more than the last hand is in


def test_without_rerun_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    path = write_predictions(tmp_path / "p.npz")
    with pytest.raises(SystemExit):
        cli.main(["view", str(path), "--rerun", str(tmp_path / "hands.rrd")])
    assert "pip install 'tempohand[rerun]'" in capsys.readouterr().err and not list(tmp_path.glob("*.rrd*"))


@pytest.fixture(scope="module")
def columns():
    return moving_hands()


@pytest.fixture(scope="module")
def film():
    return moving_pictures(COUNT, *SIZE)


@pytest.fixture(scope="module", params=[True, False], ids=["pictures", "hands alone"])
def logged(request, columns, film, tmp_path_factory):
    """({entity: {frame: {component: value}}}, whether there are pictures)."""
    reader = pytest.importorskip("rerun.chunk").RrdReader
    folder = tmp_path_factory.mktemp("recording")
    path, out = write_predictions(folder / "p.npz", columns), folder / "hands.rrd"
    more = ["--pictures", str(write_video(folder / "film.mkv", film))] if request.param else []
    cli.main(["view", str(path), "--rerun", str(out), *more])
    found: dict = {}
    for chunk in reader(str(out)).stream().to_chunks():
        for row in chunk.to_record_batch().to_pylist():
            values = {name: value for name, value in row.items() if value is not None}
            found.setdefault(chunk.entity_path, {}).setdefault(row.get("frame"), {}).update(values)
    return found, request.param


def rows_of(columns, hand):
    chosen = columns["hand_id"] == hand
    return dict(zip(columns["frame"][chosen].tolist(), np.flatnonzero(chosen).tolist()))


def test_each_hand_is_where_it_was_predicted(logged, columns):
    found, _ = logged
    for hand, name in HANDS.items():
        mesh, skeleton = found[f"/hands/{name}/mesh"], found[f"/hands/{name}/skeleton"]
        rows = rows_of(columns, hand)
        assert sorted(rows) == sorted(mesh) == sorted(skeleton) == FRAMES[hand]
        for frame, row in rows.items():
            vertices = np.array(mesh[frame]["Mesh3D:vertex_positions"])
            np.testing.assert_allclose(vertices, columns["vertices"][row] / 1000, atol=2e-6)
            corners = vertices[np.array(mesh[frame]["Mesh3D:triangle_indices"])]
            volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
            assert volume > 1e-5  # m^3: the faces look outward
            strips = np.array(skeleton[frame]["LineStrips3D:strips"])
            np.testing.assert_allclose(strips, columns["joints"][row][np.array(BONES)] / 1000, atol=2e-6)


def test_a_hand_is_away_in_its_gaps(logged):
    found, pictures = logged
    gone = {name: sorted(found[f"/hands/{name}"]) for name in HANDS.values()}
    assert gone == {"hand0_right": [4, *([10] if pictures else [])], "hand1_left": [7]}
    assert all(row["Clear:is_recursive"] == [True] for row in found["/hands/hand0_right"].values())


def test_the_camera_sees_the_joints_where_they_were_seen(logged, columns):
    found, _ = logged
    for frame, row in rows_of(columns, 1).items():
        one = found["/camera"][frame]
        matrix = np.reshape(one["Pinhole:image_from_camera"][0], (3, 3)).T  # stored by columns
        assert matrix[0, 0] == pytest.approx(FOCAL[0]) and one["Pinhole:resolution"] == [list(SIZE)]
        seen = columns["joints"][row] @ matrix.T
        np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], columns["joints2d"][row] + 0.5, atol=0.01)


def test_pictures_and_times_are_the_films(logged, columns, film):
    found, pictures = logged
    times = dict(zip(columns["frame"].tolist(), columns["time"].tolist()))
    for name in HANDS.values():
        for frame, row in found[f"/hands/{name}/mesh"].items():
            assert row["time"].total_seconds() == pytest.approx(times[frame], abs=1e-5)
    if not pictures:
        assert "/camera/picture" not in found
        return
    shown = found["/camera/picture"]
    assert sorted(shown) == list(range(COUNT))
    for frame, row in shown.items():
        assert row["time"].total_seconds() == pytest.approx(times.get(frame, frame / 30), abs=2e-3)
        content = np.array(row["EncodedImage:blob"][0], np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]
        apart = [np.abs(picture.astype(float) - other).mean() for other in film]
        assert picture.shape == film[0].shape and np.argmin(apart) == frame and apart[frame] < 3


def test_without_a_file_the_viewer_is_opened(tmp_path, monkeypatch):
    rerun = pytest.importorskip("rerun")
    opened = []
    monkeypatch.setattr(
        rerun.RecordingStream, "spawn", lambda stream, **options: opened.append(options["default_blueprint"])
    )
    RerunRecording(Predictions.read(write_predictions(tmp_path / "p.npz"))).spawn(None)
    assert len(opened) == 1
