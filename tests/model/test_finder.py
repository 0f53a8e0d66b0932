import numpy as np
import pytest
import torch
from tests_support import compose_config, random_batch, small_finder, small_network

from tempohand.batch import BoxPrediction, HandPrediction
from tempohand.model.finder import FinderNet, decode_boxes, mirror_image
from tempohand.model.finder_losses import OVERLAP, finder_target, finder_terms, lenient_radius
from tempohand.model.registry import build_network, inherit_settings, load_network
from tempohand.training.checkpoint import save_weights
from tempohand.training.objective import combine

SIZE, GRID = 64, 8
WEIGHTS = {"centre": 100.0, "offset": 1.0, "size": 1.0}


def batch_with_boxes(boxes: torch.Tensor):
    """Noise with a hand whose joints fill each box (xyxy, [-0.5, 0.5])."""
    batch = random_batch(len(boxes), 1, SIZE)
    within = torch.rand(len(boxes), 1, 21, 2, generator=torch.Generator().manual_seed(0))
    within[:, :, 0], within[:, :, 1] = 0.0, 1.0
    low, high = boxes[:, None, None, :2], boxes[:, None, None, 2:]
    batch.target.joints2d = low + within * (high - low)
    return batch


def some_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre, half = (
        torch.rand(count, 2, generator=generator) * 0.9 - 0.45,
        torch.rand(count, 2, generator=generator) * 0.2 + 0.05,
    )
    return torch.cat([centre - half, centre + half], dim=-1)


def mirrored_boxes(boxes: torch.Tensor) -> torch.Tensor:
    """As pixels go, u -> W - 1 - u."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack([-x1 - 1 / SIZE, y0, -x0 - 1 / SIZE, y1], dim=-1)


def perfect(target, size=SIZE) -> BoxPrediction:
    """The prediction that a target asks for, of both sides as of the labelled one."""
    grid = target.nearness.shape[-1]
    offset, log_size = (
        value[..., None, None].expand(-1, -1, -1, grid, grid) for value in (target.offset, target.log_size)
    )
    logits = torch.where(target.nearness == 1, 10.0, -10.0)
    return BoxPrediction(
        logits, decode_boxes(offset, log_size, size), {"offset": offset, "log_size": log_size}
    )


def test_a_target_decodes_to_its_box_and_costs_nothing():
    batch = batch_with_boxes(some_boxes(20))
    target = finder_target(batch.target, GRID, SIZE)
    said = perfect(target)
    row = torch.arange(20)
    found = said.box[row, 0].flatten(2)[row, :, target.cell[:, 0]]
    torch.testing.assert_close(found, batch.target.box()[0][:, 0], atol=1e-5, rtol=0)
    loss, _ = combine(finder_terms(said, batch), WEIGHTS)
    assert loss < 1e-3
    wrong = BoxPrediction(said.logits.flip(2), said.box, said.terms)
    assert combine(finder_terms(wrong, batch), WEIGHTS)[0] > 1  # the other side is an error


def test_the_centre_term_is_the_published_focal_loss():
    """A loop over Zhou et al.'s formula: -(1 - p)^2 log p in the centre's cell, -(1 - y)^4 p^2 log(1 - p)
    elsewhere."""
    batch = batch_with_boxes(some_boxes(4))
    target = finder_target(batch.target, GRID, SIZE)
    said = perfect(target)
    logits = torch.randn(said.logits.shape, generator=torch.Generator().manual_seed(2))
    term = finder_terms(BoxPrediction(logits, said.box, said.terms), batch)["centre"].value
    probability = logits.double().sigmoid()
    for place in np.ndindex(*logits.shape):
        p, y = float(probability[place]), float(target.nearness[place])
        wanted = -((1 - p) ** 2) * np.log(p) if y == 1 else -((1 - y) ** 4) * p**2 * np.log(1 - p)
        assert float(term[place]) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_targets_of_a_mirrored_picture_are_the_mirrored_targets():
    boxes = some_boxes(20)
    plain, other = (
        finder_target(batch_with_boxes(b).target, GRID, SIZE) for b in (boxes, mirrored_boxes(boxes))
    )
    torch.testing.assert_close(other.nearness, plain.nearness.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(other.offset, plain.offset * torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(other.log_size, plain.log_size, atol=1e-5, rtol=0)
    assert torch.equal(other.known, plain.known.flip(-1)) and torch.equal(other.has_centre, plain.has_centre)


def test_what_is_said_of_a_mirrored_picture_is_mirrored_back():
    torch.manual_seed(0)
    said = torch.randn(3, 6, GRID, GRID)
    assert torch.equal(mirror_image(mirror_image(said)), said)
    net, image = (
        build_network(small_finder()).eval(),
        torch.randint(0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8),
    )
    no, yes = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        plain, other = net.find(image, no), net.find(image.flip(-1), yes)
    torch.testing.assert_close(other.logits, plain.logits.flip(-1).flip(2))
    torch.testing.assert_close(
        other.box.flip(-1).movedim(2, -1), mirrored_boxes(plain.box.movedim(2, -1)), atol=1e-5, rtol=0
    )
    assert not torch.allclose(plain.logits, net.find(image, yes).logits)


def test_half_of_the_pictures_are_mirrored_in_training_and_none_in_evaluation_but_left_hands():
    net, seen = build_network(small_finder()), []
    look, net.find = net.find, lambda image, mirrored: seen.append(mirrored) or look(image, mirrored)
    batch = random_batch(400, 1, SIZE)
    batch.is_right = torch.arange(400) % 4 > 0
    torch.manual_seed(5)
    net(batch)
    net(batch)
    torch.manual_seed(5)
    net(batch)
    assert 150 < seen[0].sum() < 250 and not torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    net.eval()(batch)
    assert torch.equal(seen[3], ~batch.is_right)


def test_a_hand_outside_is_no_positive():
    batch = batch_with_boxes(
        torch.tensor([[0.4, 0.0, 0.7, 0.2], [0.2, 0.0, 0.5, 0.2], [-0.9, -0.9, -0.6, -0.6]])
    )
    target = finder_target(batch.target, GRID, SIZE)
    assert target.has_centre[:, 0].tolist() == [False, True, False]
    assert (target.nearness == 1).flatten(1).sum(-1).tolist() == [0, 1, 0] and target.nearness[0].max() == 0
    terms = finder_terms(perfect(target), batch)
    assert terms["size"].mask[:, 0].tolist() == [False, True, False] and terms["centre"].mask[:, :, 0].all()


def test_where_nothing_is_known_there_is_no_gradient():
    batch = batch_with_boxes(some_boxes(6))
    batch.target.joints2d_mask[4, 0, 7] = False  # an unknown joint: no box
    batch.target.joints2d[4] = torch.nan
    target = finder_target(batch.target, GRID, SIZE)
    inside = target.known[:, 0, 1]
    assert (
        0 < inside[:4].sum() < inside[:4].numel() / 2
        and not target.known[4].any()
        and target.known[:4, :, 0].all()
    )
    logits = torch.zeros(6, 1, 2, GRID, GRID, requires_grad=True)
    maps = {name: torch.zeros(6, 1, 2, GRID, GRID, requires_grad=True) for name in ("offset", "log_size")}
    said = BoxPrediction(logits, decode_boxes(maps["offset"], maps["log_size"], SIZE), maps)
    combine(finder_terms(said, batch), WEIGHTS)[0].backward()
    assert torch.equal(logits.grad != 0, target.known)
    assert (maps["log_size"].grad.flatten(3) != 0).any(2).sum(-1)[:, 0].tolist() == [1, 1, 1, 1, 0, 1]


def test_the_lenient_radius_is_where_the_overlap_is_the_bound():
    size = torch.rand(50, 2) * 10 + 1
    left = (size - lenient_radius(size)[:, None]).prod(-1)
    torch.testing.assert_close(left / (2 * size.prod(-1) - left), torch.full((50,), OVERLAP))


def draw_hands(count: int, seed: int = 0):
    """Pictures with one thing each that has a right side and a left one: dark toward the labelled hand's
    thumb."""
    rng, boxes = np.random.default_rng(seed), some_boxes(count, seed)
    batch = batch_with_boxes(boxes)
    image = torch.from_numpy(rng.integers(90, 130, (count, 3, SIZE, SIZE), dtype=np.uint8))
    for place, box in enumerate(((boxes + 0.5) * SIZE).round().int().clamp(0, SIZE).tolist()):
        x0, y0, x1, y1 = box
        middle = (x0 + x1) // 2
        image[place, :, y0:y1, x0:middle] = 0
        image[place, :, y0:y1, middle:x1] = 255
    batch.frames.image = image
    return batch


def test_eight_pictures_are_learned():
    """Whatever their mirroring: the best cell is the labelled hand's, of its side, and its box overlaps."""
    torch.manual_seed(0)
    net, batch = build_network(small_finder()), draw_hands(8)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    losses = []
    for _ in range(100):
        loss, _ = combine(net.criterion(net(batch), batch), WEIGHTS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    target, row = finder_target(batch.target, GRID, SIZE), torch.arange(8)
    net.eval()
    for mirrored in (torch.zeros(8, dtype=torch.bool), torch.ones(8, dtype=torch.bool)):
        with torch.no_grad():
            said = net.find(batch.frames.image, mirrored)
        best = said.logits.flatten(1).argmax(-1)
        assert (best == target.cell[:, 0]).sum() >= 7  # right hands come first: the side is right, too
        box = said.box[row, 0].flatten(2)[row, :, target.cell[:, 0]]
        assert (box - batch.target.box()[0][:, 0]).abs().mean() < 0.04


def test_a_checkpoint_comes_back_and_other_networks_are_refused(tmp_path):
    net = build_network(small_finder())
    save_weights(tmp_path / "finder", net.state_dict(), {"network": small_finder()})
    again, batch = load_network(tmp_path / "finder", BoxPrediction), random_batch(2, 1, SIZE)
    assert torch.equal(again(batch).logits, net.eval()(batch).logits)
    assert net.load_pretrained(tmp_path / "finder")[0].startswith("inherited")
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in again.state_dict().items()}},
        tmp_path / "wrapped.pt",
    )
    fresh = build_network(small_finder())
    assert fresh.load_pretrained(tmp_path / "wrapped.pt")[0].endswith("under 'state_dict.module.'")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in fresh.state_dict().items())
    with pytest.raises(
        ValueError, match="of the kind 'finder', here one of the kind 'posenet' or .* is needed"
    ):
        load_network(tmp_path / "finder", HandPrediction)
    posenet = small_network(1)
    inherit_settings(posenet, tmp_path / "finder", print)
    assert posenet == small_network(1)
    with pytest.raises(ValueError, match="does not fit this network's spatial part"):
        build_network(posenet).load_pretrained(tmp_path / "finder")
    with pytest.raises(ValueError, match="does not fit this hand finder: 10 of"):
        FinderNet(
            **{key: value for key, value in small_finder().items() if key != "name"} | {"width": 40}
        ).load_pretrained(tmp_path / "finder")


def test_it_may_begin_with_the_backbone_of_a_network_that_knows_hands(tmp_path):
    torch.manual_seed(3)
    source = build_network(small_network(1))
    save_weights(tmp_path / "posenet", source.state_dict(), {"network": small_network(1)})
    net = build_network(small_finder())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    settings = small_finder()
    inherit_settings(settings, tmp_path / "posenet", print)
    assert settings == small_finder()
    said = net.load_pretrained(tmp_path / "posenet")
    shared = source.spatial.backbone.state_dict().keys()
    assert len(said) == 1 and said[0].startswith(f"inherited {len(shared)} of {len(before)} tensors")
    for name, value in net.state_dict().items():
        inherited = source.state_dict().get(f"spatial.{name}")
        assert torch.equal(value, before[name] if inherited is None else inherited), name
    other = {
        "name": "tempohand_tiny",
        "weights": None,
        "options": {"stem": 24, "stages": [[24, 1], [48, 1], [48, 1], [48, 1]]},
    }
    with pytest.raises(ValueError, match="nothing of the backbone in"):
        build_network(small_finder() | {"backbone": other}).load_pretrained(tmp_path / "posenet")


@pytest.mark.parametrize(
    "change, message",
    [({"num_frame": 7}, "num_frame=7 contradicts Stage 1"), ({"size": 80}, "multiple of 32")],
)
def test_what_it_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_network(small_finder() | change)
    with pytest.raises(ValueError, match="no features at stride 16"):
        short = {
            "name": "tempohand_tiny",
            "weights": None,
            "options": {"stem": 16, "stages": [[16, 1], [32, 1]]},
        }
        build_network(small_finder() | {"backbone": short})


def test_the_configured_one_is_small():
    net = build_network(compose_config("find-tiny")["network"])
    assert (
        sum(parameter.numel() for parameter in net.parameters()) < 1e6
        and net(random_batch(2, 1, 192)).logits.isfinite().all()
    )
