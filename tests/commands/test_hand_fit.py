"""`tempohand hand fit`: files in, files out, and one line for what cannot be fitted."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from tempohand import cli
from tempohand.geometry import project
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import MANO21_TO_OP

MIRROR = np.array([-1.0, 1.0, 1.0])
FOCAL, PRINCPT = np.array([700.0, 705.0]), np.array([320.0, 240.0])


@pytest.fixture(scope="module")
def joints():
    """Three right hands half a metre before the camera, mm."""
    angles = torch.from_numpy(np.stack([POSES[name] for name in ("spread", "grasp", "fist")])).float()
    orient = torch.tensor([[0.2, 0.1, 0.3], [-1.0, 0.5, 0.1], [0.3, -1.5, 0.4]])
    betas = 0.5 * torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    return HandLayer()(
        angles_to_pose(angles, orient), betas, torch.tensor([20.0, -10.0, 500.0]).expand(3, 3)
    ).joints.numpy()


@pytest.fixture
def place(tmp_path, monkeypatch, joints):
    """A working directory with good and bad inputs."""
    monkeypatch.chdir(tmp_path)
    np.savez("good.npz", joints=joints)
    np.savez("metres.npz", joints=joints / 1000)
    np.savez("huge.npz", joints=joints * 40)
    np.savez("nothing.npz", joints=np.full((2, 21, 3), np.nan))
    np.savez("none.npz", joints=np.zeros((0, 21, 3)))
    np.savez("flat.npz", joints=joints[0])
    np.savez("few.npz", joints=joints[:, :16])
    np.savez("other.npz", pose=np.zeros((1, 48)))
    np.savez("nocamera.npz", joints2d=joints[..., :2])
    np.savez("badcamera.npz", joints2d=joints[..., :2], focal=[0.0, 700.0], princpt=PRINCPT)
    np.savez("mask.npz", joints=joints, mask=np.ones((3, 20)))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "ragged.json").write_text('{"joints": [[[1, 2, 3], [1]]]}')
    (tmp_path / "words.json").write_text('{"joints": "many"}')
    (tmp_path / "hand.npz").write_text("no hand")
    return tmp_path


def fit(*arguments):
    cli.main(["hand", "fit", *arguments])
    with np.load(arguments[1], allow_pickle=False) as archive:
        return dict(archive)


def test_joints_in_hands_out(place, joints, capsys):
    fitted = fit("good.npz", "out/fitted.npz", "--picture", "fitted.png")
    assert (
        fitted["pose"].shape == (3, 48)
        and fitted["shape"].shape == (3, 10)
        and fitted["converged"].all()
        and fitted["is_right"].all()
    )
    np.testing.assert_allclose(fitted["joints"], joints, atol=0.5)
    np.testing.assert_allclose(
        fitted["residual"], np.linalg.norm(fitted["joints"] - joints, axis=-1), atol=1e-3
    )
    posed = HandLayer()(*(torch.from_numpy(fitted[name]) for name in ("pose", "shape", "trans")))
    np.testing.assert_allclose(posed.joints.numpy(), fitted["joints"], atol=1e-2)
    assert str(fitted["format"]) == "tempohand-fit-1" and str(fitted["residual_unit"]) == "mm"
    out = capsys.readouterr().out
    assert (
        "3 hands in " in out
        and "worst 0." in out
        and "0 did not converge" in out
        and "wrote out/fitted.npz" in out
    )
    picture = cv2.imread("fitted.png")
    assert picture.shape[1] == 3 * (picture.shape[0] // 2) and picture.std() > 30
    assert {path.name for path in (place / "out").iterdir()} == {"fitted.npz"}


def test_orders_units_and_sides_lead_to_the_same_hands(place, joints):
    wanted = fit("good.npz", "wanted.npz")
    mano = joints[:, np.argsort(MANO21_TO_OP)]
    (place / "mano.json").write_text(json.dumps({"joints": (mano / 1000).tolist()}))
    found = fit("mano.json", "mano.npz", "--order", "mano21", "--unit", "m")
    np.testing.assert_allclose(found["joints"], wanted["joints"], atol=1e-2)

    np.savez("left.npz", joints=joints * MIRROR, is_right=np.zeros(3, bool))
    np.savez("unsaid.npz", joints=joints * MIRROR)
    for found in (fit("left.npz", "a.npz"), fit("unsaid.npz", "b.npz", "--side", "left")):
        np.testing.assert_allclose(found["joints"] * MIRROR, wanted["joints"], atol=1e-2)
        np.testing.assert_allclose(found["pose"] * np.tile([1, -1, -1], 16), wanted["pose"], atol=1e-2)
        assert not found["is_right"].any()

    np.savez("tipless.npz", joints=mano[:, :16])
    found = fit("tipless.npz", "tipless_fitted.npz", "--order", "mano16")
    tips = np.array([4, 8, 12, 16, 20])
    assert np.isnan(found["residual"][:, tips]).all() and np.nanmax(found["residual"]) < 0.5


def test_missing_joints_are_null_nan_or_masked(place, joints, capsys):
    gone = np.zeros((3, 21), bool)
    gone[0, 8], gone[2, 1:] = True, True
    holes = [[None if gone[n, j] else joints[n, j].tolist() for j in range(21)] for n in range(3)]
    holes = [[[None] * 3 if point is None else point for point in hand] for hand in holes]
    (place / "null.json").write_text(json.dumps({"joints": holes}))
    np.savez("masked.npz", joints=joints, mask=~gone)
    for name in ("null.json", "masked.npz"):
        found = fit(name, "out.npz")
        assert (np.isnan(found["residual"]) == gone | (np.arange(3) == 2)[:, None]).all()
        assert np.isnan(found["pose"][2]).all() and np.isfinite(found["pose"][:2]).all()
        assert "1 with fewer than 4 joints: nan" in capsys.readouterr().out


def test_joints_in_a_picture(place, joints, capsys):
    points = torch.from_numpy(joints).double()
    pixels = project(
        points, torch.from_numpy(FOCAL).expand(3, 2), torch.from_numpy(PRINCPT).expand(3, 2)
    ).numpy()
    np.savez("pixels.npz", joints2d=pixels, focal=FOCAL, princpt=np.tile(PRINCPT, (3, 1)))
    found = fit("pixels.npz", "out.npz", "--picture", "seen.jpg")
    assert str(found["residual_unit"]) == "px" and np.median(found["residual"]) < 0.5
    np.testing.assert_allclose(
        found["residual"], np.linalg.norm(found["joints2d"] - pixels, axis=-1), atol=1e-2
    )
    assert "worst" in capsys.readouterr().out and cv2.imread("seen.jpg").shape[:2] == (280, 840)


def test_it_says_what_to_try_when_a_fit_is_poor(place, joints, capsys):
    fit("good.npz", "out.npz", "--side", "left")
    assert "the fingers bend backward" in capsys.readouterr().out
    fit("good.npz", "out.npz", "--order", "mano21")
    assert "are --order and --side right?" in capsys.readouterr().out
    np.savez("noisy.npz", joints=joints + np.random.default_rng(0).normal(0, 3, joints.shape))
    fit("noisy.npz", "out.npz")
    assert "less exact than --noise 0.3 says; with --noise 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.npz", "o.npz"], "no file 'absent.npz'"),
        (["text.npz", "o.npz"], "text.npz: not a readable .npz file"),
        (["broken.json", "o.npz"], "broken.json: not a readable .json file"),
        (["list.json", "o.npz"], "holds a list"),
        (["ragged.json", "o.npz"], "joints is not an array of numbers"),
        (["words.json", "o.npz"], "joints is not an array of numbers"),
        (["other.npz", "o.npz"], "has neither 'joints' nor 'joints2d', but pose"),
        (["flat.npz", "o.npz"], "joints has shape [21, 3]; expected [N, 21, 3] (order openpose)"),
        (["few.npz", "o.npz"], "joints has shape [3, 16, 3]; expected [N, 21, 3]"),
        (["nothing.npz", "o.npz"], "no hand has 4 finite joints"),
        (["none.npz", "o.npz"], "no hand has 4 finite joints"),
        (["metres.npz", "o.npz"], "did you mean --unit m?"),
        (["good.npz", "o.npz", "--unit", "m"], "did you mean --unit mm?"),
        (["huge.npz", "o.npz"], "check --unit mm and --order openpose"),
        (["nocamera.npz", "o.npz"], "joints2d needs 'focal' beside it"),
        (["badcamera.npz", "o.npz"], "focal positive"),
        (["mask.npz", "o.npz"], "mask has shape [3, 20]; expected [3, 21]"),
        (["good.npz", "o.txt"], "ends in .npz"),
        (["good.npz", "good.npz"], "is the input and would be overwritten"),
        (["good.npz", "o.npz", "--picture", "o.gif"], "ends in .png or .jpg"),
        (["good.npz", "o.npz", "--noise", "-1"], "noise is a standard deviation"),
        (["good.npz", "o.npz", "--hand", "absent.pkl"], "absent.pkl: no such hand model"),
        (["good.npz", "o.npz", "--hand", "hand.npz"], "hand.npz: not a readable .npz file"),
        (["good.npz", "o.npz", "--order", "mano"], "invalid choice: 'mano'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(place, capsys, arguments, says):
    before = sorted(place.rglob("*"))
    with pytest.raises(SystemExit) as leave:
        cli.main(["hand", "fit", *arguments])
    lines = capsys.readouterr().err.splitlines()
    assert leave.value.code == 2 and len(lines) == 1 and says in lines[0], lines
    assert sorted(place.rglob("*")) == before


def test_help_imports_nothing_heavy():
    code = """
import sys
from tempohand.cli import main
try:
    main(["hand", "fit", "--help"])
except SystemExit as leave:
    assert leave.code == 0
print([name for name in ("torch", "numpy", "cv2", "numba") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
