"""What is no tensor is refused in words: not by an attribute that it has not, deep inside. In an interpreter
without the tests' own type checks."""

import subprocess
import sys

CODE = """
import numpy as np, torch
from tempohand.hand.anatomy import angles_to_pose, clamp_angles
from tempohand.hand.files import find_hand_file
from tempohand.hand.fit import fit_hands, fit_hands_2d
from tempohand.hand.layer import HandLayer
from tempohand.hand.pose import pose_to_rotmat, rotmat_to_pose, rotvec_to_rotmat

layer, pose, betas = HandLayer(), torch.zeros(1, 48), torch.zeros(1, 10)
array = lambda *shape: np.zeros(shape, np.float32)
points = torch.zeros(1, 21, 3)
calls = {
    "pose of layer": lambda: layer(array(1, 48), betas),
    "betas of layer": lambda: layer(pose, array(1, 10)),
    "trans of layer": lambda: layer(pose, betas, [0.0, 0.0, 500.0]),
    "pose of joints": lambda: layer.joints(array(1, 48), betas),
    "betas of mano_joints": lambda: layer.mano_joints(pose, array(1, 10)),
    "coefficients of pca_to_pose": lambda: layer.pca_to_pose(torch.zeros(1, 3), array(1, 6)),
    "pose of pose_to_pca": lambda: layer.pose_to_pca(array(1, 48)),
    "pose of add_mean": lambda: layer.add_mean(array(1, 48)),
    "pose of subtract_mean": lambda: layer.subtract_mean(array(1, 48)),
    "betas of rest_wrist": lambda: layer.rest_wrist(array(1, 10)),
    "wrist of wrist_to_transl": lambda: layer.wrist_to_transl(array(1, 3), betas),
    "transl of transl_to_wrist": lambda: layer.transl_to_wrist(array(1, 3), betas),
    "rotvecs of rotvec_to_rotmat": lambda: rotvec_to_rotmat(array(1, 3)),
    "pose of pose_to_rotmat": lambda: pose_to_rotmat(array(1, 48)),
    "rotations of rotmat_to_pose": lambda: rotmat_to_pose(array(1, 16, 3, 3)),
    "joints of fit_hands": lambda: fit_hands(layer, array(1, 21, 3)),
    "mask of fit_hands": lambda: fit_hands(layer, points, array(1, 21)),
    "focal of fit_hands_2d": lambda: fit_hands_2d(layer, points[..., :2], 500.0, torch.zeros(1, 2)),
    "angles of angles_to_pose": lambda: angles_to_pose(array(1, 15, 3)),
    "angles of clamp_angles": lambda: clamp_angles(array(1, 15, 3)),
}
for name, call in calls.items():
    try:
        call()
    except TypeError as error:
        value = name.split(" of ")[0]
        assert str(error).startswith(f"{value} is a "), (name, error)
        assert f"torch.as_tensor({value})" in str(error), (name, error)
    else:
        raise SystemExit(f"{name}: no error")
for path in (array(1, 48), 3):
    for call in (HandLayer, find_hand_file):
        try:
            call(path)
        except TypeError as error:
            assert "by its file's path, not by a" in str(error), error
        else:
            raise SystemExit("no error")
print("refused", len(calls))
"""


def test_what_is_no_tensor_is_a_type_error_that_says_so():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and "refused 20" in done.stdout, done.stdout + done.stderr
