"""Two opinions on a hand: what an offset, a scale, a tremble and a gap do to each figure is known
beforehand."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempohand import cli
from tempohand.inference.compare import Opinion, compare

RNG = np.random.default_rng(0)
REST = np.concatenate([np.zeros((1, 3)), RNG.normal(0, 40, (20, 3))])


def opinion(
    frames=range(20),
    joints=lambda frame: REST,
    joints2d=lambda frame: REST[:, :2] + 300,
    box=(100, 100, 300, 200),
) -> Opinion:
    frames = list(frames)
    return Opinion(
        np.array(frames),
        np.stack([joints(f) for f in frames]),
        np.stack([joints2d(f) for f in frames]),
        np.tile(np.float32(box), (len(frames), 1)),
    )


def test_a_similarity_is_no_distance_and_an_offset_in_the_picture_is_one_in_boxes():
    turn = Rotation.from_rotvec([0.3, -1, 0.4]).as_matrix()
    ours = opinion(joints=lambda f: 1.7 * REST @ turn.T + f, joints2d=lambda f: REST[:, :2] + 300 + [6, 8])
    figures = compare(ours, opinion())
    assert (
        figures["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6) and figures["n"] == 20 and figures["missed"] == 0
    )
    assert figures["distance_2d_px"] == pytest.approx(10) and figures["distance_2d_box"] == pytest.approx(
        10 / 200
    )
    assert figures["tips_2d_box"] == pytest.approx(0.05) == figures["palm_2d_box"] and figures[
        "acceleration_error"
    ] == pytest.approx(0, abs=1e-9)


def test_fingers_are_told_apart():
    def moved(frame):
        points = REST[:, :2] + 300
        points[8] += [0, 20]
        return points

    figures = compare(opinion(joints2d=moved), opinion())
    assert (
        figures["index_tip_2d_box"] == pytest.approx(0.1)
        and figures["thumb_tip_2d_box"] == 0 == figures["palm_2d_box"]
    )
    assert figures["tips_2d_box"] == pytest.approx(0.02)


def test_acceleration_is_of_three_frames_in_a_row():
    def trembling(frame):
        joints = REST.copy()
        joints[1:] += [0, 0, (-1.0) ** frame]
        return joints

    steady, shaking = opinion(joints=lambda f: REST + [3 * f, 0, 0]), opinion(joints=trembling)
    figures = compare(shaking, steady)
    assert (
        figures["acceleration_ours"] == pytest.approx(4 * 20 / 21) == figures["acceleration_error"]
        and figures["acceleration_other"] < 1e-9
    )
    with_gaps = opinion(frames=range(0, 20, 2), joints=trembling)
    assert (
        np.isnan(compare(with_gaps, steady)["acceleration_ours"])
        and compare(with_gaps, steady)["missed"] == 10
    )


def test_files_of_either_kind_are_read(tmp_path, capsys):
    a, b = opinion(frames=[3, 4, 5, 9]), opinion(frames=range(12))
    np.savez(
        tmp_path / "predictions.npz",
        frame=np.r_[a.frame, 7],
        hand_id=[2, 2, 2, 2, 5],
        joints=np.r_[a.joints, a.joints[:1]],
        joints2d=np.r_[a.joints2d, a.joints2d[:1]],
        box=np.r_[a.box, a.box[:1]],
    )
    np.savez(
        tmp_path / "other.npz",
        joints_3d_mm=b.joints,
        joints_2d=b.joints2d,
        box_xyxy=b.box,
        detected=np.arange(12) != 4,
    )
    cli.main(
        [
            "compare",
            str(tmp_path / "predictions.npz"),
            str(tmp_path / "other.npz"),
            "--json",
            str(tmp_path / "out.json"),
        ]
    )
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (
        figures["frames"]["frame"] == [3, 5, 9]
        and figures["missed"] == 8
        and "3 frames in both" in capsys.readouterr().out
    )
    assert Opinion.read(tmp_path / "predictions.npz", hand=5).frame.tolist() == [7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"joints_2d": np.zeros((3, 21, 2))}, "nor has it the array 'box_xyxy'"),
        ({}, "nor has it"),
        (None, "no file"),
        (b"x", "not an .npz file"),
    ],
)
def test_what_is_no_opinion_is_one_line(tmp_path, content, message, capsys):
    path = tmp_path / "other.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(SystemExit):
        cli.main(["compare", str(path), str(path)])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_nothing_in_common_is_refused():
    with pytest.raises(ValueError, match="no frame in common"):
        compare(opinion(frames=[1, 2]), opinion(frames=[5, 6]))
