"""Curves of correct points over thresholds, and the area below them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def curve_area(distance: Float[Tensor, "*shape"], thresholds: Float[Tensor, "t"]) -> Float[Tensor, "*shape"]:
    """Each distance's share of the area under the curve of correct points (distance <= threshold), between 0
    and 1.

    The trapezoid rule over the given thresholds, divided by their range, as EvalUtil does it in the scripts
    of RHD and FreiHAND (Zimmermann et al.). The rule is linear: the area under a mean curve is the mean of
    its points' areas.
    """
    thresholds = thresholds.double().to(distance.device)
    weight = torch.zeros_like(thresholds)
    step = thresholds.diff() / (thresholds[-1] - thresholds[0])
    weight[:-1] += step / 2
    weight[1:] += step / 2
    # A point is correct from the first threshold on that is not below its distance; beyond the last it never
    # is.
    from_here_on = torch.cat([weight.flip(0).cumsum(0).flip(0), weight.new_zeros(1)])
    return from_here_on[torch.bucketize(distance.double(), thresholds)]


def pck_curve(
    distance: Float[Tensor, "n k"], mask: Bool[Tensor, "n k"], thresholds: Float[Tensor, "t"]
) -> Float[Tensor, "t"]:
    """The share of correct points (distance <= threshold) at each threshold: of each column's valid entries,
    then the mean over columns.

    Columns without a valid entry are left out (EvalUtil's get_measures). One column pools everything.
    """
    counted = mask.sum(dim=0).double()
    first = torch.bucketize(
        distance.double(), thresholds.double()
    )  # from which threshold on a point is correct
    correct = torch.zeros(len(thresholds) + 1, distance.shape[1], dtype=torch.float64)
    correct = correct.scatter_add_(0, first, mask.double()).cumsum(dim=0)[:-1]
    return (correct / counted).nanmean(dim=1)
