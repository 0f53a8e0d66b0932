"""Official files: axes, orders and units there and back, the order of samples, and what is said when a file
is missing."""

import json

import numpy as np
import pytest
import torch
from evaluation.protocol_support import points, samples

from tempohand.evaluation.protocols import challenge_files, freihand, ho3d, official_order
from tempohand.skeleton import JOINT_NAMES, MANO_JOINT_NAMES

TIPS = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")


def test_ho3d_is_opengl_manos_order_and_metres():
    joints, vertices = points(0, 1, 21)[0], points(1, 1, 778)[0]
    written, mesh = ho3d.CONVENTION.write(joints, vertices)
    for place, name in enumerate(MANO_JOINT_NAMES + TIPS):
        x, y, z = joints[JOINT_NAMES.index(name)].tolist()
        assert written[place].tolist() == pytest.approx([x / 1000, -y / 1000, -z / 1000]), name
    assert (mesh[:, 2] < 0).all(), "OpenGL looks along negative z"


@pytest.mark.parametrize("convention", [freihand.CONVENTION, ho3d.CONVENTION])
def test_conventions_there_and_back(convention):
    joints, vertices = points(0, 3, 21), points(1, 3, 778)
    back = convention.read(*convention.write(joints, vertices))
    np.testing.assert_allclose(back[0], joints)
    np.testing.assert_allclose(back[1], vertices)


def write_truth(root, joints, vertices):
    root.mkdir(parents=True, exist_ok=True)
    (root / "evaluation_xyz.json").write_text(json.dumps(joints.tolist()))
    (root / "evaluation_verts.json").write_text(json.dumps(vertices.tolist()))


def test_the_truth_comes_by_sequence_and_frame(tmp_path):
    truth, _ = samples(5)
    order = [("00000099/right", 99), *reversed(truth.keys())]
    joints, vertices = points(7, 6, 21), points(8, 6, 778)
    write_truth(tmp_path, *ho3d.CONVENTION.write(joints, vertices))
    merged = challenge_files.with_official_truth(
        truth, order, *challenge_files.read_truth(tmp_path, ho3d.CONVENTION)
    )
    np.testing.assert_allclose(merged.joints, joints[1:].flip(0), atol=1e-9)
    np.testing.assert_allclose(merged.vertices, vertices[1:].flip(0), atol=1e-9)
    assert merged.joints_mask.all() and merged.vertices_mask.all() and merged.has_camera.all()
    with pytest.raises(
        ValueError, match="1 of 5 samples are not in the official order, first '00000004/right' frame 4"
    ):
        challenge_files.with_official_truth(truth, order[:1] + order[2:] + [("x", 0)], joints, vertices)
    with pytest.raises(ValueError, match="the official order has 5 samples, the official truth 6"):
        challenge_files.with_official_truth(truth, order[1:], joints, vertices)


def test_the_truth_may_lie_in_the_evaluation_folder(tmp_path):
    write_truth(tmp_path / "evaluation", points(7, 2, 21), points(8, 2, 778))
    assert challenge_files.read_truth(tmp_path, freihand.CONVENTION)[0].shape == (2, 21, 3)


def test_missing_and_damaged_truth_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no 'evaluation_xyz.json' in"):
        challenge_files.truth_files(tmp_path)
    write_truth(tmp_path, points(7, 2, 21), points(8, 2, 778))
    (tmp_path / "evaluation_verts.json").unlink()
    with pytest.raises(FileNotFoundError, match="no 'evaluation_verts.json' in"):
        challenge_files.truth_files(tmp_path)
    write_truth(tmp_path, points(7, 3, 21), points(8, 2, 778))
    with pytest.raises(ValueError, match="3 samples of joints and 2 of vertices"):
        challenge_files.read_truth(tmp_path, freihand.CONVENTION)
    write_truth(tmp_path, points(7, 2, 20), points(8, 2, 778))
    with pytest.raises(ValueError, match=r"has shape \(2, 20, 3\), expected \[samples, 21, 3\]"):
        challenge_files.read_truth(tmp_path, freihand.CONVENTION)
    (tmp_path / "evaluation_xyz.json").write_text("[[1, 2")
    with pytest.raises(ValueError, match="is damaged .*: download it again"):
        challenge_files.read_truth(tmp_path, freihand.CONVENTION)


def test_the_order_is_read_and_checked(tmp_path):
    path = tmp_path / official_order.order_name("evaluation")
    with pytest.raises(FileNotFoundError, match=r"official_evaluation.json' is missing: .* the table again"):
        official_order.read_order(path)
    path.write_text(json.dumps({"order": [["SM1/right", 3], ["AP10/right", 0]]}))
    assert official_order.read_order(path) == [("SM1/right", 3), ("AP10/right", 0)]
    path.write_text(json.dumps({"order": [["SM1/right", 3], ["SM1/right", 3]]}))
    with pytest.raises(ValueError, match="names a sample twice"):
        official_order.read_order(path)
    for damage in ("{", '{"order": [1, 2]}', '{"sequence": []}'):
        path.write_text(damage)
        with pytest.raises(ValueError, match="is damaged"):
            official_order.read_order(path)


def test_places_of_nobody():
    assert official_order.places_in_order([], [("a/right", 1)]) == []
    assert torch.tensor(
        official_order.places_in_order([("a/right", 1)], [("b/right", 1), ("a/right", 1)])
    ).tolist() == [1]
