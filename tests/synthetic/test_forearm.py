import numpy as np

from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.forearm import RINGS_MM, ForearmRings, forearm_topology, forearm_vertices


def test_the_forearm_closes_the_hand(kit):
    faces = kit.body_faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(edge) for edge in edges}
    assert len(there) == len(edges) and all((b, a) in there for a, b in there), (
        "every edge has its one opposite"
    )
    np.testing.assert_array_equal(
        kit.forearm_faces, forearm_topology(kit.loop, NUM_VERTICES, len(RINGS_MM) + 1)
    )


def test_the_forearm_leads_where_it_should(kit):
    loop = kit.skin.rest[kit.loop][None]
    rings = np.array(RINGS_MM, float)
    sections = ForearmRings(rings, np.ones(len(rings)))
    direction = np.array([[0.8, 0.5, -0.33]])
    direction /= np.linalg.norm(direction)
    arm = forearm_vertices(loop, np.eye(3)[None], direction, sections)[0]
    assert len(arm) == len(rings) * len(kit.loop) + 1
    middles = arm[:-1].reshape(len(rings), -1, 3).mean(1)
    last = middles[-1] - middles[-2]
    np.testing.assert_allclose(last / np.linalg.norm(last), direction[0], atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(np.diff(middles, axis=0), axis=1), np.diff(rings), rtol=0.12)
    # It turns with the hand, and thickens toward the elbow.
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    turned = forearm_vertices(loop @ turn.T, turn[None], direction @ turn.T, sections)[0]
    np.testing.assert_allclose(turned, arm @ turn.T, atol=1e-9)
    radius = np.linalg.norm(arm[:-1].reshape(len(rings), -1, 3) - middles[:, None], axis=-1).mean(1)
    assert radius[-3] > 1.3 * radius[1]
    # Only what is beyond the elbow leads elsewhere, as far.
    beyond = np.array([[0.0, 0.6, 0.8]])
    bent = forearm_vertices(loop, np.eye(3)[None], direction, sections, beyond)[0]
    joints = bent[:-1].reshape(len(rings), -1, 3).mean(1)
    np.testing.assert_array_equal(joints[:-2], middles[:-2])
    np.testing.assert_allclose(
        joints[-1] - joints[-2], beyond[0] * (rings[-1] - rings[-2]), atol=4
    )  # rings are not quite round
    np.testing.assert_allclose(joints[-2], middles[-2], atol=4)
