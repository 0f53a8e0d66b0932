"""One printed number of a protocol: its unit, how many samples it is about, and how far it may be chance."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.evaluation.bootstrap import mean_interval
from tempohand.evaluation.metrics.curves import curve_area, pck_curve

WHOLE_MM = torch.arange(0, 51, dtype=torch.float64)  # 3dhand's curves (Boukhayma et al., CVPR 2019)
FROM_20_MM = torch.arange(20, 51, dtype=torch.float64)  # and the range of their areas


@dataclass(frozen=True)
class Quantity:
    """A number by name; nan where nothing valid speaks for it. `curve`: the thresholds and shares that it is
    the area of."""

    name: str
    unit: str
    value: float
    n: int
    interval: tuple[float, float] | None = None
    curve: dict[str, list[float]] | None = None


def mean_quantity(
    name: str,
    unit: str,
    value: Float[Tensor, "n k"],
    mask: Bool[Tensor, "n k"],
    cluster: Int[np.ndarray, "n"],
    *,
    pooled: bool = False,
) -> Quantity:
    """The mean over columns (joints, vertices) of the mean over samples of what `mask` allows: EvalUtil's
    mean of the scripts of RHD, FreiHAND, HO3D and DexYCB. Columns without any valid entry are left out.
    pooled: one mean over all entries.

    cluster: a number a sample; samples of one number are not independent, and the bootstrap draws them
    together.
    """
    total, count = value.double().masked_fill(~mask, 0.0), mask.double()
    if pooled:
        total, count = total.sum(dim=1, keepdim=True), count.sum(dim=1, keepdim=True)
    mean = float((total.sum(dim=0) / count.sum(dim=0)).nanmean())
    return Quantity(name, unit, mean, int((count > 0).any(dim=1).sum()), mean_interval(total, count, cluster))


def auc_quantity(
    name: str,
    unit: str,
    distance: Float[Tensor, "n k"],
    mask: Bool[Tensor, "n k"],
    cluster: Int[np.ndarray, "n"],
    thresholds: Float[Tensor, "t"],
    *,
    pooled: bool = False,
) -> Quantity:
    """The area under the curve of correct points (distance <= threshold), with the curve. unit "1" or "%"."""
    factor = {"1": 1.0, "%": 100.0}[unit]
    quantity = mean_quantity(
        name, unit, factor * curve_area(distance, thresholds), mask, cluster, pooled=pooled
    )
    columns = (distance.reshape(-1, 1), mask.reshape(-1, 1)) if pooled else (distance, mask)
    curve = (
        {"thresholds": thresholds.tolist(), "pck": pck_curve(*columns, thresholds).tolist()}
        if quantity.n
        else None
    )
    return Quantity(quantity.name, quantity.unit, quantity.value, quantity.n, quantity.interval, curve)


def median_quantity(name: str, unit: str, value: Float[Tensor, "n k"], mask: Bool[Tensor, "n k"]) -> Quantity:
    """The mean over columns of the medians over samples (EvalUtil's median; of two middle values their
    mean)."""
    hidden = np.where(mask.numpy(), value.double().numpy(), np.nan)[:, mask.any(dim=0).numpy()]
    value_ = float(np.nanmedian(hidden, axis=0).mean()) if hidden.size else math.nan
    return Quantity(name, unit, value_, int(mask.any(dim=1).sum()))
