"""The F-score of two point clouds: how much of each lies near the other."""

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor


def f_scores(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n q 3"], thresholds: tuple[float, ...]
) -> Float[Tensor, "n thresholds"]:
    """Each sample's F-score at each threshold (the unit of the points), between 0 and 1.

    2 P R / (P + R), 0 where both are 0; P is the share of predicted points nearer than the threshold (strictly) to some true point, R the
    share of true points that near to some predicted one. As in FreiHAND's and HO3D's eval.py, after Knapitsch et al., "Tanks and Temples"
    (2017). The mean over samples is the dataset's figure.
    """
    scores = torch.zeros(len(true), len(thresholds), dtype=torch.float64)
    for sample, (ours, theirs) in enumerate(zip(predicted.double().numpy(), true.double().numpy())):
        to_true, to_predicted = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
        for place, threshold in enumerate(thresholds):
            precision, recall = (to_true < threshold).mean(), (to_predicted < threshold).mean()
            if precision + recall > 0:
                scores[sample, place] = 2 * precision * recall / (precision + recall)
    return scores
