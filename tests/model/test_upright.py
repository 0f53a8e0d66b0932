"""Turning a crop upright changes nothing but the way a network sees it: pictures, cameras, hands and loss
terms turn together, there and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests_support import random_batch, small_network, with_features

import tempohand.model.spatial as spatial
from tempohand.batch import ClipBatch, Frames
from tempohand.geometry import normalise_pixels, project, rotation_6d_to_matrix, rotation_about_z
from tempohand.model.registry import build_network
from tempohand.model.upright import (
    LEAST_TURN,
    in_turned_crops,
    root_turned,
    turn_upright,
    turned_frames,
)

SIZE = 64
QUARTER = math.pi / 2
UPRIGHT = {"heatmap": {"upsample": 2, "follow": True, "upright": True}}


def frames(count: int, focal=(150.0, 140.0), princpt=(20.0, 50.0)) -> Frames:
    return Frames(
        size=(SIZE, SIZE),
        image=torch.zeros(count, 3, SIZE, SIZE, dtype=torch.uint8),
        focal=torch.tensor([focal] * count),
        princpt=torch.tensor([princpt] * count),
        time=torch.zeros(count, dtype=torch.float64),
    )


def test_a_point_is_seen_where_the_turned_camera_says():
    before = frames(3)
    turn = torch.tensor([0.0, 0.7, -2.5])
    point = torch.tensor([[12.0, -9.0, 400.0]])
    v, u = np.mgrid[:SIZE, :SIZE]
    x, y = project(point[None], before.focal[:1], before.princpt[:1])[0, 0].tolist()
    spot = np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8) * 255
    before.image[:] = torch.from_numpy(spot).to(torch.uint8)
    after = turned_frames(before, turn)
    expected = project(point @ rotation_about_z(turn).mT, after.focal, after.princpt)[:, 0]
    mass = after.image[:, 0].float()
    place = torch.stack(
        [(mass.sum(1) @ torch.arange(float(SIZE))), (mass.sum(2) @ torch.arange(float(SIZE)))], dim=-1
    ) / mass.sum((1, 2)).unsqueeze(-1)
    torch.testing.assert_close(place, expected, atol=0.1, rtol=0)
    assert torch.equal(after.image[0], before.image[0]) and torch.equal(after.princpt[0], before.princpt[0])


def test_the_middle_stays_and_edges_go_on():
    before = frames(1, focal=(150.0, 150.0))
    generator = torch.Generator().manual_seed(0)
    before.image[:] = torch.randint(0, 256, before.image.shape, generator=generator, dtype=torch.uint8)
    after = turned_frames(before, torch.tensor([QUARTER]))
    assert torch.equal(after.image, before.image.rot90(-1, (2, 3)))  # clockwise
    bright = frames(1)
    bright.image[:] = 200
    assert (turned_frames(bright, torch.tensor([0.6])).image == 200).all()


@pytest.mark.parametrize("angle", [0.0, 0.5, -0.5, 1.2, -3.0])
def test_fingers_are_turned_up(angle):
    """Joints of a hand whose fingers point `angle` from up."""
    along = torch.linspace(0, 0.4, 21)
    readings = torch.zeros(1, 21, 4)
    readings[0, :, 0], readings[0, :, 1] = along * math.sin(angle), -along * math.cos(angle)
    turn = float(turn_upright(readings))
    assert turn == (0 if abs(angle) < LEAST_TURN else pytest.approx(-angle, abs=1 / 32))
    assert float(torch.tensor(turn).bfloat16()) == turn


def network(stage: int, **spatial):
    """One whose crops are turned."""
    torch.manual_seed(0)
    settings = small_network(stage)
    return build_network(settings | {"spatial": settings["spatial"] | UPRIGHT | spatial}).eval()


def nudged(net):
    """Away from the zero initialisations, so that nothing is exact by accident."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return net


def turning_by(monkeypatch, *turns: float) -> None:
    """Frames are turned by these angles, whatever is seen in them."""
    left, again = list(turns), [False]

    def once(readings: torch.Tensor) -> torch.Tensor:
        """Crops that were just turned are upright at the second look."""
        found = torch.tensor([0.0 if again[0] else left.pop(0) for _ in readings])
        again[0] = bool(found.any())
        return found

    monkeypatch.setattr(spatial, "turn_upright", once)


def quarter_turned(batch: ClipBatch) -> ClipBatch:
    """The same hands and cameras, every picture a quarter turn anticlockwise."""
    old = batch.frames
    x, y = old.princpt.unbind(-1)
    new = replace(
        old,
        image=old.image.rot90(1, (2, 3)),
        focal=old.focal.flip(-1),
        princpt=torch.stack([y, SIZE - 1 - x], -1),
    )
    return replace(batch, frames=new)


def test_a_turned_picture_gives_a_turned_hand(monkeypatch):
    """The network sees the same crop, turned back; what it says is turned with the picture."""
    net, batch = nudged(network(1)), random_batch(3, 1)
    turning_by(monkeypatch, 0.0, 0.0, 0.0)
    upright = net(batch)
    turning_by(monkeypatch, QUARTER, QUARTER, QUARTER)
    lying = net(quarter_turned(batch))
    back = rotation_about_z(torch.tensor(-QUARTER))
    for name in ("joints", "vertices", "trans"):
        torch.testing.assert_close(
            getattr(lying, name), getattr(upright, name) @ back.mT, atol=2e-2, rtol=1e-4
        )
    torch.testing.assert_close(lying.rotation[:, :, 0], back @ upright.rotation[:, :, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(lying.rotation[:, :, 1:], upright.rotation[:, :, 1:], atol=1e-4, rtol=0)
    u, v = upright.joints2d.unbind(-1)
    torch.testing.assert_close(lying.joints2d, torch.stack([v, -u - 1 / SIZE], -1), atol=1e-4, rtol=0)
    maps = upright.terms["heatmaps"].rot90(1, (-2, -1))
    torch.testing.assert_close(lying.terms["heatmaps"], maps, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("turn", [0.5, -2.0])
def test_terms_mean_what_the_hand_means(monkeypatch, turn):
    """Turned back, the 6D orientation is the hand's, and the wrist's place in the crop its projection."""
    net, batch = nudged(network(1)), random_batch(2, 1)
    net.spatial.heatmaps.follow = False  # which moves the hand from where the heads see it
    turning_by(monkeypatch, turn, turn)
    said = net(batch)
    root = rotation_6d_to_matrix(said.terms["columns"][..., :6])
    torch.testing.assert_close(root, said.rotation[:, :, 0], atol=1e-5, rtol=0)
    wrist = project(said.trans[:, :, None], batch.focal, batch.princpt)[:, :, 0]
    torch.testing.assert_close(said.terms["uv"], normalise_pixels(wrist, (SIZE, SIZE)), atol=1e-4, rtol=0)
    torch.testing.assert_close(said.joints[:, :, 0], said.trans, atol=1e-3, rtol=0)


def test_places_that_a_backbone_sees_are_turned_back(monkeypatch):
    """All of them, as the wrist's is."""
    net, batch = nudged(network(1)), random_batch(2, 1)
    see = net.spatial.see
    places = torch.rand(2, 21, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    net.spatial.see = lambda frames: replace(see(frames), landmarks=places[: len(frames)].clone())
    turning_by(monkeypatch, QUARTER, QUARTER)
    u, v = places[:, None].unbind(-1)
    back = torch.stack([v, -u - 1 / SIZE], -1)  # as joints2d above
    torch.testing.assert_close(net(batch).terms["landmarks"], back, atol=1e-4, rtol=0)


def test_turned_back_is_the_inverse_of_a_turn():
    generator = torch.Generator().manual_seed(1)
    batch, turn = random_batch(4, 1), torch.tensor([0.0, 1.0, -2.0, 3.0])
    columns = torch.randn(4, 1, 96, generator=generator)
    there = root_turned(columns, rotation_about_z(turn)[:, None])
    assert torch.equal(there[0], columns[0]) and torch.equal(there[..., 6:], columns[..., 6:])
    torch.testing.assert_close(root_turned(there, rotation_about_z(-turn)[:, None]), columns)
    again = in_turned_crops(in_turned_crops(batch, turn), -turn)
    torch.testing.assert_close(again.frames.princpt, batch.frames.princpt, atol=1e-3, rtol=0)


def test_packed_features_know_their_turn(monkeypatch):
    """What a cache or a stream keeps gives the same hand as the picture."""
    net, batch = nudged(network(1)), random_batch(3, 1)
    turning_by(monkeypatch, 0.75, 0.0, -1.5)
    seen = net(batch)
    turning_by(monkeypatch, 0.75, 0.0, -1.5)
    features = net.encode(batch.frames)
    assert features.shape == (3, net.feature_dim) and features[:, -1].tolist() == [0.75, 0.0, -1.5]
    torch.testing.assert_close(net(with_features(batch, features)).joints, seen.joints)


def test_a_crop_that_is_not_upright_yet_is_turned_on(monkeypatch):
    """From the first picture, by both turns together."""
    net, batch = nudged(network(1)), random_batch(2, 1)
    turning_by(monkeypatch, 1.25, -1.0)
    at_once = net.features(batch.frames)
    steps = [torch.tensor([0.75, -1.0]), torch.tensor([0.5, 0.0])]
    monkeypatch.setattr(spatial, "turn_upright", lambda _: steps.pop(0))
    twice = net.features(batch.frames)
    assert twice.turn.tolist() == [1.25, -1.0] and not steps
    torch.testing.assert_close(twice.packed(), at_once.packed())


def test_while_it_trains_crops_stay(monkeypatch):
    net, batch = nudged(network(1)), random_batch(2, 1)
    turning_by(monkeypatch, 1.0, 1.0)
    assert net.train().features(batch.frames).turn is None
    assert net.eval().features(batch.frames).turn.tolist() == [1.0, 1.0]


def test_stage_2_begins_as_stage_1_with_turned_frames(monkeypatch):
    net, batch = network(2), random_batch(2, 7)
    turns = [float(turn) for turn in np.linspace(-3, 3, len(batch.frames)).round(1)]
    with torch.no_grad():
        turning_by(monkeypatch, *turns)
        whole = net(batch)
        turning_by(monkeypatch, *turns[:2])
        alone = net.spatial_only()(batch.last_frame())
    assert torch.equal(whole.joints, alone.joints)


def test_histories_are_compared_in_the_last_frames_crop(monkeypatch):
    """What Stage 2 reads of a frame is what Stage 1 says of it, in the crop of the last frame as it was
    turned."""
    net, batch = nudged(network(2)), random_batch(2, 3)
    net.spatial.heatmaps.follow = False
    turns = [0.5, 0.0, 1.25, -2.0, 0.0, 0.75]
    turning_by(monkeypatch, *turns)
    told = net._read_frames(net.spatial.unpacked(net.encode(batch.frames)[batch.index]), batch)
    of_last = torch.tensor(turns)[batch.index[:, -1]]
    last = in_turned_crops(batch, of_last)
    for time in range(3):
        place = batch.index[:, time]
        turning_by(monkeypatch, *(turns[frame] for frame in place.tolist()))
        alone = replace(batch.last_frame(), frames=batch.frames[place])
        seen = net.spatial_only()(alone)
        to_crop = rotation_about_z(of_last)
        root = rotation_6d_to_matrix(told[:, time, :6])
        torch.testing.assert_close(root, to_crop @ seen.rotation[:, 0, 0], atol=1e-4, rtol=0)
        wrist = project(seen.trans @ to_crop.mT, last.focal[:, 0], last.princpt[:, 0])[:, 0]
        uv = normalise_pixels(wrist, (SIZE, SIZE))
        torch.testing.assert_close(told[:, time, -3:-1], uv, atol=1e-4, rtol=0)


def test_what_cannot_be_turned_back_is_refused():
    with pytest.raises(ValueError, match="upright needs heads.translation=regression"):
        network(1, heads={"translation": "heatmap"})
