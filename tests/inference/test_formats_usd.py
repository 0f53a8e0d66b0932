"""USD files, read by Pixar's own library: its skeletons and skins pose what was predicted."""

import numpy as np
import pytest
from export_support import FRAMES, SIZE, moving_hands, write_predictions
from test_writing import full_disk

from tempohand import cli
from tempohand.inference.formats.registry import export_predictions
from tempohand.skeleton import MANO21_TO_OP, MANO_JOINT_NAMES

Usd = pytest.importorskip("pxr.Usd")
from pxr import Gf, UsdGeom, UsdShade, UsdSkel  # noqa: E402

NAMES = {0: "hand0_right", 1: "hand1_left"}
FPS = 30


@pytest.fixture(scope="module")
def columns():
    columns = moving_hands()
    off = np.array([31.0, -17.0], np.float32)  # a principal point off the centre
    return columns | {"princpt": columns["princpt"] + off, "joints2d": columns["joints2d"] + off}


@pytest.fixture(scope="module")
def path(columns, tmp_path_factory):
    return write_predictions(tmp_path_factory.mktemp("predictions") / "p.npz", columns)


@pytest.mark.parametrize("ending", ["usdc", "usda"])
def test_usd_poses_the_predicted_hands(path, columns, ending):
    done = export_predictions(path, "usd", path.parent / f"hands.{ending}")
    stage, to_op = Usd.Stage.Open(str(done.out)), list(MANO21_TO_OP)
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == FPS and stage.GetDefaultPrim().GetPath() == "/hands"
    cache, lens = UsdSkel.Cache(), UsdGeom.Camera(stage.GetPrimAtPath("/hands/camera"))
    for number, name in NAMES.items():
        root = UsdSkel.Root(stage.GetPrimAtPath(f"/hands/{name}"))
        assert cache.Populate(root, Usd.PrimDefaultPredicate)
        skeleton = UsdSkel.Skeleton(stage.GetPrimAtPath(f"/hands/{name}/skeleton"))
        mesh = UsdGeom.Mesh(stage.GetPrimAtPath(f"/hands/{name}/mesh"))
        skin, _ = UsdShade.MaterialBindingAPI(mesh.GetPrim()).ComputeBoundMaterial()
        assert skin.GetPath() == f"/hands/{name}/skin"
        query, skin = cache.GetSkelQuery(skeleton), cache.GetSkinningQuery(mesh.GetPrim())
        assert [one.split("/")[-1] for one in query.GetJointOrder()] == list(MANO_JOINT_NAMES)
        for row in np.flatnonzero(columns["hand_id"] == number):
            code = Usd.TimeCode(columns["time"][row] * FPS)
            posed = query.ComputeJointSkelTransforms(code)
            places = np.array([one.ExtractTranslation() for one in posed])
            wanted = columns["joints"][row] * [1, -1, -1] / 1000
            for place in range(len(MANO_JOINT_NAMES)):
                np.testing.assert_allclose(places[place], wanted[to_op.index(place)], atol=1e-5)
            moves, points = query.ComputeSkinningTransforms(code), mesh.GetPointsAttr().Get()
            assert skin.ComputeSkinnedPoints(moves, points, code)
            apart = np.array(points) - columns["vertices"][row] * [1, -1, -1] / 1000
            apart = np.linalg.norm(apart, axis=1)
            assert apart.mean() < 2e-3 and apart.max() < 0.02  # pose correctives are left out
            frustum = lens.GetCamera(code).frustum
            seen = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
            for joint, pixel in zip(wanted, columns["joints2d"][row]):
                x, y, _ = seen.Transform(Gf.Vec3d(*joint.tolist()))
                there = (np.array([1 + x, 1 - y]) / 2 * SIZE) - 0.5
                np.testing.assert_allclose(there, pixel, atol=0.05)


def test_a_gap_stays_a_gap_in_usd(path, columns):
    stage = Usd.Stage.Open(str(export_predictions(path, "usd").out))
    for number, name in NAMES.items():
        seen = UsdGeom.Imageable(stage.GetPrimAtPath(f"/hands/{name}"))
        for frame in range(10):
            time = columns["time"][columns["frame"] == frame][0]
            wanted = "inherited" if frame in FRAMES[number] else "invisible"
            assert seen.ComputeVisibility(Usd.TimeCode(time * FPS + 1e-6)) == wanted, (name, frame)


def test_a_name_that_is_not_usds_is_refused(path, capsys):
    before = sorted(path.parent.iterdir())
    with pytest.raises(SystemExit):
        cli.main(["export", str(path), "--to", "usd", "--out", str(path.parent / "hands.obj")])
    assert "ends in none of .usd, .usda, .usdc" in capsys.readouterr().err
    assert sorted(path.parent.iterdir()) == before


def test_a_full_disk_is_an_error_of_the_file(path):
    before, out = sorted(path.parent.iterdir()), path.parent / "full.usdc"
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        export_predictions(path, "usd", out)
    assert caught.value.filename == str(out) and sorted(path.parent.iterdir()) == before
