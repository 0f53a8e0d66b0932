"""The F-score of two point clouds: how much of each lies near the other."""

import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor
from tqdm import tqdm


def f_scores(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n q 3"], thresholds: tuple[float, ...]
) -> Float[Tensor, "n thresholds"]:
    """Each sample's F-score at each threshold (the unit of the points), between 0 and 1.

    2 P R / (P + R), 0 where both are 0; P is the share of predicted points nearer than the threshold
    (strictly) to some true point, R the share of true points that near to some predicted one. As in
    FreiHAND's and HO3D's eval.py, after Knapitsch et al., "Tanks and Temples" (2017). The mean over samples
    is the dataset's figure.
    """
    scores = torch.zeros(len(true), len(thresholds), dtype=torch.float64)
    far = max(thresholds)
    with tqdm(
        zip(predicted.double().numpy(), true.double().numpy()),
        "F-scores",
        len(true),
        leave=False,
        delay=2,
        unit="mesh",
    ) as pairs:
        for sample, (ours, theirs) in enumerate(pairs):
            nearest = [
                KDTree(one).query(other, distance_upper_bound=far)[0]
                for one, other in ((theirs, ours), (ours, theirs))
            ]
            for place, threshold in enumerate(thresholds):
                precision, recall = ((distance < threshold).mean() for distance in nearest)
                if precision + recall > 0:
                    scores[sample, place] = 2 * precision * recall / (precision + recall)
    return scores
