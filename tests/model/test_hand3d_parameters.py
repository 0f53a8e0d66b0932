"""The 22 numbers and the hand in camera space that they stand for, both ways and in every view."""

import pytest
import roma
import torch

from tempohand.data.loader import ClipDataset, collate
from tempohand.data.table import FrameTable
from tempohand.data.view import Augmentation, View
from tempohand.geometry import apply_homography, crop_camera, crop_homography, project
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_parameters import (
    FRAME,
    WeakHand,
    check_components,
    framed,
    mean_numbers,
    weak_hand,
)

LAYER = HandLayer()
FAR = torch.full((50, 2), 545.0 * 100), torch.full((50, 2), 127.5)  # 100 m away: as good as orthographic
NEAR = torch.tensor([380.0, 420.0]).expand(50, 2), torch.tensor([90.0, 160.0]).expand(50, 2)


def random_numbers(count: int = 50, seed: int = 0) -> WeakHand:
    """Hands of the synthetic pretraining set's distributions."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return 2 * torch.rand(*shape, generator=generator) - 1

    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    angle = 3.1 * uniform(count, 1)
    scale, place = 545 + 80 * uniform(count), 128 + 40 * uniform(count, 2)
    return WeakHand(scale, place, angle * axis, 2 * uniform(count, 6), 0.03 * uniform(count, 10))


def joints_of(numbers: WeakHand, camera) -> torch.Tensor:
    hand = numbers.posed(LAYER, *camera)
    return LAYER(hand.rotation, hand.shape, hand.wrist).joints


@pytest.mark.parametrize("camera", [FAR, NEAR], ids=["far", "near"])
def test_numbers_come_back_from_the_hand_that_they_are(camera):
    numbers = random_numbers()
    hand = numbers.posed(LAYER, *camera)
    pose = roma.rotmat_to_rotvec(hand.rotation).flatten(-2)
    again = weak_hand(LAYER, pose, hand.shape, hand.wrist, *camera)
    torch.testing.assert_close(again.packed(), numbers.packed(), atol=2e-3, rtol=1e-5)
    packed = numbers.packed()
    assert packed.shape == (50, 22) and torch.equal(WeakHand.unpacked(packed).packed(), packed)


def test_a_far_camera_is_weak_perspective():
    """uv = t + s (x, y) of the hand in its own frame, half a turn about x inside, then `rotation` about the
    model's origin; written out here by smplx's rule, vertices from the model's origin."""
    numbers = random_numbers()
    hand = numbers.posed(LAYER, *FAR)
    seen = project(LAYER(hand.rotation, hand.shape, hand.wrist).vertices, *FAR)
    half_turn = torch.tensor([torch.pi, 0, 0]).expand(50, 3)
    relative = LAYER(LAYER.pca_to_pose(half_turn, numbers.pose), numbers.shape).vertices
    own = relative + LAYER.rest_wrist(numbers.shape)[:, None]
    turned = own @ roma.rotvec_to_rotmat(numbers.rotation).mT / 1000
    expected = numbers.translation[:, None] + numbers.scale[:, None, None] * turned[..., :2]
    torch.testing.assert_close(seen, expected, atol=0.25, rtol=0)  # 0.1 m of depth at 100 m: 0.1 % of 150 px


def test_a_crop_moves_scale_and_translation_alone():
    """A window of 306 px of a picture of 320, resized to 256: s and t follow, x by x and y by y."""
    numbers, (focal, princpt) = random_numbers(), FAR
    hand = numbers.posed(LAYER, focal, princpt)
    pose = roma.rotmat_to_rotvec(hand.rotation).flatten(-2)
    centre = torch.tensor([159.5, 159.5]) + torch.tensor([[3.0, -6.0]]).expand(50, 2)
    crop = crop_homography(centre, torch.full((50,), 306.0), 256, 256)
    moved = weak_hand(LAYER, pose, hand.shape, hand.wrist, *crop_camera(crop, focal, princpt))
    torch.testing.assert_close(moved.scale, numbers.scale * 256 / 306, rtol=1e-5, atol=0)
    expected = apply_homography(crop, numbers.translation[:, None])[:, 0]
    torch.testing.assert_close(moved.translation, expected, atol=1e-2, rtol=0)
    assert torch.equal(moved.shape, numbers.shape)
    torch.testing.assert_close(moved.rotation, numbers.rotation, atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [128, 256])
def test_the_numbers_of_a_view_are_its_hand(table_root, size):
    """Truth is derived from whatever the view made of the labels: rolled, tilted, mirrored, cropped."""
    strong = Augmentation(roll=180, tilt=10, scale=0.3, shift=0.1, jitter_scale=0.05, jitter_shift=0.05)
    dataset = ClipDataset(FrameTable(table_root, "train"), View(size, 2.2, strong), 1, seed=5)
    batch = collate([dataset[(position, row)] for position, row in enumerate(range(0, 48, 2))])
    target = batch.target
    camera = framed(batch.focal, batch.princpt, size)
    numbers = weak_hand(LAYER, target.pose, target.shape, target.trans, *camera, components=45)
    torch.testing.assert_close(joints_of(numbers, camera), target.joints, atol=0.05, rtol=0)
    middle = numbers.translation  # of the frame, whatever the crop's size: the hand is amid the crop
    assert ((middle > 0.1 * FRAME) & (middle < 0.9 * FRAME)).all()


def test_what_is_not_of_six_components_has_the_nearest():
    pose = torch.randn(8, 48, generator=torch.Generator().manual_seed(1)) * 0.3
    given = torch.zeros(8, 10), torch.tensor([[0.0, 0.0, 500.0]]).expand(8, 3)
    camera = FAR[0][:8], FAR[1][:8]

    def distance(pca):
        return (LAYER.pca_to_pose(pose[:, :3], pca) - pose).norm(dim=-1)

    best = weak_hand(LAYER, pose, *given, *camera).pose
    for change in torch.eye(6) * 0.05:
        assert (distance(best) < distance(best + change)).all()


def test_the_mean_is_a_hand_amid_the_frame():
    numbers = WeakHand.unpacked(mean_numbers(6)[None])
    assert numbers.scale.item() == 545 and numbers.translation.tolist() == [[128, 128]]
    camera = FAR[0][:1], FAR[1][:1]
    pixels = project(joints_of(numbers, camera), *camera)
    assert (pixels > 0.1 * FRAME).all() and (pixels < 0.9 * FRAME).all()


def test_components_that_the_hand_file_lacks_are_told():
    check_components(LAYER, 45, None)
    for components in (0, 46):
        with pytest.raises(ValueError, match=rf"network.components={components}: the open hand has 1 to 45"):
            check_components(LAYER, components, None)
    flat = HandLayer()
    flat.hands_components[4:] = 0
    with pytest.raises(ValueError, match=r"=6: 'MANO.npz' has 4 of the first 6 \(table 'hands_components'\)"):
        check_components(flat, 6, "MANO.npz")
