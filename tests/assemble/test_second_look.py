"""A second look puts its crops back into the picture: whatever the crop, the side and the picture's turn."""

import numpy as np
import pytest
import torch
from torch import nn

from tempohand.assemble.second_look import SecondLook
from tempohand.batch import ClipBatch, HandPrediction
from tempohand.geometry import normalise_pixels
from tempohand.model.network import Network

SIZE = 224


class Pointer(Network):
    """Sees where red, green and blue are, and says in space the way from red to green in the crop, with 5 mm
    of depth, joint k's k times, from somewhere else in each crop."""

    prediction, terms = HandPrediction, {}

    def __init__(self):
        super().__init__(1, SIZE, 1.5)

    def criterion(self, prediction: HandPrediction, batch: ClipBatch) -> dict:
        return {}

    def forward(self, batch: ClipBatch) -> HandPrediction:
        image = batch.frames.image
        strength = image.float().clamp_min(64) - 64
        place = torch.arange(float(SIZE))
        mass = strength.sum(dim=(2, 3))
        x = (strength.sum(dim=2) * place).sum(dim=2) / mass
        y = (strength.sum(dim=3) * place).sum(dim=2) / mass
        spots = torch.stack([x, y], dim=-1)
        way = nn.functional.normalize(spots[:, 1] - spots[:, 0], dim=-1)
        one = torch.cat([way, torch.full((len(image), 1), 5.0)], dim=-1)
        joints = torch.arange(21.0)[:, None] * one[:, None] + spots[:, :1, :1]
        joints2d = normalise_pixels(spots.repeat(1, 7, 1), (SIZE, SIZE))
        shapes = {"pose": (48,), "rotation": (16, 3, 3), "shape": (10,), "trans": (3,), "vertices": (778, 3)}
        rest = {name: torch.zeros(len(image), 1, *shape) for name, shape in shapes.items()}
        return HandPrediction(joints=joints[:, None], joints2d=joints2d[:, None], **rest)


def spots() -> tuple[np.ndarray, np.ndarray]:
    """A black picture with a red, a green and a blue disc, and their centres."""
    centres = np.array([[120.0, 90.0], [170.0, 130.0], [135.0, 150.0]])
    y, x = np.mgrid[:240, :320]
    discs = [np.hypot(x - u, y - v) for u, v in centres]
    picture = np.stack([np.clip(4 - disc, 0, 1) * 255 for disc in discs], axis=-1)
    return picture.astype(np.uint8), centres


@pytest.mark.parametrize("is_right", [True, False])
def test_every_crop_says_the_same_of_the_picture(is_right):
    picture, centres = spots()
    joints2d = torch.from_numpy(np.tile(centres, (7, 1)))[None]
    labels = SecondLook(Pointer()).label([picture], joints2d, torch.tensor([is_right]))
    np.testing.assert_allclose(labels.joints2d[0, :3], centres, atol=0.3)
    assert labels.spread.max() < 0.2
    way = (centres[1] - centres[0]) / np.linalg.norm(centres[1] - centres[0])
    np.testing.assert_allclose(labels.joints[0].diff(dim=0), np.tile([*way, 5.0], (20, 1)), atol=0.02)
    np.testing.assert_allclose(labels.joints.mean(dim=1), 0, atol=1e-4)


class Recorder(Pointer):
    """Keeps the crops that it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch: ClipBatch) -> HandPrediction:
        self.seen.append(batch)
        return super().forward(batch)


def test_crops_show_right_hands():
    """The second picture is the mirror image of the first, and its hand the other one: crops are alike."""
    picture, centres = spots()
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    points = torch.from_numpy(np.tile(centres, (7, 1)))
    other = torch.stack([319 - points[:, 0], points[:, 1]], dim=-1)
    network = Recorder()
    both = torch.stack([points, other])
    SecondLook(network).label([picture, mirrored], both, torch.tensor([True, False]))
    assert len(network.seen) == 8  # four crops of either side
    for right, left in zip(network.seen[::2], network.seen[1::2]):
        gap = right.frames.image.float() - left.frames.image.float()
        assert gap.abs().mean() < 0.05
