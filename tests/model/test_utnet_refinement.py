"""What UTNet's refinement reads and changes, and where its depth is looked for: each number by hand."""

from dataclasses import replace

import pytest
import torch
from utnet_support import HEIGHT, SMALL, WIDTH, small_utnet, utnet_batch

from tempohand.geometry import normalise_pixels, project, rotation_6d_to_matrix
from tempohand.hand.layer import HandLayer
from tempohand.model.utnet_camera import CropCamera
from tempohand.model.utnet_depth import LEAST_SHARE, UNITS_MM, MeasuredDepth
from tempohand.model.utnet_joints import CLOSE, READING, JointMaps
from tempohand.model.utnet_losses import COARSE, HAND_TERMS, utnet_terms
from tempohand.model.utnet_mesh import NEAR_MM, GraphPool, at_vertices, depth_behind, normalised_adjacency
from tempohand.model.utnet_trunk import HandTokens

IDENTITY = torch.eye(3)[:2].flatten()
WINDOW = 30  # px of the square where SMALL's crops have their hand


def test_what_the_refinement_says_is_what_changes():
    """A turn of every joint before its coarse rotation, betas and camera numbers that are added."""
    network, batch = small_utnet().eval(), utnet_batch(depth=None)
    change = torch.randn(109, generator=torch.Generator().manual_seed(0)) * 0.2
    with torch.no_grad():
        network.refinement.read[-1].weight.zero_()
        network.refinement.read[-1].bias.copy_(change)
        said = network(batch)
    turn = rotation_6d_to_matrix(IDENTITY + change[:96].view(16, 6))
    coarse = said.terms
    torch.testing.assert_close(said.rotation, turn @ coarse["coarse_rotation"], atol=1e-5, rtol=0)
    torch.testing.assert_close(said.shape, coarse["coarse_shape"] + change[96:106])
    torch.testing.assert_close(coarse["log_depth"], coarse["coarse_log_depth"] - change[106])
    moved = (coarse["uv"] - coarse["coarse_uv"]) * torch.tensor([WIDTH, HEIGHT]) / WIDTH  # of the square
    torch.testing.assert_close(moved, change[107:].expand_as(moved), atol=1e-5, rtol=0)


def test_depth_is_looked_for_in_the_square_around_the_hand():
    """A coarse camera of zeros is the measured centre: what lies nearer beside the square is not it."""
    network, batch = small_utnet(refinement=SMALL["refinement"] | {"kind": None}).eval(), utnet_batch()
    depth = torch.full((4, 1, HEIGHT, WIDTH), 300.0)
    top, left = (HEIGHT - WINDOW) // 2, (WIDTH - WINDOW) // 2
    depth[..., top : top + WINDOW, left : left + WINDOW] = 500.0
    batch.frames.depth = depth
    with torch.no_grad():
        network.heads["camera"].weight.zero_()
        wrist = network(batch).trans
    torch.testing.assert_close(wrist[..., 2], torch.full((4, 1), 500.0))


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_a_few_measurements_are_none(share):
    """Flying pixels in a hole are no depth."""
    depth = torch.zeros(1, 1, HEIGHT, WIDTH)
    cells = depth[:, :, (HEIGHT - WINDOW) // 2 :: 2, (WIDTH - WINDOW) // 2 :: 2]  # those that are looked at
    looked_at = (WINDOW // 2) ** 2
    for number in range(round(share * LEAST_SHARE * looked_at)):
        cells[0, 0, 3 + number // 10, number % 10] = 400.0
    assert bool(MeasuredDepth.of(depth, WINDOW).known) == (share > 1)


def test_a_network_of_colour_alone_trains_no_stem():
    network = small_utnet(fusion={"widths": [4], "dropout": 1.0})
    assert not any(weight.requires_grad for weight in network.fusion.tokens.parameters())
    assert all(weight.requires_grad for weight in small_utnet().fusion.tokens.parameters())


def test_depth_between_two_surfaces_is_one_of_them():
    depth = torch.full((1, 1, HEIGHT, WIDTH), 500.0)
    depth[..., ::2] = 520.0
    pixels = torch.rand(1, 50, 2, generator=torch.Generator().manual_seed(0)) * (WIDTH - 4) + 1
    behind = depth_behind(
        MeasuredDepth.of(depth, WINDOW), torch.full((1, 50), 500.0), normalise_pixels(pixels, (WIDTH, HEIGHT))
    )
    even = (pixels[..., 0].round() % 2 == 0).float()
    torch.testing.assert_close(behind[..., 0], even * 20 / NEAR_MM)
    assert behind[..., 1].all()


def test_a_vertex_is_told_its_place_its_distance_and_the_depth_behind_it():
    network, batch = small_utnet().eval(), utnet_batch()
    hand = network(batch)
    hand.vertices.requires_grad_()  # a refinement must not move what it is read from
    maps = [torch.zeros(4, 2, HEIGHT // cell, WIDTH // cell) for cell in (16, 8, 4)]
    told = at_vertices(maps, hand, batch.frames, None)
    assert told.shape == (4, 778, 6 + 5) and not told.requires_grad and not told[..., :6].any()
    vertices = hand.vertices[:, 0].detach()
    places = normalise_pixels(project(vertices, batch.frames.focal, batch.frames.princpt), (WIDTH, HEIGHT))
    torch.testing.assert_close(told[..., 6:8], places)
    torch.testing.assert_close(told[..., 8], (vertices[..., 2] - hand.trans[:, :, 2]) / UNITS_MM)
    assert not told[..., 9:].any()


def test_the_graph_pools_what_its_layers_say_of_neighbours():
    """Against the dense product: every layer spreads, and each joint's mean is one of its own skin."""
    hand = HandLayer()
    pool, features = GraphPool(hand, 6, [5, 4]).eval(), torch.randn(2, 778, 6)
    adjacency, x = normalised_adjacency(hand.faces), pool.norm(features)
    for layer in pool.layers:
        x = (adjacency @ layer(x)).relu()
    skin = hand.weights.cpu().float()  # [778, 16]
    means = torch.einsum("vj,nvc->njc", skin / skin.sum(dim=0), x)
    expected = torch.cat([means.flatten(1), x.mean(dim=1)], dim=-1)
    torch.testing.assert_close(pool(features), expected, atol=1e-4, rtol=1e-4)


def test_joint_maps_say_which_way_the_coarse_hand_is_wrong():
    network, batch = small_utnet().eval(), utnet_batch()
    hand = network(batch)
    logits = torch.full((4, 21, HEIGHT // 4, WIDTH // 4), -50.0)
    logits[..., 7, 5] = 50.0
    seen = torch.tensor([5.5 / (WIDTH // 4), 7.5 / (HEIGHT // 4)]) - 0.5
    wall = MeasuredDepth.of(torch.full((4, 1, HEIGHT, WIDTH), 900.0), WINDOW)
    told = JointMaps.beside(logits, hand, wall).view(4, 21, READING)
    away = ((seen - hand.joints2d[:, 0]) / CLOSE).clamp(-3, 3)
    torch.testing.assert_close(told[..., :2], away, atol=1e-4, rtol=0)
    torch.testing.assert_close(told[..., 2], torch.ones(4, 21))  # one cell is sure
    behind = ((900 - hand.joints[:, 0, :, 2]) / NEAR_MM).clamp(-1, 1)
    torch.testing.assert_close(told[..., 3], behind)
    beside = replace(hand, joints2d=hand.joints2d + 5)  # beyond the crop: the map's place counts
    assert JointMaps.beside(logits, beside, wall).view(4, 21, READING)[..., 4].all()


def test_depth_is_told_in_the_units_of_the_cameras_number():
    """`log_depth`, from which the loss is, is that of the wrist, with measured depth and without."""
    batch = utnet_batch(2)
    depth = MeasuredDepth(batch.frames.depth, torch.tensor([400.0, 0.0]), torch.tensor([True, False]))
    camera, numbers = CropCamera.of(batch, 1.6, depth), torch.full((2, 1, 3), 0.3)
    said = camera.said(numbers)["log_depth"]
    torch.testing.assert_close(camera.prior * said.exp(), camera.wrist(numbers)[..., 2])


@pytest.mark.parametrize("name", HAND_TERMS)
def test_each_coarse_term_is_of_the_coarse_hand(name):
    source = {"orientation": "rotation", "pose": "rotation", "depth": "log_depth"}.get(name, name)
    network, batch = small_utnet().eval(), utnet_batch()
    said = network(batch)
    before = utnet_terms(said, batch, 1.6)
    said.terms[COARSE + source] = said.terms[COARSE + source] + 0.1
    after = utnet_terms(said, batch, 1.6)
    changed = {each for each in before if not torch.equal(before[each].value, after[each].value)}
    alike = {"orientation", "pose"} if source == "rotation" else {name}
    assert changed == {COARSE + each for each in alike}


def test_the_hands_tokens_are_pose_shape_camera():
    """Facts of the camera are in its own token, which the camera's head reads: the last one."""
    torch.manual_seed(0)
    tokens = HandTokens(8, torch.randn(16, 6), 5)
    one, other = tokens(torch.zeros(1, 5))[0], tokens(torch.ones(1, 5))[0]
    changed = (one != other).any(dim=-1)
    assert changed.tolist() == [False] * 17 + [True]
    torch.testing.assert_close(one[16], tokens.place[16])  # the mean shape is nothing
    torch.testing.assert_close(one[:16], tokens.pose(tokens.mean_columns) + tokens.place[:16])


def test_image_tokens_have_places():
    network = small_utnet().eval()
    tokens, hand = torch.randn(1, 12, 32), torch.randn(1, 18, 32)
    first = network.backbone(tokens, hand)[1].flatten(2)
    second = network.backbone(tokens.flip(1), hand)[1].flatten(2)
    assert (first - second.flip(2)).abs().max() > 0.1


def test_unknown_joints_teach_no_heat_map():
    network, batch = small_utnet().eval(), utnet_batch()
    mask = batch.target.joints2d_mask = batch.target.joints2d_mask.clone()
    mask[1:, :, 5:] = False
    term = utnet_terms(network(batch), batch, 1.6)["heatmap"]
    assert not term.mask[1:, :, 5:].any() and term.mask[0].any() and term.mask[:, :, :5].any()
