"""Two calibrated cameras and a hand that both see: joints in space, and the hand behind them.

With videos: `tempohand predict` on each, `tempohand triangulate RIG left=... right=...`, `tempohand hand fit`
(docs/own_data.md). Here what the cameras see is made, with 2 px of noise and one joint that is badly off.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch

from tempohand.data.table import FrameTable
from tempohand.hand.fit import fit_one_shape
from tempohand.hand.layer import HandLayer
from tempohand.hand.triangulation import PlacedCamera, triangulate

truth = FrameTable("film", "test").labels(np.arange(6))["joints"].astype(float)  # [6, 21, 3], mm
matrix = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
cameras = []
for angle, shift in ((-0.3, 150.0), (0.3, -150.0)):  # X_camera = R X + t, mm
    turn = cv2.Rodrigues(np.array([0.0, angle, 0]))[0]
    cameras.append(PlacedCamera(matrix, np.zeros(5), turn, np.array([shift, 0, 50])))

random = np.random.default_rng(0)
seen = np.stack([camera.project(truth.reshape(-1, 3)) for camera in cameras])  # [2, 6 * 21, 2], px
seen += random.normal(0, 2, seen.shape)
seen[1, 8] += 200
found = triangulate(cameras, seen)
joints = found.points.reshape(truth.shape)  # nan where the views do not agree
hands = fit_one_shape(HandLayer(), torch.from_numpy(joints).float(), noise=3.0)  # one shape for all frames


def off(points: np.ndarray) -> float:
    return float(np.nanmean(np.linalg.norm(points - truth, axis=-1)))


print(f"{np.isnan(joints[..., 0]).sum()} of {joints[..., 0].size} joints: the views do not agree")
print(
    f"triangulated joints {off(joints):.1f} mm off the truth, the hands' {off(hands.joints.numpy()):.1f} mm"
)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for panel, camera, pixels, name in zip(axes, cameras, seen, ("left", "right")):
    x, y = camera.project(hands.joints[0].double().numpy()).T
    panel.plot(*pixels[:21].T, "x", color="crimson", label="seen")
    panel.plot(x, y, "o", mfc="none", color="tab:blue", label="the hand")
    panel.set(title=f"{name} camera, px", aspect="equal")
    panel.invert_yaxis()
    panel.legend()
plt.savefig("09_two_views.png", dpi=80)
