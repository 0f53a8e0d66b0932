"""The palm detector is MediaPipe's: its answers, its anchors, what becomes of them."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from tempohand.evaluation.provenance import file_hash
from tempohand.model.palms import (
    FULL_WEIGHTS,
    SAME_PALM_IOU,
    PalmDetector,
    Palms,
    anchor_centres,
    decode,
    suppress_weighted,
)

golden = runpy.run_path(str(Path(__file__).parents[1] / "golden/mediapipe_hand.py"))
STORED = json.loads(golden["STORED"].read_text(encoding="utf-8"))["palm_detection_full"]
SHA256 = "2fc8a73077ca5d94e8b1965d56714e50a546f59d907259f17247ed6780d4a6a7"


@pytest.fixture(scope="module")
def detector():
    return PalmDetector.load()


def pictures(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def test_the_weights_are_the_ones_that_were_read():
    assert file_hash(FULL_WEIGHTS) == SHA256


@torch.inference_mode()
def test_it_says_of_a_drawn_hand_what_the_original_says(detector):
    scores, coordinates = detector(pictures(golden["picture"](192)))
    best = STORED["anchors"]
    np.testing.assert_allclose(scores[0, best], np.array(STORED["Identity_1"])[:, 0], atol=1e-3, rtol=0)
    np.testing.assert_allclose(coordinates[0, best], STORED["Identity"], atol=1e-3, rtol=0)
    assert set(scores[0].topk(5).indices.tolist()) <= set(best)


@pytest.mark.skipif(
    not golden["WHEEL"], reason="TEMPOHAND_MEDIAPIPE_WHEEL names no wheel of mediapipe 0.10.21"
)
@torch.inference_mode()
def test_it_says_of_any_picture_what_the_original_says(detector):
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    for image in (golden["picture"](192)[:, ::-1] / 255, np.random.default_rng(0).random((192, 192, 3))):
        image = np.ascontiguousarray(image, np.float32)
        found = golden["original"]("palm_detection_full", image, golden["WHEEL"])
        scores, coordinates = detector(pictures(image))
        np.testing.assert_allclose(scores[0], found["Identity_1"][:, 0], atol=1e-3, rtol=0)
        np.testing.assert_allclose(coordinates[0], found["Identity"], atol=1e-3, rtol=0)


def test_the_palm_is_where_it_is_drawn(detector):
    """Of two pictures, the second without a hand."""
    image = golden["picture"](192)
    palms, none = detector.find(pictures(image, np.full_like(image, 90)))
    assert len(palms.score) == 1 and none.box.shape == (0, 4) and none.keypoints.shape == (0, 7, 2)
    (x0, y0), (x1, _), radius = golden["PALM"]
    drawn = torch.tensor([x0 - radius, y0 - radius, x1 + radius, y0 + radius]) * 192 - 0.5
    centre = (palms.box[0, :2] + palms.box[0, 2:]) / 2
    assert (drawn[:2] < centre).all() and (centre < drawn[2:]).all()
    wrist, middle = palms.keypoints[0, 0], palms.keypoints[0, 2]
    assert wrist[1] > middle[1] + 20 and (wrist - middle)[0].abs() < 15  # its fingers point up


def test_anchors_are_the_cells_centres_row_by_row():
    anchors = anchor_centres()
    assert anchors.shape == (2016, 2)
    expected = [
        ((column + 0.5) * step - 0.5, (row + 0.5) * step - 0.5)
        for step, cells, count in ((8, 24, 2), (16, 12, 6))
        for row in range(cells)
        for column in range(cells)
        for _ in range(count)
    ]
    assert anchors.tolist() == [list(each) for each in expected]


def test_what_is_encoded_decodes_to_itself():
    generator = torch.Generator().manual_seed(0)
    anchors = anchor_centres()
    low = torch.rand(3, 2016, 2, generator=generator) * 150
    box = torch.cat([low, low + 1 + 40 * torch.rand(3, 2016, 2, generator=generator)], dim=-1)
    keypoints = torch.rand(3, 2016, 7, 2, generator=generator) * 192
    centre, size = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
    relative = torch.cat(
        [(centre - anchors)[..., None, :], size[..., None, :], keypoints - anchors[:, None]], 2
    )
    decoded = decode(relative.flatten(2), anchors)
    torch.testing.assert_close(decoded[0], box, atol=1e-3, rtol=0)
    torch.testing.assert_close(decoded[1], keypoints, atol=1e-3, rtol=0)


def naive_suppression(palms: Palms) -> list[tuple[float, list[float]]]:
    """One number at a time: score, and box and keypoints in a row."""
    left = [
        (float(score), box.tolist() + keypoints.flatten().tolist())
        for score, box, keypoints in zip(palms.score, palms.box, palms.keypoints)
    ]
    left.sort(key=lambda each: -each[0])
    found = []
    while left:
        best, same, others = left[0], [left[0]], []
        for each in left[1:]:
            (a0, b0, a1, b1), (c0, d0, c1, d1) = best[1][:4], each[1][:4]
            common = max(min(a1, c1) - max(a0, c0), 0) * max(min(b1, d1) - max(b0, d0), 0)
            union = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - common
            (same if common > SAME_PALM_IOU * union else others).append(each)
        total = sum(score for score, _ in same)
        mean = [sum(score * values[k] for score, values in same) / total for k in range(len(best[1]))]
        found.append((best[0], mean))
        left = others
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_suppression_is_that_of_a_loop(count):
    generator = torch.Generator().manual_seed(count)
    low = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 120
    size = 20 + 40 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    palms = Palms(
        score=0.5 + torch.rand(count, generator=generator, dtype=torch.float64) / 2,
        box=torch.cat([low, low + size], dim=-1),
        keypoints=torch.rand(count, 7, 2, generator=generator, dtype=torch.float64) * 192,
    )
    found, expected = suppress_weighted(palms), naive_suppression(palms)
    assert len(found.score) == len(expected) <= max(count, 0) and (count < 60 or len(expected) < 30)
    for score, box, keypoints, (wanted, values) in zip(found.score, found.box, found.keypoints, expected):
        assert float(score) == wanted
        torch.testing.assert_close(
            torch.cat([box, keypoints.flatten()]), torch.tensor(values, dtype=torch.float64)
        )
