import numpy as np
import pytest

from tempohand.synthetic.objects import ball, bottle, box, cylinder, sheet

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
