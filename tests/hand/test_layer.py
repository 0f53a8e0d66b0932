"""The hand layer against smplx, and the properties that hold for any hand."""

import pickle

import numpy as np
import pytest
import roma
import smplx
import torch

from tempohand.hand.files import OPEN_HAND, SHAPES
from tempohand.hand.layer import HandLayer, pose_to_rotmat
from tempohand.skeleton import MANO21_TO_OP, TIP_VERTICES


@pytest.fixture(scope="module")
def layer():
    return HandLayer()


def random_inputs(*batch, seed=0, angle=0.6):
    generator = torch.Generator().manual_seed(seed)
    pose, betas, trans = (torch.randn(*batch, width, generator=generator) for width in (48, 10, 3))
    return pose * angle, betas, trans * 100


def random_tables() -> dict:
    """A hand model of noise: only the shapes, the tree and weights that sum to 1 are a hand's."""
    random = np.random.default_rng(3)
    with np.load(OPEN_HAND) as archive:
        tables = {key: archive[key] for key in SHAPES}
    for key in ("v_template", "shapedirs", "posedirs"):
        tables[key] = random.normal(0, 0.05, tables[key].shape)
    for key in ("J_regressor", "weights"):
        tables[key] = random.dirichlet(np.full(tables[key].shape[1], 0.1), tables[key].shape[0])
    return tables


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("which", ["open", "random"])
def test_equals_smplx(tmp_path, batch, which):
    path = tmp_path / "MANO_RIGHT.pkl"
    with np.load(OPEN_HAND) as archive:
        path.write_bytes(pickle.dumps(dict(archive) if which == "open" else random_tables()))
    oracle = smplx.create(str(path), model_type="mano", use_pca=False, flat_hand_mean=True, batch_size=batch)
    ours = HandLayer(path)
    pose, betas, transl = random_inputs(batch)
    with torch.no_grad():
        wanted = oracle(betas=betas, global_orient=pose[:, :3], hand_pose=pose[:, 3:], transl=transl / 1000)
    output = ours(pose, betas, ours.transl_to_wrist(transl, betas))
    joints = torch.cat([wanted.joints, wanted.vertices[:, list(TIP_VERTICES["smplx"])]], dim=1)[:, list(MANO21_TO_OP)]
    torch.testing.assert_close(output.vertices / 1000, wanted.vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.joints / 1000, joints, atol=1e-5, rtol=0)


def test_matrices_equal_axis_angle(layer):
    pose, betas, trans = random_inputs(5)
    matrices = roma.rotvec_to_rotmat(pose.unflatten(-1, (16, 3)))
    for ours, wanted in zip(layer(matrices, betas, trans), layer(pose, betas, trans)):
        torch.testing.assert_close(ours, wanted, atol=1e-3, rtol=0)


def test_any_batch_dimensions(layer):
    pose, betas, trans = random_inputs(2, 3)
    whole = layer(pose, betas, trans)
    assert whole.joints.shape == (2, 3, 21, 3) and whole.vertices.shape == (2, 3, 778, 3)
    one = layer(pose[1, 2], betas[1, 2], trans[1, 2])
    torch.testing.assert_close(one.joints, whole.joints[1, 2], atol=1e-3, rtol=0)
    torch.testing.assert_close(one.vertices, whole.vertices[1, 2], atol=1e-3, rtol=0)
    assert layer(pose[:0], betas[:0], trans[:0]).vertices.shape == (0, 3, 778, 3)


def test_wrist_is_the_origin_or_trans(layer):
    pose, betas, trans = random_inputs(6)
    assert (layer(pose, betas).joints[:, 0] == 0).all()
    assert torch.equal(layer(pose, betas, trans).joints[:, 0], trans)


def test_transl_is_not_the_wrist(layer):
    _, betas, wrist = random_inputs(6)
    transl = layer.wrist_to_transl(wrist, betas)
    assert (transl - wrist).norm(dim=-1).min() > 50
    torch.testing.assert_close(layer.transl_to_wrist(transl, betas), wrist, atol=1e-4, rtol=0)
    assert (wrist - transl).std(dim=0).norm() > 3  # and the difference depends on the shape


def test_rigid_motion_of_the_wrist_moves_the_hand_rigidly(layer):
    pose, betas, trans = random_inputs(4)
    turn, shift = roma.random_rotmat(4), torch.tensor([10.0, -20.0, 300.0])
    orient = roma.rotmat_to_rotvec(turn @ roma.rotvec_to_rotmat(pose[:, :3]))
    moved = layer(torch.cat([orient, pose[:, 3:]], dim=-1), betas, (turn @ trans[..., None])[..., 0] + shift)
    for ours, still in zip(moved, layer(pose, betas, trans)):
        torch.testing.assert_close(ours, still @ turn.mT + shift, atol=2e-3, rtol=0)


def test_bones_keep_their_length_in_every_pose(layer):
    pose, betas, _ = random_inputs(8)
    posed, rest = layer(pose, betas).joints, layer(torch.zeros_like(pose), betas).joints
    for parent, child in ((0, 1), (1, 2), (2, 3), (0, 5), (5, 6), (6, 7), (0, 17), (17, 18), (18, 19)):
        lengths = [(joints[:, child] - joints[:, parent]).norm(dim=-1) for joints in (posed, rest)]
        torch.testing.assert_close(*lengths, atol=1e-3, rtol=0)


def test_gradients_at_rest_are_finite_and_right():
    layer = HandLayer().double()
    pose = torch.zeros(48, dtype=torch.float64, requires_grad=True)
    betas = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    layer(pose, betas).vertices.pow(2).sum().backward()
    assert pose.grad.isfinite().all() and betas.grad.isfinite().all() and (pose.grad != 0).any()

    def joints(pose, betas):
        return layer(pose, betas).joints

    generator = torch.Generator().manual_seed(1)
    near = (0.3 * torch.randn(48, dtype=torch.float64, generator=generator)).requires_grad_()
    assert torch.autograd.gradcheck(joints, (near, betas), atol=1e-4)


def test_state_dict_is_empty_and_there_is_nothing_to_train(layer):
    assert len(layer.state_dict()) == 0 and not list(layer.parameters())


def test_autocast_does_not_reach_the_kinematics(layer):
    pose, betas, trans = random_inputs(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(pose, betas, trans)
    assert inside.vertices.dtype == torch.float32
    assert torch.equal(inside.vertices, layer(pose, betas, trans).vertices)
    assert layer(pose.bfloat16(), betas.bfloat16()).joints.dtype == torch.float32


def test_wrong_pose_shape_is_named():
    with pytest.raises(ValueError, match=r"pose has shape \[2, 45\]; expected \[\*, 48\]"):
        pose_to_rotmat(torch.zeros(2, 45))


def test_tables_move_with_the_layer(layer):
    assert HandLayer().to("meta").faces.device.type == "meta"
