import numpy as np
import pytest
import torch

from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.render import vertex_normals
from tempohand.skeleton import NUM_BETAS
from tempohand.synthetic.ambient_occlusion import openness
from tempohand.synthetic.motion import rotations_of


@pytest.fixture
def posed(kit):
    def build(name):
        output = kit.layer(angles_to_pose(torch.from_numpy(POSES[name])).float(), torch.zeros(NUM_BETAS))
        vertices = output.vertices.numpy()
        return vertices, vertex_normals(vertices, kit.faces), output.joints.numpy()[None]

    return build


def test_nothing_is_darkened_without_strength_and_more_of_it_darkens_more(posed):
    hand = posed("fist")
    np.testing.assert_array_equal(openness(*hand, 0.0), 1.0)
    weak, strong = openness(*hand, 0.4), openness(*hand, 0.9)
    assert (strong <= weak).all() and (strong > 0).all() and (strong < weak).any()


def test_bent_fingers_darken_the_palm_and_leave_the_back(posed, kit):
    flat, fist = (openness(*posed(name), 0.8) for name in ("flat", "fist"))
    palm = (kit.skin.palm > 0.95) & (kit.layer.weights.numpy().argmax(1) == 0)
    back = (kit.skin.palm < 0.05) & (kit.layer.weights.numpy().argmax(1) == 0)
    assert fist[palm].mean() < 0.8 * flat[palm].mean()
    assert abs(fist[back].mean() - flat[back].mean()) < 0.03 and fist[back].mean() > 0.9


def test_shading_goes_with_the_hand(posed):
    vertices, normals, joints = posed("ok")
    turn, shift = rotations_of(np.array([0.4, -1.1, 2.0])), np.array([30.0, -200.0, 500.0])
    moved = openness(vertices @ turn.T + shift, normals @ turn.T, joints @ turn.T + shift, 0.7)
    np.testing.assert_allclose(moved, openness(vertices, normals, joints, 0.7), atol=1e-4)


def test_another_hand_only_darkens(posed):
    vertices, normals, joints = posed("flat")
    alone = openness(vertices, normals, joints, 0.7)
    both = openness(vertices, normals, np.concatenate([joints, joints + [0.0, -35.0, 0.0]]), 0.7)
    assert (both <= alone + 1e-6).all() and (both < 0.8 * alone).any()
