import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest

from tempohand.hand.layer import HandLayer
from tempohand.inference.overlay import PictureOverlay, VideoOverlay, draw_hands, mesh_window, side_faces
from tempohand.inference.predictor import HandEstimate
from tempohand.inference.source import SourceFrame, open_source
from tempohand.media.pictures import decode_picture
from tempohand.render import rasterise

SIZE = (160, 121)  # W, H
FOCAL, PRINCPT = np.array([200.0, 210.0], np.float32), np.array([79.5, 60.0], np.float32)


def estimate(trans, is_right: bool = True) -> HandEstimate:
    import torch

    joints, vertices = (value.numpy() for value in HandLayer()(torch.full((48,), 0.1), torch.zeros(10)))
    joints, vertices = joints - vertices.mean(0), vertices - vertices.mean(0)
    if not is_right:
        joints, vertices = joints * [-1, 1, 1], vertices * [-1, 1, 1]
    joints, vertices = ((value + trans).astype(np.float32) for value in (joints, vertices))
    joints2d = joints[:, :2] / joints[:, 2:] * FOCAL + PRINCPT
    box = np.concatenate([joints2d.min(0), joints2d.max(0)])
    zeros = np.zeros
    return HandEstimate(
        0,
        0.0,
        0,
        is_right,
        1,
        box,
        FOCAL,
        PRINCPT,
        SIZE,
        zeros(48),
        zeros(10),
        np.asarray(trans, float),
        joints,
        vertices,
        joints2d,
    )


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return HandLayer().faces.numpy()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)


@pytest.mark.parametrize(
    "trans", [(0, 0, 500), (120, -60, 500), (-200, 30, 450), (0, 0, 30), (2000, 0, 500), (0, 0, -500)]
)
def test_the_window_holds_all_of_the_mesh(faces, trans):
    hand = estimate(np.array(trans, float))
    mask = rasterise(hand.vertices, faces, FOCAL, PRINCPT, (SIZE[1], SIZE[0])).face >= 0
    window = mesh_window(hand.vertices, FOCAL, PRINCPT, SIZE)
    if window is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = window
    assert 0 <= x0 < x1 <= SIZE[0] and 0 <= y0 < y1 <= SIZE[1]
    assert mask[y0:y1, x0:x1].sum() == mask.sum()


def test_hands_are_drawn_where_they_are_and_nowhere_else(faces, picture):
    before = picture.copy()
    hand = estimate(np.array([20.0, 10, 450]))
    drawn = draw_hands(picture, [hand], faces)
    assert np.array_equal(picture, before)  # a copy
    mask = rasterise(hand.vertices, faces, FOCAL, PRINCPT, (SIZE[1], SIZE[0])).face >= 0
    changed = (drawn != picture).any(-1)
    assert changed[mask].mean() > 0.95
    x0, y0, x1, y1 = mesh_window(hand.vertices, FOCAL, PRINCPT, SIZE)
    changed[max(y0 - 8, 0) : y1 + 8, max(x0 - 8, 0) : x1 + 8] = False
    assert not changed.any() and np.array_equal(draw_hands(picture, [], faces), picture)


def test_opacity_mixes_linearly(faces):
    ground = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    hand = dataclasses.replace(
        estimate(np.array([0.0, 0, 450])), joints2d=np.full((21, 2), np.nan)
    )  # no skeleton over it
    clear, half, full = (
        draw_hands(ground, [hand], faces, opacity=opacity).astype(float) for opacity in (0.0, 0.5, 1.0)
    )
    assert np.array_equal(clear, ground) and np.abs(full - 90).max() > 40
    np.testing.assert_allclose(half, (clear + full) / 2, atol=0.51)


def test_a_near_hand_covers_a_far_one_in_any_order(faces, picture):
    near, far = (estimate(np.array([0.0, 0, z]), is_right) for z, is_right in ((400, True), (600, False)))
    pictures = [
        draw_hands(
            picture,
            [dataclasses.replace(hand, joints2d=np.full((21, 2), np.nan)) for hand in hands],
            faces,
            opacity=1.0,
        )
        for hands in ((near, far), (far, near))
    ]
    assert np.array_equal(*pictures)
    masks = [
        rasterise(hand.vertices, faces, FOCAL, PRINCPT, (SIZE[1], SIZE[0])).face >= 0 for hand in (near, far)
    ]
    both = pictures[0][masks[0] & masks[1]].astype(int)
    assert len(both) > 100 and (both[:, 0] > both[:, 2]).mean() > 0.95  # the near one is a right hand: warm


def test_faces_look_outward_on_both_sides(faces):
    """The signed volume of a closed mesh with outward faces is positive; the hand is closed but for its
    wrist."""
    for is_right in (True, False):
        hand = estimate(np.zeros(3), is_right)
        a, b, c = (hand.vertices[side_faces(faces, is_right)[:, k]].astype(float) for k in range(3))
        assert (a * np.cross(b, c)).sum() > 0


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
@pytest.mark.parametrize("with_x264", [True, False])
def test_video_keeps_frames_and_rate(tmp_path, video_tools, monkeypatch, size, with_x264):
    if not with_x264:
        monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    pictures = video_tools[0](8, *size)
    fps = Fraction(30000, 1001)
    with VideoOverlay(tmp_path / "o.mp4", fps) as overlay:
        for index, picture in enumerate(pictures):
            overlay.write(SourceFrame(index, float(index / fps), picture, ""), picture)
    source = open_source(tmp_path / "o.mp4")
    frames = list(source)
    assert source.fps == fps and len(frames) == 8
    for frame, picture in zip(frames, pictures):
        assert (
            np.abs(frame.image[: size[1], : size[0]].astype(float) - picture).mean() < 12
        )  # small and lossy
        assert frame.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_an_odd_picture_is_not_resampled(tmp_path):
    stripes = (
        np.repeat(np.where(np.arange(65) // 2 % 2, 200, 40)[None, :, None], 49, 0)
        .repeat(3, 2)
        .astype(np.uint8)
    )
    with VideoOverlay(tmp_path / "o.mp4", Fraction(30)) as overlay:
        overlay.write(SourceFrame(0, 0.0, stripes, ""), stripes)
    (frame,) = open_source(tmp_path / "o.mp4")
    assert np.abs(frame.image[:49, :65].astype(float) - stripes).max() < 40


def test_a_missing_moment_stays_missing_in_the_video(tmp_path, video_tools):
    pictures = video_tools[0](3)
    with VideoOverlay(tmp_path / "o.mp4", Fraction(30)) as overlay:
        for time, picture in zip((0.0, 1 / 30, 10 / 30), pictures):
            overlay.write(SourceFrame(0, time, picture, ""), picture)
    np.testing.assert_allclose(
        [frame.time for frame in open_source(tmp_path / "o.mp4")], [0, 1 / 30, 10 / 30], atol=1e-4
    )


def test_pictures_keep_their_names(tmp_path, picture):
    overlay = PictureOverlay(tmp_path / "overlay")
    for name in ("a.png", "b.JPG", "c.webp", "c.png"):
        overlay.write(SourceFrame(0, 0.0, picture, name), picture)
    assert sorted(path.name for path in (tmp_path / "overlay").iterdir()) == [
        "a.png",
        "b.JPG",
        "c.png",
        "c.webp.png",
    ]
    assert np.array_equal(decode_picture((tmp_path / "overlay" / "c.webp.png").read_bytes()), picture)
    PictureOverlay(tmp_path, "overlay").write(SourceFrame(0, 0.0, picture, "x.jpeg"), picture)
    assert (tmp_path / "overlay.jpg").read_bytes()[:2] == b"\xff\xd8"
