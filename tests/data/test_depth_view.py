"""Depth and mask go where the picture goes, and depth turns with the camera: against a naive loop, against
geometry, and against the labels of the same rows."""

import numpy as np
import pytest
import torch
from tests_support import BEHIND_MM, hand_rows, with_depth, write_table

from tempohand.data.depth_view import depth_crops, mask_crops, warp_depth
from tempohand.data.loader import ClipDataset, collate
from tempohand.data.table import FrameTable
from tempohand.data.view import Augmentation, View
from tempohand.geometry import denormalise_pixels

STRONG = Augmentation(roll=180, tilt=15, scale=0.3, shift=0.1, jitter_scale=0.05, jitter_shift=0.05)
FOCAL, PRINCPT = torch.tensor([[140.0, 150.0]]).double(), torch.tensor([[45.0, 52.0]]).double()
BOX = torch.tensor([[30.0, 25.0, 75.0, 70.0]])
SIZE = (80, 60)  # of crops, height and width
SHAPE = (96, 100)  # of stored pictures


def placed(seed: int, augmentation=STRONG, is_right: bool = True, size: tuple[int, int] = SIZE):
    view = View(size, 2.0, augmentation)
    draw = view.draw(np.random.default_rng(seed), 1)
    return view.place(draw, SHAPE[1], FOCAL, PRINCPT, BOX, is_right)


@pytest.mark.parametrize("is_right", [True, False])
def test_every_pixel_is_its_nearest_sample_turned_with_the_camera(is_right):
    """A naive loop: each crop pixel looks up its place in the stored picture, makes a point of what is
    measured there, mirrors and turns it, and keeps its z."""
    rng = np.random.default_rng(2)
    depth = rng.uniform(300, 900, SHAPE).astype(np.float32)
    depth[rng.random(SHAPE) < 0.2] = 0
    placement = placed(5, is_right=is_right)
    found = depth_crops([depth], placement, SIZE)[0, 0].numpy()
    back = np.linalg.inv(placement.homography[0].numpy())
    turn, (fx, fy), (cx, cy) = placement.rotation.numpy(), FOCAL[0].numpy(), PRINCPT[0].numpy()
    checked = 0
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            place = back @ [column, row, 1.0]
            u, v = place[:2] / place[2]
            if max(abs(u - round(u)), abs(v - round(v))) > 0.49:
                continue  # between two pixels
            inside = 0 <= round(u) < SHAPE[1] and 0 <= round(v) < SHAPE[0]
            z = depth[round(v), round(u)] if inside else 0.0
            ray = np.array([(u - cx) / fx * (1 if is_right else -1), (v - cy) / fy, 1.0])
            np.testing.assert_allclose(found[row, column], z * (turn @ ray)[2], atol=1e-2)
            checked += z > 0
    assert checked > 1500


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_plane_stays_the_plane_that_the_new_camera_sees(seed, is_right):
    """Drawn and then moved is moved and then drawn."""
    plane = np.array([0.3, -0.2, 1.0]), 500.0  # n . X = d

    def drawn(normal, distance, focal, princpt, size):
        v, u = np.mgrid[: size[0], : size[1]]
        x, y = (u - princpt[0]) / focal[0], (v - princpt[1]) / focal[1]
        return distance / (normal[0] * x + normal[1] * y + normal[2])

    placement = placed(seed, is_right=is_right)
    stored = drawn(*plane, FOCAL[0].numpy(), PRINCPT[0].numpy(), SHAPE).astype(np.float32)
    found = depth_crops([stored], placement, SIZE)[0, 0].numpy()
    normal = placement.rotation.numpy() @ (plane[0] * [1 if is_right else -1, 1, 1])
    expected = drawn(normal, plane[1], placement.focal[0].numpy(), placement.princpt[0].numpy(), SIZE)
    seen = found > 0
    assert seen.mean() > 0.5
    assert np.abs(found - expected)[seen].max() < 3.0  # mm: half a pixel of this slope


@pytest.mark.parametrize(("is_right", "roll"), [(True, 0.0), (False, 0.0), (True, 120.0), (False, 120.0)])
def test_crop_mirror_and_roll_leave_depth_as_it_is(is_right, roll):
    values = np.array([0.0, 350.25, 600.5], np.float32)
    depth = np.random.default_rng(0).choice(values, SHAPE)
    still = Augmentation(roll=roll, tilt=0.0, scale=0.3)
    found = depth_crops([depth], placed(3, still, is_right), SIZE)[0, 0].numpy()
    np.testing.assert_allclose(found, values[np.abs(found[..., None] - values).argmin(-1)], atol=1e-3)
    assert all((np.abs(found - value) < 1e-3).any() for value in values)


def test_a_tilt_changes_depth_by_far_more_than_its_tolerance():
    """So that the tests above can fail: 12 degrees are tens of millimetres at the border of a crop."""
    depth = np.full(SHAPE, 500.0, np.float32)
    tilted = depth_crops([depth], placed(1, Augmentation(roll=0.0, tilt=15.0)), SIZE)[0, 0].numpy()
    assert np.ptp(tilted[tilted > 0]) > 20


def test_no_sample_mixes_surfaces_or_reaches_beyond_the_picture():
    depth = np.full(SHAPE, 800.0, np.float32)
    depth[:, 40:55] = 400.0
    depth[:, 55:60] = 0.0
    wide = np.array([[0.4, 0.0, 10.0], [0.0, 0.4, 5.0], [0.0, 0.0, 1.0]])  # the picture is 40 px of 80
    found = warp_depth(depth, wide, SIZE)
    assert set(np.unique(found)) == {0.0, 400.0, 800.0}
    assert not found[:5].any() and not found[:, :9].any() and not found[:, 51:].any()


def test_mask_and_depth_move_together():
    mask = np.random.default_rng(4).random(SHAPE) < 0.5
    depth = np.where(mask, 500.0, 0.0).astype(np.float32)
    for seed in range(3):
        placement = placed(seed, is_right=bool(seed % 2))
        seen = depth_crops([depth], placement, SIZE) > 0
        assert torch.equal(seen, mask_crops([mask], placement, SIZE)) and 0.1 < seen.float().mean() < 0.9


@pytest.fixture(scope="module")
def depth_root(tmp_path_factory):
    rows = [with_depth(hand_rows(f"s{seed}", 4, seed, is_right=bool(seed % 2))) for seed in range(4)]
    rows.append(hand_rows("picture only", 4, 9))
    splits = {"train": rows, "val": [hand_rows("pictures only", 4, 8)]}
    return write_table(tmp_path_factory.mktemp("depth") / "table", splits)


@pytest.mark.parametrize("augmentation", [None, STRONG], ids=["plain", "augmented"])
@pytest.mark.parametrize("size", [(128, 96), 128], ids=["tall", "square"])
def test_under_the_joints_lies_their_own_depth(depth_root, augmentation, size):
    """Of right and left hands, in crops of any shape, whatever was drawn."""
    table = FrameTable(depth_root, "train")
    assert table.inputs == {"image", "depth", "mask"}
    view = View(size, 2.0, augmentation)
    dataset = ClipDataset(table, view, 1, seed=3, inputs=("image", "depth", "mask"))
    batch = collate([dataset[position, row] for position, row in enumerate(range(16))])
    frames = batch.frames
    height, width = view.size
    assert frames.depth.shape == (16, 1, height, width) == frames.mask.shape
    assert frames.depth.dtype == torch.float32 and frames.mask.dtype == torch.bool
    pixels = denormalise_pixels(batch.target.joints2d[:, 0], (width, height))
    error = []
    for frame in range(16):
        z = batch.target.joints[frame, 0, :, 2]
        stored = torch.tensor(table.column("joints2d")[frame])
        inside = ((stored >= 2) & (stored <= 93)).all(1)
        apart = torch.cdist(stored, stored) + 1e6 * torch.eye(21)
        for joint in torch.nonzero((apart.amin(0) > 5) & inside)[
            :, 0
        ].tolist():  # no other disc reaches there
            u, v = pixels[frame, joint].round().int().tolist()
            if 0 <= u < width and 0 <= v < height:
                assert frames.mask[frame, 0, v, u]
                error.append(abs(float(frames.depth[frame, 0, v, u] - z[joint])))
    assert len(error) > 30 and max(error) < 2.0, (len(error), max(error))


def test_a_row_without_is_unknown_and_who_does_not_ask_gets_none(depth_root):
    table = FrameTable(depth_root, "train")
    view = View(96)
    asked = ClipDataset(table, view, 1, inputs=("image", "depth", "mask"))
    with_and_without = asked.collate([asked.clip(0), asked.clip(19)]).frames
    assert with_and_without.depth[0].any() and not with_and_without.depth[1].any()
    assert with_and_without.mask[0].any() and not with_and_without.mask[1].any()
    unasked = ClipDataset(table, view, 1)
    plain = unasked.collate([unasked.clip(0)]).frames
    assert plain.depth is None and plain.mask is None
    assert torch.equal(plain.image, with_and_without.image[:1])
    without = ClipDataset(FrameTable(depth_root, "val"), view, 1, inputs=("image", "depth", "mask"))
    assert without.collate([without.clip(0)]).frames.depth is None  # a table without any, at no cost


def test_the_wall_is_where_it_was(depth_root):
    depth = FrameTable(depth_root, "train").depth(0)
    assert depth[0, -1] == BEHIND_MM and not depth[:, :12].all()
