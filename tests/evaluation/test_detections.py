import pytest
import torch

from tempohand.batch import BoxPrediction
from tempohand.evaluation.detections import find_peaks


@pytest.mark.parametrize("known", [False, True])
def test_peaks_are_the_highest_cells_of_their_neighbourhood(known):
    torch.manual_seed(0)
    logits, box = torch.randn(3, 1, 2, 9, 9) - 1, torch.randn(3, 1, 4, 9, 9)
    mask = torch.rand(3, 1, 2, 9, 9) < 0.7 if known else torch.ones(3, 1, 2, 9, 9, dtype=torch.bool)
    peaks = find_peaks(BoxPrediction(logits, box), 0.6, mask if known else None)
    found = {
        (k, int(side), tuple(b))
        for k, side, b in zip(peaks.picture.tolist(), ~peaks.is_right, peaks.box.tolist())
    }

    def score(k, v, u):
        sides = [
            float(torch.sigmoid(logits[k, 0, side, v, u])) if mask[k, 0, side, v, u] else 0.0
            for side in (0, 1)
        ]
        return 1 - (1 - sides[0]) * (1 - sides[1]), int(sides[1] > sides[0])

    expected = set()
    for k, v, u in torch.cartesian_prod(*map(torch.arange, (3, 9, 9))).tolist():
        near = [
            (k, y, x)
            for y in range(max(v - 1, 0), min(v + 2, 9))
            for x in range(max(u - 1, 0), min(u + 2, 9))
        ]
        value, side = score(k, v, u)
        if value > 0.6 and all(score(*place)[0] <= value + 1e-9 for place in near):
            expected.add((k, side, tuple(box[k, 0, :, v, u].tolist())))
    assert found == expected and len(found) == len(peaks.score)
