"""A hand that follows its maps: it is brought to them where they are sure, and left alone where they are
not or agree with it."""

import roma
import torch

from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.map_following import follow_maps

SIZE = 224


def hands(count: int = 4):
    """Joints from the wrist, wrists, cameras."""
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(count, 48, generator=generator) * 0.3
    joints = HandLayer().joints(pose, torch.zeros(count, 10))[:, None].double()
    wrist = (
        torch.tensor([10.0, -15.0, 500.0]).double()
        + 20 * torch.randn(count, 1, 3, generator=generator).double()
    )
    focal = torch.full((count, 1, 2), 500.0).double()
    return joints, wrist, focal, torch.full((count, 1, 2), 111.5).double()


def readings(joints, wrist, focal, princpt, certainty: float) -> torch.Tensor:
    places = project(joints + wrist[..., None, :], focal, princpt)
    uv = normalise_pixels(places, (SIZE, SIZE))
    rest = torch.full((*uv.shape[:-1], 1), certainty).to(uv)
    return torch.cat([uv, torch.zeros_like(rest), rest], dim=-1)


def moved(joints, wrist, degrees: float, shift: list[float]):
    axis = torch.nn.functional.normalize(torch.tensor([0.3, 0.2, 1.0]).double(), dim=0)
    turn = roma.rotvec_to_rotmat(axis * torch.tensor(degrees).double().deg2rad())
    return joints @ turn.mT, wrist + torch.tensor(shift).double()


def off(joints, wrist, seen, focal, princpt) -> torch.Tensor:
    places = project(joints + wrist[..., None, :], focal, princpt)
    return (normalise_pixels(places, (SIZE, SIZE)) - seen[..., :2]).norm(dim=-1).mean()


def test_a_hand_that_agrees_with_its_maps_stays():
    joints, wrist, *camera = hands()
    turn, there = follow_maps(joints, wrist, readings(joints, wrist, *camera, 0.5), *camera, SIZE)
    torch.testing.assert_close(turn, torch.eye(3).double().expand_as(turn))
    torch.testing.assert_close(there, wrist)


def test_a_hand_beside_its_maps_is_brought_to_them():
    joints, wrist, *camera = hands()
    seen = readings(*moved(joints, wrist, 4.0, [12.0, -9.0, 5.0]), *camera, 0.5)
    before = off(joints, wrist, seen, *camera)
    turn, there = follow_maps(joints, wrist, seen, *camera, SIZE)
    assert off(joints @ turn.mT, there, seen, *camera) < 0.1 * before
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).double().expand_as(turn))
    angle = roma.rotmat_to_rotvec(turn).norm(dim=-1).rad2deg()
    assert (angle > 2).all() and (angle < 4.2).all()


def test_maps_that_are_not_sure_move_nothing():
    joints, wrist, *camera = hands()
    seen = readings(*moved(joints, wrist, 20.0, [30.0, 0.0, 0.0]), *camera, 1e-4)
    turn, there = follow_maps(joints, wrist, seen, *camera, SIZE)
    assert (there - wrist).abs().max() < 1 and (turn - torch.eye(3)).abs().max() < 1e-3


def test_an_orientation_is_kept_where_only_one_joint_is_sure():
    joints, wrist, *camera = hands()
    seen = readings(*moved(joints, wrist, 0.0, [10.0, 0.0, 0.0]), *camera, 1e-4)
    seen[:, :, 0, 3] = 0.5
    turn, there = follow_maps(joints, wrist, seen, *camera, SIZE)
    torch.testing.assert_close(there[..., :2], wrist[..., :2] + torch.tensor([10.0, 0]), atol=0.1, rtol=0)
    assert (turn - torch.eye(3)).abs().max() < 1e-3
