"""What the viewer's scene holds: hands where they were predicted, and the picture where the camera saw it."""

import sys
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from export_support import SIZE, moving_hands, write_predictions

from tempohand.geometry import project
from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.source import open_source
from tempohand.inference.viewer import PictureStore, PosedHands, Viewer, picture_plane

pytest.importorskip("viser")


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    return Predictions.read(write_predictions(tmp_path_factory.mktemp("view") / "predictions.npz"))


@pytest.fixture
def pictures(tmp_path):
    """Ten frames of one grey level each, wider than what is sent."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in range(10):
        cv2.imwrite(str(folder / f"{frame}.png"), np.full((480, 640, 3), 20 * frame, np.uint8))
    store = PictureStore(open_source(folder, fps=30), edge=320)
    yield store
    store.close()


@pytest.fixture
def viewer(predictions, pictures):
    with Viewer(predictions, pictures=pictures, port=8765) as one:
        yield one


def test_vertices_are_the_predicted_ones(predictions):
    """Of right hands and of left ones, in metres; normals look outward."""
    columns, hands = moving_hands(), PosedHands(predictions)
    for row in range(len(columns["frame"])):
        np.testing.assert_allclose(hands.vertices(row) * 1000, columns["vertices"][row], atol=2e-2)
        right = bool(columns["is_right"][row])
        corners = hands.vertices(row)[hands.faces[right]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        volume = (normals * corners.mean(axis=1)).sum() / 6
        assert volume > 1e-5  # m^3: a hand turned inside out has a negative one


def test_a_pixel_lies_on_its_ray():
    size, focal, princpt = np.array([640, 480]), np.array([800.0, 790.0]), np.array([300.0, 250.0])
    width, height, centre = picture_plane(size, focal, princpt, 2.0)
    for u, v in ((0, 0), (639, 0), (123, 456)):
        place = centre + [(u - 319.5) / 640 * width, (v - 239.5) / 480 * height, 0.0]
        seen = project(*(torch.from_numpy(values) for values in (place[None], focal, princpt)))
        np.testing.assert_allclose(seen[0], [u, v], atol=1e-9)


def test_a_frame_shows_its_hands_alone(viewer, predictions):
    for frame, names in ((2, {"hand 0 right", "hand 1 left"}), (5, {"hand 1 left"}), (0, {"hand 0 right"})):
        viewer.show(frame)
        assert {name for name, mesh in viewer.meshes.items() if mesh.visible} == names
        assert {name for name, lines in viewer.skeletons.items() if lines.visible} == names
    row = int(np.flatnonzero(predictions.frame == 0)[0])
    np.testing.assert_allclose(viewer.meshes["hand 0 right"].vertices, viewer.hands.vertices(row), atol=1e-6)
    ends = np.unique(viewer.skeletons["hand 0 right"].points.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(ends, np.unique(predictions.joints[row] / 1000, axis=0), atol=1e-6)
    assert "0.000 s" in viewer.said.content and "hand 0 right at" in viewer.said.content


def test_controls_change_what_is_seen(viewer):
    viewer.shown["Mesh"].value = False
    viewer.show(2)
    assert not viewer.meshes["hand 0 right"].visible and viewer.skeletons["hand 0 right"].visible
    viewer.shown["Mesh"].value = True
    viewer.show(2)
    assert viewer.meshes["hand 0 right"].visible


def test_pictures_are_kept_small_and_found_by_number(pictures):
    for frame in (7, 0, 9):
        image = pictures[frame]
        assert image.shape == (240, 320, 3) and abs(int(image.mean()) - 20 * frame) <= 1
    assert pictures[10] is None and pictures.times[3] == pytest.approx(0.1)


def test_it_plays_by_the_frames_times_and_begins_again(viewer, monkeypatch):
    slept = []
    monkeypatch.setattr("tempohand.inference.viewer.time.sleep", slept.append)
    viewer.frame.value, viewer.speed.value = 8, 0.5
    viewer.run(iter([None]))
    assert viewer.frame.value == 8  # it stands still
    viewer.playing.value = True
    viewer.run(iter([None] * 3))
    assert viewer.frame.value == 1
    between = viewer.time(9) - viewer.time(8)
    assert slept[1] == pytest.approx(between / 0.5) and slept[2] == 0.0


@dataclass
class Camera:
    """As viser's."""

    position: tuple = ()
    look_at: tuple = ()
    up_direction: tuple = ()
    fov: float = 0.0


def test_from_the_camera_the_picture_fills_the_view(viewer):
    camera = Camera()
    viewer.look_along(camera)
    assert camera.position == (0.0, 0.0, 0.0) and camera.up_direction == (0.0, -1.0, 0.0)
    assert np.tan(camera.fov / 2) == pytest.approx(SIZE[1] / 2 / 790.0, rel=1e-5)


def test_without_viser_it_says_what_to_install(predictions, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ValueError, match=r"pip install 'tempohand\[view\]'"):
        Viewer(predictions)


def test_the_input_is_found_beside_the_results(tmp_path, predictions):
    (tmp_path / "clip-hands").mkdir()
    assert predictions.beside(tmp_path / "clip-hands/predictions.npz") is None
    (tmp_path / "clip.mp4").touch()
    assert predictions.beside(tmp_path / "clip-hands/predictions.npz") == tmp_path / "clip.mp4"
