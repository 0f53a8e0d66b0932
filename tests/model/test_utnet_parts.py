"""UTNet's parts, each against something simple: loops, formulas, made-up files."""

import math

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import nn
from utnet_support import HEIGHT, SMALL, WIDTH, utnet_batch

from tempohand.geometry import denormalise_pixels, normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.heads import depth_prior
from tempohand.model.losses import heatmap_cross_entropy
from tempohand.model.registry import build_network
from tempohand.model.sampling import sample
from tempohand.model.utnet_camera import CropCamera
from tempohand.model.utnet_depth import RANGE_MM, UNITS_MM, DepthTokens, MeasuredDepth
from tempohand.model.utnet_joints import read_maps
from tempohand.model.utnet_mesh import GraphPool, Upsampler, depth_behind, normalised_adjacency
from tempohand.model.utnet_trunk import ONLY_PATCHES, MapTokens
from tempohand.training.determinism import deterministic_operations

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2}


# ----- sampling ---------------------------------------------------------------------------------------------
def ramp(rows: int, columns: int) -> torch.Tensor:
    """A map over a crop whose cells hold the pixel, x and y, of their own centres."""
    x, y = ((torch.arange(n) + 0.5) * edge / n - 0.5 for n, edge in ((columns, WIDTH), (rows, HEIGHT)))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


@pytest.mark.parametrize("cell", [1, 4, 8, 16])
def test_a_ramp_is_sampled_at_its_own_pixels(cell):
    """At every scale a place's sample is the place: not a corner's, half a cell beside it, or y for x; and a
    hand moved by some pixels moves its samples by as many."""
    step = torch.tensor([3.0, -2.0])
    room = torch.tensor([WIDTH, HEIGHT]) - cell - 7.0
    pixels = cell / 2 + 3 + room * torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(0))
    for each in (pixels, pixels + step):
        places = normalise_pixels(each, (WIDTH, HEIGHT))
        sampled = sample(ramp(HEIGHT // cell, WIDTH // cell), places, (HEIGHT, WIDTH))
        torch.testing.assert_close(sampled, each, atol=1e-3, rtol=0)


def test_sampling_is_the_naive_loop():
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 5, HEIGHT // 4, WIDTH // 4, generator=generator)
    places = torch.rand(2, 30, 2, generator=generator) * 0.9 - 0.45
    wanted = np.zeros((2, 30, 5))
    for n in range(2):
        for v in range(30):
            x, y = ((denormalise_pixels(places[n, v], (WIDTH, HEIGHT)) + 0.5) / 4 - 0.5).tolist()  # in cells
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    weight = (1 - abs(y - row)) * (1 - abs(x - column))
                    cell = maps[n, :, min(max(row, 0), 15), min(max(column, 0), 11)]
                    wanted[n, v] += weight * cell.numpy()
    np.testing.assert_allclose(sample(maps, places, (HEIGHT, WIDTH)).numpy(), wanted, atol=1e-4)


def test_sampling_is_the_same_when_its_gradients_have_an_order():
    """Under deterministic operations: values and both gradients, inside, at edges and beyond them."""
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(2, 5, HEIGHT // 4, WIDTH // 4, generator=generator)
    places = torch.rand(2, 60, 2, generator=generator) * 1.2 - 0.6
    factor = torch.randn(2, 60, 5, generator=generator)
    found = []
    for deterministic in (False, True):
        leaves = [values.clone().requires_grad_() for values in (maps, places)]
        with deterministic_operations(deterministic):
            sampled = sample(*leaves, (HEIGHT, WIDTH))
            (sampled * factor).sum().backward()
        nodes, waiting = set(), [sampled.grad_fn]
        while waiting:
            node = waiting.pop()
            nodes.add(node.name())
            waiting += [before for before, _ in node.next_functions if before is not None]
        assert any("Grid" in name for name in nodes) != deterministic
        found.append([sampled.detach(), *(leaf.grad for leaf in leaves)])
    beyond = (places.abs() > 0.5).any(dim=-1)
    assert beyond.any() and not beyond.all() and (found[0][2][beyond] == 0).any()
    for one, other in zip(*found):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)


def test_the_nearest_cell_is_the_same_under_deterministic_operations():
    """Nothing goes back through it."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(2, 5, HEIGHT // 4, WIDTH // 4, generator=generator)
    places = torch.rand(2, 60, 2, generator=generator) * 1.2 - 0.6
    wanted = sample(maps, places, (HEIGHT, WIDTH), mode="nearest")
    assert torch.isin(wanted, maps).all()
    with deterministic_operations(True):
        assert torch.equal(sample(maps, places, (HEIGHT, WIDTH), mode="nearest"), wanted)


def test_maps_of_all_scales_are_of_one_crop():
    """A bright token lights the same place of the crop at x1, x2 and x4."""
    torch.manual_seed(0)
    upsampler = Upsampler(4, [8, 8, 8])
    for module in upsampler.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(module.weight, 0.1)
            nn.init.zeros_(module.bias)
    tokens = torch.zeros(1, 4, 16, 12)
    tokens[:, :, 4, 7] = 1
    with torch.no_grad():
        maps = upsampler(tokens)
    assert [tuple(each.shape[2:]) for each in maps] == [(16, 12), (32, 24), (64, 48)]
    for each in maps:
        bright = (each[0, 0] - each[0, 0].min()).clamp_min(0)
        rows, columns = bright.shape
        v = float((bright.sum(1) * (torch.arange(rows) + 0.5) / rows).sum() / bright.sum())
        u = float((bright.sum(0) * (torch.arange(columns) + 0.5) / columns).sum() / bright.sum())
        assert (u, v) == pytest.approx((7.5 / 12, 4.5 / 16), abs=0.01)


def test_depth_beside_a_point_is_that_of_its_own_pixel():
    metric = torch.full((1, 1, HEIGHT, WIDTH), 500.0)
    metric[0, 0, 20, 30], metric[0, 0, 21, 30] = 520.0, 0.0
    depth = MeasuredDepth(metric, torch.tensor([500.0]), torch.tensor([True]))
    pixels = torch.tensor([[[30.0, 20.0], [30.0, 21.0], [5.0, 5.0], [-40.0, 3.0]]])
    behind = depth_behind(depth, torch.full((1, 4), 510.0), normalise_pixels(pixels, (WIDTH, HEIGHT)))
    assert behind[0].tolist() == [[0.25, 1.0], [0.0, 0.0], [-0.25, 1.0], [0.0, 0.0]]
    assert not depth_behind(None, torch.zeros(1, 4), pixels).any()


# ----- the mesh ---------------------------------------------------------------------------------------------
def test_the_graph_is_the_hands_own_and_no_ring():
    layer = HandLayer()
    adjacency = normalised_adjacency(layer.faces)
    edges = {tuple(sorted((int(a), int(b)))) for face in layer.faces for a, b in zip(face, face.roll(1))}
    connected = {tuple(sorted(pair)) for pair in adjacency.nonzero().tolist() if pair[0] != pair[1]}
    assert connected == edges and len(edges) > 2200  # a ring has 778
    assert torch.equal(adjacency, adjacency.mT)
    degree = (adjacency != 0).sum(dim=1).double()  # with the vertex itself
    first, second = next(iter(edges))
    assert float(adjacency[first, second]) == pytest.approx(float((degree[first] * degree[second]) ** -0.5))
    assert float(torch.linalg.eigvalsh(adjacency.double()).abs().max()) == pytest.approx(1, abs=1e-5)


def test_graph_convolution_is_the_dense_product():
    layer = HandLayer()
    pool = GraphPool(layer, 6, [4])
    x = torch.randn(2, 778, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pool.spread(x), normalised_adjacency(layer.faces) @ x, atol=1e-5, rtol=0)


# ----- the camera -------------------------------------------------------------------------------------------
def test_the_camera_is_wilors_where_its_assumptions_hold():
    """t = (tx, ty, 2 f / (256 s)), f = 5000 at 256 px about a zero centre, which gives 2D in [-0.5, 0.5]; and
    nothing of it is assumed of our crops."""
    f, edge = 5000.0, 256
    focal, princpt = torch.tensor([[[f, f]]]), torch.full((1, 1, 2), edge / 2)
    prior = depth_prior(focal, edge, 1.6, norm_by_hand=False)
    camera = CropCamera((edge, edge), focal, princpt, prior, prior, torch.ones_like(prior))
    said = torch.tensor([[[0.2, 0.1, -0.05]]])
    s, wrist = camera.scale(said), camera.wrist(said)
    tz = 2 * f / (256 * s + 1e-9)
    torch.testing.assert_close(wrist[..., 2], tz)
    points = wrist[..., None, :] + 40 * torch.randn(1, 1, 5, 3, generator=torch.Generator().manual_seed(0))
    wilor = points[..., :2] / points[..., 2:] * (f / 256)  # about a zero centre
    ours = normalise_pixels(project(points, focal, princpt), (edge, edge))
    torch.testing.assert_close(ours, wilor, atol=1e-5, rtol=0)
    torch.testing.assert_close(camera.said(said)["uv"], said[..., 1:], atol=1e-6, rtol=0)


def test_the_wrist_lies_where_the_camera_says_in_every_crop():
    batch = utnet_batch(3)
    camera = CropCamera.of(batch, 1.6, None)
    said = torch.tensor([[[0.1, 0.3, -0.2]]]).expand(3, 1, 3)
    wrist = camera.wrist(said)
    pixels = project(wrist[..., None, :], batch.focal, batch.princpt)[..., 0, :]
    # in edges of the square around the hand from the crop's middle
    torch.testing.assert_close(
        pixels[0, 0], torch.tensor([WIDTH / 2 + 0.3 * WIDTH, HEIGHT / 2 - 0.2 * WIDTH])
    )
    terms = camera.said(said)
    torch.testing.assert_close(terms["uv"], normalise_pixels(pixels, (WIDTH, HEIGHT)), atol=1e-6, rtol=0)
    torch.testing.assert_close(wrist[..., 2], camera.prior * terms["log_depth"].exp())


def test_the_first_number_of_a_measured_hand_is_a_length():
    batch = utnet_batch(3)
    for centre in (300.0, 900.0):
        depth = MeasuredDepth(batch.frames.depth, torch.full((3,), centre), torch.tensor([True, True, False]))
        camera = CropCamera.of(batch, 1.6, depth)
        far = camera.depth(torch.tensor([-0.1, 0.0, 0.0]).expand(3, 1, 3))[:, 0]
        assert far[:2].tolist() == pytest.approx([centre + 0.1 * UNITS_MM] * 2, abs=0.3)
        assert float(far[2]) == pytest.approx(float(camera.prior[2]) * math.exp(0.1), rel=1e-5)
        facts = camera.facts()
        assert facts[:, -1].tolist() == [1, 1, 0] and float(facts[2, -2]) == 0
        assert float(facts[0, -2]) == pytest.approx(math.log(centre / float(camera.prior[0])), rel=1e-4)


# ----- depth ------------------------------------------------------------------------------------------------
def hand_before_a_wall(hand: float, wall: float, holes: float = 0.3) -> torch.Tensor:
    """A disc over two fifths of the window, holes everywhere, some flying pixels."""
    generator = torch.Generator().manual_seed(0)
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    depth = torch.where((u - 24) ** 2 + (v - 32) ** 2 < 11**2, hand, wall) * 1.0
    depth = depth + 5 * torch.randn(HEIGHT, WIDTH, generator=generator)
    depth[30, 20:23] = 60.0
    return (depth * (torch.rand(HEIGHT, WIDTH, generator=generator) >= holes))[None, None]


@pytest.mark.parametrize("wall", [520.0, 900.0, 4000.0])
def test_the_centre_is_the_hands_whatever_is_behind(wall):
    depth = MeasuredDepth.of(hand_before_a_wall(450.0, wall), 30)
    assert depth.known.all() and float(depth.centre) == pytest.approx(450, abs=12)
    relative = depth.relative()
    assert relative[:, 0].abs().max() <= 1 and not relative[:, 0][depth.metric[:, 0] == 0].any()
    assert torch.equal(relative[:, 1] > 0, depth.metric[:, 0] > 0)


def test_relative_depth_is_metric_and_moves_with_nothing():
    near, far = (MeasuredDepth.of(hand_before_a_wall(450.0 + d, 560.0 + d, 0.0), 30) for d in (0.0, 300.0))
    torch.testing.assert_close(near.relative(), far.relative(), atol=1e-4, rtol=0)
    wall = near.relative()[0, 0, 2, 2] * RANGE_MM + near.centre
    assert float(wall) == pytest.approx(560, abs=20)


def test_frames_without_measurements_are_without_depth():
    holes = torch.zeros(1, 1, HEIGHT, WIDTH)
    edge = holes.clone()
    edge[..., 0, :] = 500.0  # the hand is not there
    for each in (holes, edge):
        depth = MeasuredDepth.of(each, 30)
        assert not depth.known.any() and not depth.metric.any() and float(depth.centre) == 0


@pytest.mark.parametrize("widths", [[], [4], [4, 8, 8]])
def test_depth_patches_lie_on_the_images_raster(widths):
    tokens = DepthTokens(8, widths)
    depth = torch.rand(1, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0), requires_grad=True)
    said = tokens.patches(depth)
    assert said.shape == (1, 8, 4, 3)
    said[0, :, 2, 1].square().sum().backward()
    share = depth.grad[0].abs().sum(dim=0).reshape(4, 16, 3, 16).sum(dim=(1, 3))
    assert int(share.argmax()) == 2 * 3 + 1 and share[2, 1] > share.sum() / 4


# ----- tokens and the trunk ---------------------------------------------------------------------------------
def test_maps_of_a_convolutional_network_lie_on_the_patches_raster():
    torch.manual_seed(0)
    small = {
        "name": "tempohand_tiny",
        "options": {"stem": 16, "stages": [[16, 1], [16, 1], [16, 1], [16, 1]]},
    }
    tokens = MapTokens((64, 64), 8, backbone=small, strides=[8, 16, 32], frozen=True).train()
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    said = tokens(image)
    assert said.shape == (2, 16, 8) and not tokens.backbone.training
    levels = tokens.backbone.pyramid(image)
    coarse = tokens.norms[2](levels[2][0, :, 1, 0])
    fine = tokens.norms[0](levels[0][0, :, 4:6, 2:4].flatten())
    middle = tokens.norms[1](levels[1][0, :, 2, 1])
    torch.testing.assert_close(said[0, 2 * 4 + 1], tokens.project(torch.cat([fine, middle, coarse])))
    with pytest.raises(ValueError, match="strides of 32 must divide both edges"):
        MapTokens((64, 48), 8, backbone=small, strides=[32])
    with pytest.raises(ValueError, match="24 is neither a divisor"):
        MapTokens((64, 48), 8, backbone=small, strides=[24])


def pose_transformer(**changes) -> dict[str, torch.Tensor]:
    """A human-pose ViT's file for 64 x 48 px: other names, a position more than patches, a keypoint head."""
    net = timm.create_model("vit_tiny_patch16_224", img_size=(64, 48), num_classes=0, **(ONLY_PATCHES | TINY))
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(value.shape, generator=generator) for name, value in net.state_dict().items()
    }
    weights["pos_embed"] = torch.randn(1, 13, 32, generator=generator)
    renamed = {
        f"backbone.{name.replace('norm.', 'last_norm.') if name.startswith('norm') else name}": value
        for name, value in weights.items()
    }
    return renamed | {"keypoint_head.final_layer.weight": torch.zeros(17, 32, 1, 1)} | changes


def trunk(path, **options):
    settings = SMALL["trunk"] | {"options": TINY | options, "weights": str(path)}
    return build_network(SMALL | {"trunk": settings}).backbone


def test_a_human_pose_transformer_is_taken_by_its_path(tmp_path):
    given = pose_transformer()
    torch.save({"state_dict": given}, tmp_path / "pose.pth")
    read = trunk(tmp_path / "pose.pth")
    own = read.net.state_dict()
    position = given["backbone.pos_embed"]
    assert torch.equal(own["pos_embed"], position[:, 1:] + position[:, :1])  # as those networks add them
    assert torch.equal(own["norm.weight"], given["backbone.last_norm.weight"])
    assert torch.equal(own["blocks.1.mlp.fc2.bias"], given["backbone.blocks.1.mlp.fc2.bias"])
    assert any("weights from" in line for line in read.lines)


def test_a_dino_transformer_is_taken_without_its_class_token(tmp_path):
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0, **TINY)
    given = {name: torch.randn(value.shape) for name, value in net.state_dict().items()}
    safetensors.torch.save_file(given, tmp_path / "dino.safetensors")
    own = trunk(tmp_path / "dino.safetensors").net.state_dict()
    assert own["pos_embed"].shape == (1, 12, 32) and torch.equal(own["norm.bias"], given["norm.bias"])
    with pytest.raises(ValueError, match="does not fit the backbone: .* 12 missing"):
        trunk(tmp_path / "dino.safetensors", depth=3)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at"):
        trunk(tmp_path / "nothing.pth")


# ----- joints -----------------------------------------------------------------------------------------------
def test_heat_maps_are_read_where_they_are_taught():
    """Rectangular maps over rectangular crops: the least cost is where the reading is the joint's place."""
    joints2d = torch.rand(1, 1, 21, 2, generator=torch.Generator().manual_seed(0)) * 0.4 - 0.2
    logits = torch.zeros(1, 1, 21, HEIGHT // 2, WIDTH // 2, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        value, within = heatmap_cross_entropy(logits, joints2d)
        value.sum().backward()
        optimizer.step()
    places, certainty = read_maps(logits[:, 0].detach())
    torch.testing.assert_close(places, joints2d[:, 0], atol=0.005, rtol=0)
    assert within.all() and (certainty > 0.3).all()
    assert read_maps(torch.zeros(1, 21, 16, 12))[1].abs().max() < 1e-5
