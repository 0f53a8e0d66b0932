"""How sure a predicted joint is, as a probability: what heat maps call certainty, held against labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import isotonic_regression

NEAR = 0.1  # of the longer edge of the hand's box: so near to its true place in the picture a joint is right
KNOTS = 24  # groups of equal size that a calibration averages over


@dataclass(frozen=True)
class Calibration:
    """From certainty to the probability that a joint lies within NEAR of its true place: piecewise linear
    through (certainty, share), both ascending."""

    certainty: Float[np.ndarray, "k"]
    share: Float[np.ndarray, "k"]

    @classmethod
    def fit(cls, certainty: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"]) -> "Calibration":
        """The monotone one of least squares (isotonic regression) over groups of joints of about the same
        certainty.

        right: which joints lie within NEAR. Raises ValueError for fewer than 100 joints.
        """
        if len(certainty) < 100:
            raise ValueError(f"{len(certainty)} joints are too few to calibrate on: give a larger table")
        order = np.argsort(certainty, kind="stable")
        groups = np.array_split(order, KNOTS)
        middle = np.array([certainty[group].mean() for group in groups])
        share = np.array([right[group].mean() for group in groups])
        return cls(middle, isotonic_regression(share, weights=[len(group) for group in groups]).x)

    @classmethod
    def of(cls, config: Mapping) -> "Calibration | None":
        """That of a network's configuration; None where it was never calibrated."""
        known = config.get("confidence")
        return None if known is None else cls(*(np.array(known[name]) for name in ("certainty", "share")))

    def to_config(self) -> dict[str, float | list[float]]:
        """For a network's configuration, under `confidence`."""
        rounded = {name: np.round(getattr(self, name), 4).tolist() for name in ("certainty", "share")}
        return {"within": NEAR, **rounded}

    def __call__(self, certainty: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Confidences, 0 to 1; outside of the knots the nearest one's."""
        return np.interp(certainty, self.certainty, self.share)


def reliability(
    confidence: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"], bins: int = 10
) -> tuple[list[tuple[float, float, int]], float]:
    """The curve (mean confidence, share that is right, joints) of each bin of equal width that holds any, and
    the expected calibration error: the mean distance of the two, weighted by joints (Guo et al. 2017,
    arXiv:1706.04599)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    curve = [
        (float(confidence[place == k].mean()), float(right[place == k].mean()), int((place == k).sum()))
        for k in np.unique(place)
    ]
    error = sum(abs(said - true) * count for said, true, count in curve) / len(confidence)
    return curve, error
