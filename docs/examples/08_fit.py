"""A hand from 21 key points: pose, shape and mesh behind measured joints, with noise and gaps."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from tempohand.data.table import FrameTable
from tempohand.hand.fit import fit_hands
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import BONES

truth = FrameTable("film", "test").labels(np.array([0]))["joints"]  # [1, 21, 3], mm
noise = 3.0  # mm: how exact the joints are
joints = torch.from_numpy(truth + np.random.default_rng(0).normal(0, noise, truth.shape)).float()
joints[0, [7, 16]] = torch.nan  # nobody saw these two

layer = HandLayer()  # HandLayer("MANO_RIGHT.pkl") for the official hand
hand = fit_hands(layer, joints, noise=noise)
vertices = layer(hand.pose.float(), hand.shape.float(), hand.trans.float()).vertices[0].numpy()
away = np.linalg.norm(hand.joints[0].numpy() - truth[0], axis=1)
given = np.linalg.norm(joints[0].numpy() - truth[0], axis=1)
print(f"joints as given {np.nanmean(given):.1f} mm from the truth, two missing")
print(f"of the fitted hand, all 21: {away.mean():.1f} mm")

axes = plt.figure(figsize=(5, 4.4)).add_subplot(projection="3d")
x, y, z = vertices.T
skin = axes.plot_trisurf(x, z, -y, triangles=layer.faces.numpy(), color="tan", alpha=0.35)
for parent, child in BONES:
    x, y, z = joints[0, [parent, child]].numpy().T
    axes.plot(x, z, -y, "o-", color="crimson", markersize=3)
axes.set(title="joints as given, and the hand", xlabel="x, mm", zlabel="-y, mm", yticks=[])
axes.view_init(12, -75)
axes.set_aspect("equal")
plt.savefig("08_fit.png", dpi=80)
