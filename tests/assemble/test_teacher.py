"""A teacher's crops of a hand are put back into the picture, and averaged."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tempohand.assemble.teacher import CROPS, Teacher, TeacherLabels
from tempohand.geometry import mirror_points
from tempohand.model.landmarks import HandLandmarks

golden = runpy.run_path(str(Path(__file__).parents[1] / "golden/mediapipe_hand.py"))


class Pointers(nn.Module):
    """Sees where red, green and blue are. Screen: in turns; world: the way from red to green in the crop and
    5 mm of depth, joint k's k times, from somewhere else in each crop; side: the share of the crop on the
    right of green, so that mirrors give one less it."""

    def forward(self, image: torch.Tensor) -> HandLandmarks:
        strength = image.float().clamp_min(64) - 64
        place = torch.arange(224.0)
        mass = strength.sum(dim=(2, 3))
        x = (strength.sum(dim=2) * place).sum(dim=2) / mass  # (n, 3)
        y = (strength.sum(dim=3) * place).sum(dim=2) / mass
        spots = torch.stack([x, y], dim=-1)
        screen = torch.cat([spots, torch.zeros(len(image), 3, 1)], dim=-1).repeat(1, 7, 1)
        way = nn.functional.normalize(spots[:, 1] - spots[:, 0], dim=-1)
        one = torch.cat([way, torch.full((len(image), 1), 5.0)], dim=-1)
        world = torch.arange(21.0)[:, None] * one[:, None] + spots[:, :1, :1]
        presence = torch.full((len(image),), 0.75)
        return HandLandmarks(screen, presence, 1 - (x[:, 1] + 0.5) / 224, world)


def spots() -> tuple[np.ndarray, np.ndarray]:
    """A black picture with a red, a green and a blue disc, and their centres."""
    centres = np.array([[120.0, 90.0], [170.0, 130.0], [135.0, 150.0]])
    y, x = np.mgrid[:240, :320]
    discs = [np.hypot(x - u, y - v) for u, v in centres]
    picture = np.stack([np.clip(4 - disc, 0, 1) * 255 for disc in discs], axis=-1)
    return picture.astype(np.uint8), centres


def test_every_crop_says_the_same_of_the_picture():
    picture, centres = spots()
    box = torch.tensor([[90.0, 70.0, 190.0, 180.0]])
    labels = Teacher(Pointers()).label([picture], box)
    np.testing.assert_allclose(labels.joints2d[0, :3], centres, atol=0.3)
    assert labels.spread2d.max() < 0.3 and labels.spread.max() < 0.2
    way = (centres[1] - centres[0]) / np.linalg.norm(centres[1] - centres[0])
    np.testing.assert_allclose(labels.joints[0].diff(dim=0), np.tile([*way, 5.0], (20, 1)), atol=0.02)
    assert labels.presence.tolist() == [0.75]
    assert float(labels.side) == pytest.approx(side_of_green(centres), abs=0.02)


def side_of_green(centres: np.ndarray) -> float:
    """By the crops' definition: around the spots' bounds along the direction from the wrist (red) to the
    knuckles (index: blue, middle: red, ring: green)."""
    red, green, blue = centres
    up = ((blue + green) / 2 + red) / 2 - red
    up /= np.linalg.norm(up)
    axes = np.array([[-up[1], up[0]], [-up[0], -up[1]]])  # right and down of the upright crop
    along = centres @ axes.T
    edge = np.ptp(along, axis=0).max()
    x, y = along[1] - (along.min(0) + along.max(0)) / 2
    shares = []
    for mirror, roll, expansion in CROPS:
        turned = np.cos(np.radians(roll)) * (-x if mirror else x) - np.sin(np.radians(roll)) * y
        share = 0.5 + turned / (edge * expansion)
        shares.append(share if mirror else 1 - share)
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def teacher():
    return Teacher()


def hands() -> tuple[list[np.ndarray], torch.Tensor]:
    """Two pictures of unlike sizes, and the drawn hands' boxes."""
    pictures = [golden["picture"](200), np.ascontiguousarray(golden["picture"](330)[:, ::-1])]
    box = torch.tensor([[0.2, 0.15, 0.74, 0.84], [0.26, 0.15, 0.8, 0.84]])
    return pictures, box * torch.tensor([[200.0], [330.0]])


def fields(labels: TeacherLabels) -> list[torch.Tensor]:
    return [getattr(labels, name) for name in labels.__dataclass_fields__]


def test_it_finds_drawn_fingertips(teacher):
    pictures, box = hands()
    labels = teacher.label(pictures, box)
    tips = [end for _, end, _ in golden["FINGERS"]]
    for place, size, mirrored in ((0, 200, False), (1, 330, True)):
        expected = np.array([((1 - x if mirrored else x) * size, y * size) for x, y in tips])
        off = np.linalg.norm(labels.joints2d[place, [4, 8, 12, 16, 20]].numpy() - expected, axis=-1)
        assert off.max() < 0.08 * size, off
    assert labels.presence.min() > 0.5 and labels.spread.mean() < 15
    assert labels.side[0] < 0.5 < labels.side[1]


def test_a_mirrored_picture_gives_mirrored_labels(teacher):
    pictures, box = hands()
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    widths = torch.tensor([[200.0], [330.0]])
    other = torch.cat([widths - 1 - box[:, 2:3], box[:, 1:2], widths - 1 - box[:, :1], box[:, 3:]], dim=1)
    one, two = teacher.label(pictures, box), teacher.label(mirrored, other)
    x = widths - 1 - two.joints2d[..., 0]
    # Nearly: the first looks are at the picture as it is, and no two crops are mirror images.
    away = (one.joints2d - torch.stack([x, two.joints2d[..., 1]], dim=-1)).norm(dim=-1)
    assert (away.mean(dim=1) < 0.02 * widths[:, 0]).all()
    assert (one.joints - mirror_points(two.joints)).norm(dim=-1).mean() < 6
    torch.testing.assert_close(one.side, 1 - two.side, atol=0.1, rtol=0)


def test_pictures_do_not_depend_on_their_batch(teacher):
    pictures, box = hands()
    together = fields(teacher.label(pictures, box))
    apart = fields(Teacher(teacher.network, batch_size=1).label(pictures, box))
    for one, other in zip(together, apart):
        # Kernels round differently for other batch sizes, crops are rounded to whole grey values, and a later
        # crop comes of what an earlier one showed: hundredths of a pixel on some processors.
        torch.testing.assert_close(one, other, atol=0.1, rtol=0)


def test_each_picture_needs_a_box(teacher):
    with pytest.raises(ValueError, match="2 pictures and 1 boxes: give each picture one box"):
        teacher.label(hands()[0], hands()[1][:1])
    with pytest.raises(ValueError, match="0 pictures and 0 boxes"):
        teacher.label([], torch.zeros(0, 4))
