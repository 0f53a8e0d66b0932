"""Penetration depth against distances known by construction."""

import numpy as np
import pytest
import torch
from penetration import _winding_number, penetration_depth

from tempohand.hand.anatomy import FLEXION, angles_to_pose
from tempohand.hand.layer import HandLayer


@pytest.fixture(scope="module")
def layer():
    return HandLayer()


def test_winding_number_counts_a_closed_tetrahedron():
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    triangles = corners[[[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]]
    points = np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5], [-0.1, 0.1, 0.1]])
    np.testing.assert_allclose(_winding_number(points, triangles), [1, 0, 0], atol=1e-9)


def test_a_finger_pushed_into_its_neighbour_is_found_and_its_depth_grows(layer):
    faces, weights = layer.faces.numpy(), layer.weights.numpy()
    depths = []
    for shift in (0.0, -8.0, -12.0):
        vertices = layer(torch.zeros(48), torch.zeros(10)).vertices.numpy().copy()
        vertices[weights[:, 1:4].sum(1) > 0.95, 2] += shift  # the index finger toward the middle finger
        depth = penetration_depth(vertices, faces, weights)
        depths.append(depth.max())
        fingers = set(((weights[depth > 0.5].argmax(1) - 1) // 3).tolist())
        assert fingers <= {0, 1}
    assert depths[0] < 0.1 and depths[1] > 1
    assert depths[2] - depths[1] == pytest.approx(4, abs=1.5)


def test_impossible_flexion_is_found(layer):
    angles = torch.zeros(15, 3)
    angles[0:3, FLEXION] = torch.tensor([110.0, 120.0, 40.0])
    vertices = layer(angles_to_pose(angles), torch.zeros(10)).vertices.numpy()
    assert penetration_depth(vertices, layer.faces.numpy(), layer.weights.numpy()).max() > 4
