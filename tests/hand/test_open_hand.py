"""The open hand: an adult right hand with MANO's topology sizes, in MANO's frame."""

import numpy as np
import pytest
import torch

from tempohand.hand.anatomy import AXES, FLEXION, POSES, RANGE_DEG, angles_to_pose
from tempohand.hand.files import OPEN_HAND, SHAPES, read_hand_file
from tempohand.hand.layer import HandLayer
from tempohand.hand.surface import NAIL, PALM, close_wrist, open_hand_region, wrist_loop
from tempohand.skeleton import FINGERS, MANO_PARENTS, TIP_VERTICES

# Wrist-MCP, MCP-PIP, PIP-DIP, DIP-tip (thumb: wrist-CMC, CMC-MCP, MCP-IP, IP-tip) in mm: mean of a real
# subject's annotated bones (583 frames) and of six hands of InterHand2.6M, triangulated. docs/open_hand.md
# has both.
BONES_MM = {
    "thumb": (35.5, 37.5, 32.5, 27.5),
    "index": (86.5, 41.5, 25.0, 23.0),
    "middle": (82.0, 46.0, 29.0, 23.0),
    "ring": (77.0, 42.0, 27.5, 22.0),
    "pinky": (78.5, 30.5, 20.5, 19.0),
}


@pytest.fixture(scope="module")
def hand():
    return read_hand_file()


@pytest.fixture(scope="module")
def layer():
    return HandLayer()


def test_file_is_small_and_has_manos_tables():
    assert OPEN_HAND.stat().st_size < 600_000
    with np.load(OPEN_HAND) as archive:
        assert {key: archive[key].shape for key in SHAPES} == SHAPES
        assert all(archive[key].dtype == np.float32 for key in SHAPES if key not in ("f", "kintree_table"))


def test_surface_is_one_piece_with_one_opening_at_the_wrist(hand):
    loop = wrist_loop(hand.faces)
    assert len(set(loop)) == 16
    assert hand.v_template[loop, 0].min() > 0.85 * hand.v_template[:, 0].max()
    closed = np.concatenate([hand.faces, close_wrist(hand.faces)])
    edges = [(face[k], face[(k + 1) % 3]) for face in closed.tolist() for k in range(3)]
    assert len(set(edges)) == len(edges) and {edge[::-1] for edge in edges} == set(
        edges
    )  # closed, oriented, manifold edges
    assert set(closed.ravel().tolist()) == set(range(778))
    assert 778 - len(edges) // 2 + len(closed) == 2  # Euler: a sphere, so every vertex has one fan
    a, b, c = (1000 * hand.v_template[closed[:, k]].astype(float) for k in range(3))
    assert 250_000 < (a * np.cross(b, c)).sum() / 6 < 450_000  # mm^3, positive: faces look outward


def test_weights_and_regressor_are_averages(hand):
    for table in (hand.weights, hand.joint_regressor):
        assert table.min() >= 0
        np.testing.assert_allclose(table.sum(1), 1, atol=1e-5)
    assert (hand.joint_regressor > 1e-3).sum(1).min() >= 20  # no joint hangs on a few vertices


def test_pose_components_are_orthonormal(hand):
    np.testing.assert_allclose(hand.hands_components @ hand.hands_components.T, np.eye(45), atol=1e-5)


def test_frame_is_manos(layer):
    joints = layer(torch.zeros(48), torch.zeros(10)).joints
    assert joints[12, 0] < -150 and joints[12, 1:].abs().max() < 25  # the middle finger toward -x
    assert joints[4, 2] > 60 and joints[20, 2] < -30  # the thumb's side +z
    assert layer.rest_joints[0, 0] > 70  # MANO's origin lies in the palm: transl is not the wrist
    nails = open_hand_region() == NAIL
    corners = layer.template.numpy()[layer.faces.numpy()]
    normals = np.zeros((778, 3))
    np.add.at(
        normals,
        layer.faces.numpy(),
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, None],
    )
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    fingers = layer.template[:, 2].numpy() < 40
    assert (normals[nails & fingers, 1] > 0.6).all()  # nails look up, +y
    assert normals[open_hand_region() == PALM, 1].mean() < -0.4


@pytest.mark.parametrize("code_base", TIP_VERTICES)
def test_tip_vertices_lie_at_the_tips(layer, code_base):
    joints = layer(torch.zeros(48), torch.zeros(10)).joints
    vertices = layer(torch.zeros(48), torch.zeros(10)).vertices
    for number, vertex in enumerate(TIP_VERTICES[code_base]):
        last, tip = joints[3 + 4 * number], joints[4 + 4 * number]
        along = (vertices[vertex] - last) @ (tip - last) / (tip - last).norm()
        farthest = ((vertices - last) @ (tip - last) / (tip - last).norm())[
            (vertices - tip).norm(dim=-1) < 15
        ].max()
        assert (vertices[vertex] - tip).norm() < 10 and along > farthest - (
            2.0 if code_base == "smplx" else 10.0
        )


@pytest.mark.parametrize("finger", FINGERS)
def test_bones_are_as_long_as_measured_ones(layer, finger):
    joints = layer(torch.zeros(48), torch.zeros(10)).joints
    scale = (joints[12] - joints[0]).norm() / sum(BONES_MM["middle"])
    first = 1 + 4 * FINGERS.index(finger)
    chain = joints[[0, *range(first, first + 4)]]
    bones = (chain[1:] - chain[:-1]).norm(dim=-1) / scale
    assert (bones - torch.tensor(BONES_MM[finger])).abs().max() < 4


def test_joints_lie_inside_the_hand(layer, hand):
    for joint in range(1, 16):
        offset = layer.template - layer.rest_joints[joint]
        near = offset.norm(dim=-1).topk(40, largest=False).indices
        # Seen from a joint inside, skin lies on both sides in every direction across the bone.
        assert (offset[near, 1] > 2).any() and (offset[near, 1] < -2).any()


@pytest.mark.parametrize("joint", [joint for joint in range(1, 16) if joint != 13])
def test_axes_lie_about_as_deep_as_bones(layer, joint):
    """A little nearer to the back than to the palm: where bending neither takes nor gives volume, and where
    bones are."""
    flexion, _, bone = AXES[joint - 1]
    back = np.cross(bone, flexion)
    offset = layer.template.numpy() - layer.rest_joints[joint].numpy()
    near = (np.abs(offset @ bone) < 6) & (np.abs(offset @ flexion) < 5)
    above, below = (offset @ back)[near].max(), -(offset @ back)[near].min()
    assert 0.35 < above / (above + below) < 0.52


def test_a_unit_of_shape_is_one_adult_standard_deviation(layer, hand):
    betas = torch.cat([torch.zeros(1, 10), 2 * torch.eye(10), -2 * torch.eye(10)])
    length = -layer(torch.zeros(21, 48), betas).vertices[..., 0].min(dim=1).values
    assert (length > 160).all() and (length < 210).all()
    assert length[1] - length[11] == pytest.approx(45, abs=2)  # the first direction is size
    moved = 1000 * np.sqrt((hand.shapedirs**2).sum(1).mean(0))
    assert (moved[:-1] >= moved[1:]).all() and moved[-1] > 0.2  # mm, by variance, and none does nothing


def test_length_and_breadth_vary_as_in_surveys(layer):
    """Men and women in equal parts. Length: ANSUR II (2012). Breadth at the knuckles: between ANSUR's and
    British adults' (docs/open_hand.md)."""
    betas = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    vertices = layer(torch.zeros(1000, 48), betas).vertices
    length = -vertices[..., 0].min(dim=1).values
    assert length.mean() == pytest.approx(184, abs=1) and length.std() == pytest.approx(11.7, abs=0.6)
    ends = []
    for knuckle, side in ((1, 1), (7, -1)):
        near = (layer.template[:, 0] - layer.rest_joints[knuckle, 0]).abs() < 9
        near &= layer.weights[:, 13:].sum(1) < 0.3
        ids = near.nonzero()[:, 0]
        ends.append(vertices[:, ids[(side * layer.template[ids, 2]).argmax()], 2])
    breadth = ends[0] - ends[1]
    assert breadth.mean() == pytest.approx(83, abs=3) and breadth.std() == pytest.approx(6.4, abs=0.7)
    assert 0.5 < torch.corrcoef(torch.stack([length, breadth]))[0, 1] < 0.85


def volume(vertices, faces):
    """Of a piece of surface, closed with a fan around the middle of its border."""
    edges = {(face[k], face[(k + 1) % 3]) for face in faces.tolist() for k in range(3)}
    border = np.array([edge for edge in sorted(edges) if edge[::-1] not in edges])
    a, b, c = vertices[faces].transpose(1, 0, 2)
    start, end = vertices[border].transpose(1, 0, 2)
    return ((a * np.cross(b, c)).sum() + (np.cross(end, start) @ start.mean(0)).sum()) / 6


def posed(layer, angles):
    return (
        layer(angles_to_pose(torch.as_tensor(angles).float()), torch.zeros(len(angles), 10))
        .vertices.double()
        .numpy()
    )


@pytest.mark.parametrize("name", POSES)
def test_posed_hands_keep_their_volume(layer, name):
    flat, bent = posed(layer, np.stack([POSES["flat"], POSES[name]]))
    faces = layer.faces.numpy()
    assert volume(bent, faces) == pytest.approx(volume(flat, faces), rel=0.01)


@pytest.mark.parametrize("finger", range(5))
def test_bent_fingers_keep_the_volume_of_every_segment(layer, finger):
    """Each joint alone, up to its limit: phalanges within 5 %. A phalanx is what lies beyond one joint but
    not the next."""
    angles = np.zeros((12, 15, 3))
    for k in range(3):
        joint = 3 * finger + k
        angles[4 * k : 4 * k + 4, joint, FLEXION] = np.linspace(0, RANGE_DEG[joint, FLEXION, 1], 4)
    faces, weights = layer.faces.numpy(), layer.weights.numpy()
    owner = np.median(weights.argmax(1)[faces], axis=1)
    pieces = [
        faces[(owner >= first) & (owner <= 3 * finger + 3)] for first in range(3 * finger + 1, 3 * finger + 4)
    ]
    beyond = np.array([[volume(hand, piece) for piece in pieces] for hand in posed(layer, angles)])
    segments = beyond - np.concatenate([beyond[:, 1:], np.zeros((12, 1))], axis=1)
    assert np.abs(segments / segments[0] - 1).max() < 0.05


def test_correctives_move_nothing_far_from_their_joint(layer, hand):
    for joint in range(1, 16):
        directions = 1000 * hand.posedirs[:, :, 9 * joint - 9 : 9 * joint]
        far = (layer.template - layer.rest_joints[joint]).norm(dim=-1).numpy() > 90
        assert np.abs(directions).max() > 1 and np.abs(directions[far]).max() == 0


def test_a_few_pose_components_carry_the_named_poses(layer):
    poses = angles_to_pose(torch.tensor(np.stack(list(POSES.values()))).float())[:, 3:]
    worst = []
    for count in (6, 15, 45):
        components = layer.hands_components[:count]
        missing = poses - layer.hands_mean - (poses - layer.hands_mean) @ components.T @ components
        worst.append(torch.rad2deg(missing.unflatten(-1, (15, 3)).norm(dim=-1)).mean().item())
    assert worst[0] < 12 and worst[1] < 4 and worst[2] < 1e-3


def test_tree_is_manos():
    with np.load(OPEN_HAND) as archive:
        assert archive["kintree_table"][0, 0] == 2**32 - 1
        assert tuple(archive["kintree_table"][0, 1:]) == MANO_PARENTS[1:]
