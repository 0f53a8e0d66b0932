"""MediaPipe's landmarks as rows of an evaluation, with a network that is never wrong in place of the real one
(which tests/evaluation/test_script.py runs)."""

import pytest
import torch
from torch import nn

from tempohand.assemble import landmarks
from tempohand.assemble.landmarks import EXPANSION, LandmarkBaseline
from tempohand.batch import ClipBatch, Frames
from tempohand.evaluation.evaluator import Predictor
from tempohand.evaluation.hands import TrueHands, in_boxes
from tempohand.evaluation.metrics.registry import frame_errors
from tempohand.geometry import box_to_square, crop_camera, crop_homography, normalise_pixels, project
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.model.landmarks import SIZE, HandLandmarks
from tempohand.skeleton import WRIST

NAMES = ("flat", "rest", "fist", "point", "victory")
COUNT = len(NAMES)


@pytest.fixture(scope="module")
def layer():
    return HandLayer()


@pytest.fixture(scope="module")
def truth(layer):
    """Named poses, turned, beside the camera's axis and at unequal distances."""
    turn = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(0))
    pose = angles_to_pose(torch.stack([torch.from_numpy(POSES[name]) for name in NAMES]).float(), turn)
    place = torch.tensor([[60.0, -40.0, 400.0]]) + torch.arange(COUNT)[:, None] * torch.tensor([[5.0, 9, 70]])
    return layer(pose, torch.zeros(COUNT, 10), place)


def batch_of(joints, size, expansion):
    """Crops around these hands; the pixels say where they are: red their column, green their row."""
    height, width = size
    still = torch.full((COUNT, 2), 1000.0), torch.full((COUNT, 2), 500.0)
    joints2d = project(joints, *still)
    centre, side = box_to_square(torch.cat([joints2d.amin(dim=1), joints2d.amax(dim=1)], dim=-1), expansion)
    focal, princpt = crop_camera(crop_homography(centre, side, height, width), *still)
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ClipBatch(
        frames=Frames(
            size=size,
            image=torch.stack([u, v, u]).to(torch.uint8).expand(COUNT, -1, -1, -1),
            focal=focal,
            princpt=princpt,
            time=torch.zeros(COUNT, dtype=torch.float64),
        ),
        index=torch.arange(COUNT)[:, None],
        frame_mask=torch.ones(COUNT, 1, dtype=torch.bool),
        is_right=torch.ones(COUNT, dtype=torch.bool),
        row=torch.arange(COUNT),
    )


class Faultless(nn.Module):
    """Gives the true joints of a batch in whatever square of its crops it is shown; `off`: px of its own
    224."""

    def __init__(self, joints, batch, off=0.0):
        super().__init__()
        self.joints, self.batch, self.off = joints, batch, off
        self.asked = []

    def forward(self, image):
        self.asked.append(tuple(image.shape))
        corner = image[:, :2, 0, 0].float()
        pixels = project(self.joints, self.batch.frames.focal, self.batch.frames.princpt) - corner[:, None]
        screen = (pixels + 0.5) * SIZE / image.shape[-1] - 0.5 + self.off
        sure = torch.ones(COUNT)
        return HandLandmarks(
            nn.functional.pad(screen, (0, 1)), sure, sure, self.joints - self.joints[:, 9:10]
        )


def baseline(layer, joints, batch, expansion, off=0.0):
    return LandmarkBaseline(Faultless(joints, batch, off), layer, expansion)


SIZES = [((128, 128), 2.0), ((192, 144), 1.2), ((100, 160), 3.0)]


@pytest.mark.parametrize("size, expansion", SIZES)
def test_true_landmarks_give_the_true_hand(layer, truth, size, expansion, monkeypatch):
    batch = batch_of(truth.joints, size, expansion)
    found = baseline(layer, truth.joints, batch, expansion)
    alone = found.alone(batch)
    torch.testing.assert_close(alone.joints, truth.joints, atol=0.1, rtol=0)
    true2d = project(truth.joints, batch.frames.focal, batch.frames.princpt)
    true2d = in_boxes(normalise_pixels(true2d, size[::-1]), batch, expansion)
    torch.testing.assert_close(alone.joints2d, true2d, atol=1e-4, rtol=0)
    assert (true2d.amax(dim=1) - true2d.amin(dim=1)).amax(dim=-1) == pytest.approx(
        torch.ones(COUNT).numpy(), abs=1e-3
    )
    monkeypatch.setattr(landmarks, "PIXEL_NOISE", 0.002)
    monkeypatch.setattr(landmarks, "SPACE_NOISE_MM", 0.5)
    fitted = found.fitted(batch)
    assert (fitted.joints - truth.joints).norm(dim=-1).mean() < 1.5
    assert (fitted.vertices - truth.vertices).norm(dim=-1).mean() < 2.5


def test_hands_do_not_depend_on_the_size_of_the_crops(layer, truth):
    """As long as the network sees the same: here with landmarks that are wrong, of which the fit makes the
    best by the noise of each box."""
    off = torch.randn(COUNT, 21, 2, generator=torch.Generator().manual_seed(1)) * 4
    found = []
    for size in ((96, 96), (192, 240)):
        batch = batch_of(truth.joints, size, 2.0)
        rows = baseline(layer, truth.joints, batch, 2.0, off).rows()
        found.append([row.hands(batch) for row in rows.values()])
    for small, large in zip(*found):
        torch.testing.assert_close(small.joints, large.joints, atol=0.05, rtol=0)
    alone, fitted = found[0]
    assert fitted.joints2d is None and alone.vertices is None
    assert (fitted.joints - truth.joints).norm(dim=-1).mean() > 2  # what is compared is no exact fit


def test_the_network_sees_so_much_around_a_box_and_once(layer, truth):
    for (size, expansion), seen in zip(SIZES, (96, 144, 50)):
        batch = batch_of(truth.joints, size, expansion)
        found = baseline(layer, truth.joints, batch, expansion)
        for row in found.rows().values():
            assert isinstance(row, Predictor)
            row.observe(batch)
        assert found.network.asked == [(COUNT, 3, seen, seen)]
        assert seen == min(batch.edge, round(batch.edge * EXPANSION / expansion))
        found.alone(batch[torch.arange(COUNT)])  # another batch
        assert len(found.network.asked) == 2


def test_landmarks_are_scored_by_their_own_pixels_and_have_no_mesh(layer, truth):
    batch = batch_of(truth.joints, (128, 128), 2.0)
    off = torch.tensor([[5.0, 0.0], [-5.0, 0.0]])[torch.arange(21) % 2]
    rows = baseline(layer, truth.joints, batch, 2.0, off).rows()
    everything = torch.ones(COUNT, dtype=torch.bool)
    size = (128, 128)
    true = TrueHands(
        joints=truth.joints,
        joints_mask=everything[:, None].expand(-1, 21),
        vertices=truth.vertices - truth.joints[:, WRIST, None],
        hand_mask=everything,
        camera_mask=everything,
        hidden=torch.zeros(COUNT),
        frame=torch.arange(COUNT),
        time=torch.arange(COUNT).double() / 30,
        joints2d=in_boxes(
            normalise_pixels(project(truth.joints, batch.frames.focal, batch.frames.princpt), size),
            batch,
            2.0,
        ),
        joints2d_mask=everything[:, None].expand(-1, 21),
        focal=batch.frames.focal / 64,
        princpt=in_boxes(normalise_pixels(batch.frames.princpt, size), batch, 2.0),
    )
    for name, row in rows.items():
        hands = row.conclude(row.observe(batch) | {"row": batch.row}, true.time)
        errors = frame_errors(hands, true)
        assert errors["mpvpe_root"][1].all() == (name == "landmarks_fit")
        if name == "landmarks":
            wrong = 100 * 5 / SIZE * EXPANSION  # per cent of a box
            assert errors["error_2d"].value.tolist() == pytest.approx([wrong] * COUNT, rel=1e-3)
            assert errors["mpjpe_root"].value.max() < 0.1  # which those in space do not share
