"""Closing a mesh at its one opening."""

import numpy as np
import pytest

from tempohand.hand.surface import close_wrist, wrist_loop

# An open pyramid: apex 4 over the square 0-3.
PYRAMID = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])


def edges_of(faces):
    return sorted((int(face[k]), int(face[(k + 1) % 3])) for face in faces for k in range(3))


def test_loop_follows_the_faces_edges():
    assert wrist_loop(PYRAMID).tolist() == [0, 1, 2, 3]
    assert wrist_loop(PYRAMID[:, ::-1]).tolist() == [0, 3, 2, 1]


def test_cap_closes_with_the_same_orientation():
    closed = np.concatenate([PYRAMID, close_wrist(PYRAMID)])
    edges = edges_of(closed)
    assert len(set(edges)) == len(edges) and edges == sorted((b, a) for a, b in edges)


def test_forearm_strip_as_documented_closes_too():
    loop, new = wrist_loop(PYRAMID), np.arange(5, 9)
    strip = [
        triangle
        for i, j in zip(range(4), (1, 2, 3, 0))
        for triangle in ((loop[j], loop[i], new[i]), (loop[j], new[i], new[j]))
    ]
    longer = np.concatenate([PYRAMID, strip])
    assert wrist_loop(longer).tolist() == [5, 6, 7, 8]
    assert len(set(edges_of(longer))) == 3 * len(longer)


def test_meshes_without_one_opening_are_refused():
    closed = np.concatenate([PYRAMID, close_wrist(PYRAMID)])
    with pytest.raises(ValueError, match="closed"):
        wrist_loop(closed)
    with pytest.raises(ValueError, match="more than one opening: 8"):
        wrist_loop(np.concatenate([PYRAMID, PYRAMID + 5]))
