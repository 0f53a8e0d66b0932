"""The palm detector as a backbone: its maps, as its own heads read them, under a hand finder."""

import pytest
import torch
from tests_support import compose_config, random_batch

from tempohand.model.backbone import Backbone
from tempohand.model.palms import PalmDetector
from tempohand.model.registry import build_network

SIZE = 192


@pytest.fixture(scope="module")
def picture():
    return torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)


def test_maps_are_what_the_detectors_heads_read(picture):
    """With the package's weights, from the finest to the coarsest."""
    backbone = Backbone("palm_detection_full", SIZE, "timm", strides=(8, 16, 32))
    detector = PalmDetector.load()
    with torch.no_grad():
        maps = backbone.pyramid(picture)
        scores, coordinates = detector(picture)
        read = [head.read(one) for head, one in zip(reversed(detector.heads), maps)]
    assert [tuple(one.shape[1:]) for one in maps] == [(128, 24, 24), (256, 12, 12), (256, 6, 6)]
    torch.testing.assert_close(torch.cat([score for score, _ in read], dim=1), scores)
    torch.testing.assert_close(torch.cat([place for _, place in read], dim=1), coordinates)


def test_some_maps_in_any_order(picture):
    backbone = Backbone("palm_detection_full", SIZE, "timm", strides=(32, 8))
    coarse, fine = backbone.pyramid(picture)
    assert (coarse.shape[-1], fine.shape[-1]) == (6, 24)


def test_a_finder_learns_all_but_its_first_stages():
    """And not the detector's own reading of its maps, which the finder does not use."""
    torch.manual_seed(0)
    network = build_network(compose_config("find-small")["network"]).train()
    batch = random_batch(2, 1, size=SIZE)
    terms = network.criterion(network(batch), batch)
    sum(term.value.mean() for term in terms.values()).backward()
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    still = {name for name, weight in network.named_parameters() if weight.grad is None}
    assert not learning & still
    parts = {".".join(name.split(".")[1:4]) for name in still}
    assert {part for part in parts if part.startswith("net.st")} == {"net.stem.0", "net.stem.1"} | {
        f"net.stages.{stage}" for stage in (0, 1)
    }
    assert {name.split(".")[-2] for name in still if ".heads." in name} == {"score", "coordinates"}
