import numpy as np
import pytest

from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.objects import ball, bottle, box, cylinder, forearm_topology, forearm_vertices, sheet
from tempohand.synthetic.scene import RINGS_MM

RNG = np.random.default_rng(0)
THINGS = {
    "box": box(np.array([40.0, 60.0, 90.0])),
    "cylinder": cylinder(30.0, 120.0, 0.8),
    "bottle": bottle(30.0, 200.0, RNG),
    "ball": ball(50.0),
    "lump": ball(50.0, RNG),
    "sheet": sheet(150.0, 200.0, 0.1),
}


@pytest.mark.parametrize("name", THINGS)
def test_faces_and_normals_look_outward(name):
    mesh = THINGS[name]
    triangles = mesh.vertices[mesh.faces]
    crosses = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(crosses, axis=1)
    volume = (triangles[:, 0] * crosses).sum() / 6
    assert volume > 0, "counter-clockwise from outside"
    agree = (crosses[:, None] * mesh.normals[mesh.faces]).sum(-1)[area > 1e-6]
    assert (agree > 0).mean() > 0.97
    assert (
        len(mesh.normals) == len(mesh.uv) == len(mesh.vertices) and mesh.faces.max() == len(mesh.vertices) - 1
    )


def test_sizes():
    np.testing.assert_allclose(np.ptp(THINGS["box"].vertices, axis=0), [40, 60, 90])
    np.testing.assert_allclose(np.linalg.norm(THINGS["ball"].vertices, axis=1), 50)
    np.testing.assert_allclose(np.ptp(THINGS["bottle"].vertices[:, 1]), 200)


def test_the_forearm_closes_the_hand(kit):
    faces = np.concatenate([kit.faces, kit.forearm_faces])
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
    rings, swell = np.array(RINGS_MM, float), np.ones(len(RINGS_MM))
    direction = np.array([[0.8, 0.5, -0.33]])
    direction /= np.linalg.norm(direction)
    arm = forearm_vertices(loop, np.eye(3)[None], direction, rings, swell)[0]
    assert len(arm) == len(rings) * len(kit.loop) + 1
    middles = arm[:-1].reshape(len(rings), -1, 3).mean(1)
    last = middles[-1] - middles[-2]
    np.testing.assert_allclose(last / np.linalg.norm(last), direction[0], atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(np.diff(middles, axis=0), axis=1), np.diff(rings), rtol=0.12)
    # It turns with the hand, and thickens toward the elbow.
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    turned = forearm_vertices(loop @ turn.T, turn[None], direction @ turn.T, rings, swell)[0]
    np.testing.assert_allclose(turned, arm @ turn.T, atol=1e-9)
    radius = np.linalg.norm(arm[:-1].reshape(len(rings), -1, 3) - middles[:, None], axis=-1).mean(1)
    assert radius[-3] > 1.3 * radius[1]
    # Only what is beyond the elbow leads elsewhere, as far.
    beyond = np.array([[0.0, 0.6, 0.8]])
    bent = forearm_vertices(loop, np.eye(3)[None], direction, rings, swell, beyond)[0]
    joints = bent[:-1].reshape(len(rings), -1, 3).mean(1)
    np.testing.assert_array_equal(joints[:-2], middles[:-2])
    np.testing.assert_allclose(
        joints[-1] - joints[-2], beyond[0] * (rings[-1] - rings[-2]), atol=4
    )  # rings are not quite round
    np.testing.assert_allclose(joints[-2], middles[-2], atol=4)
