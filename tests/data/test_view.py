"""What holds a view together: project(change(x)) == change(project(x)), on every label, whatever is drawn."""

import cv2
import numpy as np
import pytest
import torch

from tempohand.data.convert.frame import Camera, Frame, HandLabels
from tempohand.data.convert.rows import Storage, rows_of
from tempohand.data.loader import ClipDataset, collate
from tempohand.data.photometric import Photometric
from tempohand.data.pictures import decode
from tempohand.data.table import FrameTable
from tempohand.data.view import Augmentation, View
from tempohand.geometry import denormalise_pixels, fingers_angle, over_square, project
from tempohand.hand.layer import HandLayer

STRONG = Augmentation(roll=180, tilt=10, scale=0.3, shift=0.1, jitter_scale=0.05, jitter_shift=0.05)


@pytest.fixture(scope="module", params=[None, STRONG], ids=["plain", "augmented"])
def batch(request, table_root):
    dataset = ClipDataset(FrameTable(table_root, "train"), View(128, 2.0, request.param), 3, seed=5)
    return collate(
        [dataset[(position, row)] for position, row in enumerate(range(0, 48, 2))]
    )  # right and left hands


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_hands_are_turned_upright_before_they_are_rolled(table_root, mirror):
    """Exactly but for pixels that are not square; without `upright` they point wherever they point."""
    table, angles = FrameTable(table_root, "train"), {}
    for upright in (0.0, 1.0):
        still = Augmentation(0, 0, 0, 0, 0, 0, upright=upright, mirror=mirror)
        dataset = ClipDataset(table, View(128, 2.0, still), 1, seed=5)
        batch = collate([dataset[(position, row)] for position, row in enumerate(range(0, 48, 2))])
        angles[upright] = fingers_angle(batch.target.joints2d[:, 0])
        sides = batch.is_right
    assert angles[1.0].abs().max() < 0.05 and sides.any() and not sides.all()
    assert angles[0.0].abs().max() > 0.3


def test_a_roll_is_about_upright(table_root):
    rolled = Augmentation(60, 0, 0, 0, 0, 0, upright=1.0)
    dataset = ClipDataset(FrameTable(table_root, "train"), View(128, 2.0, rolled), 1, seed=5)
    batch = collate([dataset[(position, row)] for position, row in enumerate(range(0, 48, 2))])
    angles = fingers_angle(batch.target.joints2d[:, 0]).rad2deg()
    assert 30 < angles.abs().max() < 63 and angles.min() < -15 and angles.max() > 15


def test_the_table_has_both_sides(batch):
    assert batch.is_right.any() and not batch.is_right.all()


def test_joints_project_onto_joints2d(batch):
    target = batch.target
    pixels = project(target.joints, batch.focal[:, -1:], batch.princpt[:, -1:])
    torch.testing.assert_close(pixels, denormalise_pixels(target.joints2d, (128, 128)), atol=0.01, rtol=0)


def test_pose_shape_and_wrist_reproduce_the_joints(batch):
    target = batch.target
    joints, _ = HandLayer()(target.pose, target.shape, target.trans)
    torch.testing.assert_close(joints, target.joints, atol=0.02, rtol=0)


def test_the_picture_moves_with_its_labels(batch):
    """The dots that the fixture draws on the joints are red where the labels say they are."""
    seen = 0
    for picture, joints2d in zip(
        batch.frames.image[: len(batch)], denormalise_pixels(batch.target.joints2d[:, 0], (128, 128))
    ):
        for joint in (0, 4, 8, 20):
            u, v = joints2d[joint].round().int().tolist()
            if 1 <= u < 127 and 1 <= v < 127:
                red, _, blue = picture[:, v - 1 : v + 2, u - 1 : u + 2].float().amax(dim=(1, 2))
                seen += bool(red > blue + 40)
    assert seen > 0.8 * 4 * len(batch)


def test_every_hand_comes_out_right(table_root):
    """A left row and its right twin, drawn as mirror images, give the same labels."""
    from tests_support import hand_rows, write_table

    root = table_root.parent / "twins"
    rows = hand_rows("right", 3, seed=3), hand_rows("left", 3, seed=3, is_right=False)
    for left, right in zip(rows[1], rows[0]):  # the left picture is the mirrored right one, its camera too
        left["joints2d"] = right["joints2d"] * [-1, 1] + [95, 0]
        left["princpt"] = right["princpt"] * [-1, 1] + [95, 0]
        x0, y0, x1, y1 = right["box"]
        left["box"] = np.array([95 - x1, y0, 95 - x0, y1])
        picture = cv2.imdecode(np.frombuffer(right["image"], np.uint8), cv2.IMREAD_COLOR)
        left["image"] = cv2.imencode(".png", picture[:, ::-1])[1].tobytes()
    dataset = ClipDataset(FrameTable(write_table(root, {"train": list(rows)}), "train"), View(64), 1)
    right, left = collate([dataset.clip(1)]), collate([dataset.clip(4)])
    assert right.is_right.item() and not left.is_right.item()
    for name in ("joints2d", "joints", "pose", "shape", "trans"):
        torch.testing.assert_close(
            getattr(left.target, name), getattr(right.target, name), atol=1e-3, rtol=1e-4
        )
    torch.testing.assert_close(left.princpt, right.princpt)
    assert (left.frames.image.float() - right.frames.image.float()).abs().max() <= 1


def test_a_whole_picture_crop_is_the_picture():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    camera = torch.tensor([[70.0, 70.0]]), torch.tensor([[31.0, 33.0]])
    image, placed = View(64, 1.0).crop([picture], *camera, torch.tensor([[-0.5, -0.5, 63.5, 63.5]]), True)
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), picture)
    assert torch.equal(placed.focal, camera[0]) and torch.equal(placed.princpt, camera[1])


def test_shrinking_keeps_pixel_centres():
    """A linear ramp stays the same ramp at a quarter of the size: no half-pixel shift anywhere."""
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2)
    camera = torch.tensor([[300.0, 300.0]]), torch.tensor([[128.0, 128.0]])
    image, placed = View(64, 1.0).crop([ramp], *camera, torch.tensor([[-0.5, -0.5, 255.5, 255.5]]), True)
    columns = (torch.arange(64) - placed.princpt[0, 0]) / placed.focal[0, 0] * 300 + 128
    assert (image[0, 0].float() - columns)[2:-2, 2:-2].abs().max() < 1.1


def test_the_other_sides_hand_is_the_mirror_image_and_has_no_other_label(table_root):
    still = {
        "roll": 0,
        "scale": 0,
        "shift": 0,
        "jitter_scale": 0,
        "jitter_shift": 0,
        "photometric": Photometric(probability=0),
    }
    rows = list(enumerate(range(0, 48, 2)))
    right, left = (
        collate([dataset[key] for key in rows])
        for dataset in (
            ClipDataset(
                FrameTable(table_root, "train"), View(64, 2.0, Augmentation(mirror=share, **still)), 1, seed=5
            )
            for share in (0.0, 1.0)
        )
    )
    assert (
        right.shows_right.all() and not left.shows_right.any() and torch.equal(right.is_right, left.is_right)
    )
    assert (left.frames.image.flip(-1).int() - right.frames.image).abs().float().mean() < 0.5
    for name in ("joints2d_mask", "joints_mask", "hand_mask"):
        assert getattr(right.target, name).any() and not getattr(left.target, name).any()
    torch.testing.assert_close(left.princpt[..., 0], 63 - right.princpt[..., 0])


def test_some_of_the_samples_show_the_other_side(table_root):
    dataset = ClipDataset(
        FrameTable(table_root, "train"), View(64, 2.0, Augmentation(mirror=0.25)), 1, seed=5
    )
    shows_right = collate([dataset[(position, 0)] for position in range(400)]).shows_right
    assert 0.68 < shows_right.float().mean() < 0.82


def test_a_draw_is_constant_along_the_clip_but_for_its_jitter():
    draw = View(64, 2.0, STRONG).draw(np.random.default_rng(1), 200)
    steps, spread = draw.shift.diff(dim=0).std(), draw.shift.std(dim=0).mean()
    assert draw.rotation.shape == (3, 3)  # one camera rotation for the clip
    assert steps < spread  # correlated in time: white noise would give steps 1.41 times the spread


def test_colour_is_the_same_for_the_frames_of_a_clip():
    view = View(64, 1.0, Augmentation())
    photometric = next(
        d.photometric
        for d in (view.draw(np.random.default_rng(k), 2) for k in range(99))
        if not d.photometric.noise
    )
    grey = np.full((64, 64, 3), 90, np.uint8)
    first, second = photometric.apply([grey, grey], np.arange(2))
    assert np.array_equal(first, second)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="expansion at least 1"):
        View(128, 0.5)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_clip_may_have_pictures_of_several_sizes(is_right):
    """Each frame lands where it lands alone: a left one is mirrored about its own picture's middle."""
    rng, view = np.random.default_rng(2), View(64, 2.0, STRONG)
    pictures = [rng.integers(0, 255, (80, width, 3), dtype=np.uint8) for width in (90, 120, 100)]
    focal, princpt = torch.full((3, 2), 150.0), torch.tensor([[40.0, 41.0], [61.0, 38.0], [50.0, 40.0]])
    box = torch.tensor([[30.0, 20, 60, 55], [50.0, 25, 85, 60], [40.0, 30, 80, 70]])
    draw = view.draw(np.random.default_rng(3), 3)
    together = view.place(draw, torch.tensor([90, 120, 100]), focal, princpt, box, is_right)
    for one, picture in enumerate(pictures):
        part = slice(one, one + 1)
        alone = view.place(
            draw[np.array([one])], picture.shape[1], focal[part], princpt[part], box[part], is_right
        )
        for name in ("homography", "focal", "princpt"):
            torch.testing.assert_close(getattr(together, name)[part], getattr(alone, name))


SIDES = {
    "left": (-22, 40, 38, 100),
    "top": (50, -22, 110, 38),
    "right": (102, 40, 162, 100),
    "bottom": (50, 82, 110, 142),
    "corner": (-9, -9, 51, 51),
}
PADDING = 420  # px: squares of 1 to 7 px, of which the crops below average one kind each, fit into it


def smooth(height, width, seed=0):
    """A picture without fine detail, and without two equal edges."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def padded(picture, margin):
    return cv2.copyMakeBorder(picture, *[margin] * 4, cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("zoom", [1, 2, 3])  # without augmentation squares of 1, 3 and 5 px are averaged
@pytest.mark.parametrize("augmentation", [None, STRONG], ids=["plain", "augmented"])
def test_beyond_a_picture_its_edge_is_repeated(side, zoom, augmentation):
    """A crop of a picture is that of the picture with its edge repeated all around before anything is done:
    hands cut off at every side."""
    view = View(64, 2.0, augmentation)
    picture = np.random.default_rng(1).integers(0, 255, (119 * zoom + 2, 141 * zoom + 1, 3), dtype=np.uint8)
    focal, princpt, box = (
        torch.tensor([values], dtype=torch.float32) * zoom for values in ((150, 150), (70, 60), SIDES[side])
    )
    crops = []
    for margin in (0, PADDING):
        image, draw = padded(picture, margin), view.draw(np.random.default_rng(4), 1)
        moved = (box + margin, princpt + margin)
        placement = view.place(draw, image.shape[1], focal, moved[1], moved[0], True)
        crops.append(view.warp([image], placement, draw)[0].int())
    assert (crops[0] - crops[1]).abs().max() <= 1
    assert crops[0].float().std() > 5


@pytest.mark.parametrize("side", SIDES)
def test_where_the_padding_begins_hardly_matters(side):
    """Averaged squares begin at the picture's corner, so a padding that is no whole number of them moves them
    by less than a square."""
    picture, box = smooth(480, 560), torch.tensor([SIDES[side]], dtype=torch.float32) * 4
    camera = torch.full((1, 2), 600.0), torch.full((1, 2), 250.0)
    plain, moved = (
        View(64).crop([padded(picture, margin)], *camera, box + margin, True)[0].float()
        for margin in (0, 341)
    )
    assert (plain - moved).abs().max() < 6 and (plain - moved).abs().mean() < 0.7


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("is_right", [True, False])
def test_a_stored_crop_shows_what_the_whole_picture_shows(side, is_right, tmp_path):
    """Prepared tables hold the part of a picture around a hand: beyond the picture a view repeats the same
    edge."""
    picture, box = smooth(120, 141), np.array(SIDES[side], float)
    joints2d = np.full((21, 2), np.nan)
    camera = Camera(np.array([150.0, 150.0]), np.array([70.0, 60.0]))
    frame = Frame(picture, "s", "r", 0, [HandLabels(is_right, None, joints2d, box=box)], camera, 0.0)
    (row,) = rows_of(frame, tmp_path, "made", Storage(quality=100))
    stored = decode(row["image"], row["width"], row["height"])
    assert stored.shape != picture.shape
    view, crops = View(64, 2.0), []
    for image, one in (
        (picture, {"focal": camera.focal, "princpt": camera.princpt, "box": box}),
        (stored, row),
    ):
        values = (
            torch.from_numpy(np.asarray(one[name], np.float32))[None] for name in ("focal", "princpt", "box")
        )
        crops.append(view.crop([image], *values, is_right)[0].float())
    assert (crops[0] - crops[1]).abs().mean() < 1.5 and (
        crops[0] - crops[1]
    ).abs().max() < 16  # what JPEG leaves


def test_a_box_of_any_size_has_a_crop():
    """However much larger than its picture: no more memory than a few pictures."""
    picture, camera = smooth(90, 160), (torch.full((1, 2), 200.0), torch.full((1, 2), 80.0))
    for edge in (1e3, 1e5, 1e9):
        crop = View(64).crop(
            [picture], *camera, torch.tensor([[80 - edge, 45 - edge, 80 + edge, 45 + edge]]), True
        )[0]
        assert crop.shape == (1, 3, 64, 64) and crop.float().mean() > 0


@pytest.mark.parametrize("size", [(96, 64), (48, 80)])
def test_a_crop_of_another_shape_shows_more_of_the_same_square(table_root, size):
    """The square around the hand lies in the middle of the crop, as wide as its shorter edge: picture, camera
    and labels there are those of a square crop."""
    edge, table = min(size), FrameTable(table_root, "train")
    augmentation = Augmentation(photometric=Photometric(probability=0.0, noise=0.0))
    square, wide = (ClipDataset(table, View(shape, 2.0, augmentation), 1) for shape in (edge, size))
    one, other = (dataset.collate([dataset[5, 7]]) for dataset in (square, wide))
    margin = torch.tensor([size[1] - edge, size[0] - edge]) / 2
    assert other.frames.size == size and other.frames.image.shape[-2:] == size
    torch.testing.assert_close(other.focal, one.focal)
    torch.testing.assert_close(other.princpt, one.princpt + margin, atol=1e-3, rtol=0)
    u, v = map(int, margin)
    middle = other.frames.image[..., v : v + edge, u : u + edge].float()
    assert (middle - one.frames.image.float()).abs().max() <= 1  # coordinates round differently
    true = denormalise_pixels(one.target.joints2d, (edge, edge)) + margin
    torch.testing.assert_close(denormalise_pixels(other.target.joints2d, size[::-1]), true, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        over_square(other.target.joints2d, size), one.target.joints2d, atol=1e-5, rtol=0
    )
