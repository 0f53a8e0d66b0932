"""Checks of what the network says before it has learned anything more: its scale, its loss terms, Stage 2
beside Stage 1."""

import math
from functools import singledispatch

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.doctor.result import Result
from tempohand.geometry import bone_lengths, normalise_pixels, project
from tempohand.model.network import Network
from tempohand.training.objective import combine

DEPTH_FACTOR = 3.0
BONE_FACTOR = 1.6
SPREAD_FACTOR = 4.0  # a network at its start may be so far off, and no further
# Of joints that may lie outside their crops: an untrained network's, of any noise, and the true ones.
OUTSIDE = 0.9
TRUE_OUTSIDE = 0.1
ROUNDING_2D = 1e-3  # crop widths
ROUNDING_MM = 0.01  # float32 at half a metre has steps of 0.00003 mm
DOMINANT = 0.9  # share of the weighted total that one term may have


def check_network(
    network: Network, fresh: Network, batches: list[ClipBatch], weights: dict[str, float]
) -> list[Result]:
    """The results of all checks of predictions. `fresh` is a copy in training mode for the loss; `weights`
    are those of the loss terms."""
    network.eval()
    with torch.no_grad():
        predictions = [network(batch) for batch in batches]
        results = check_predictions(predictions[0], predictions, batches)
        if network.spatial_only() is not None:
            results.append(check_stage2_starts_as_stage1(network, batches[0], predictions[0]))
        return results + check_losses(fresh, batches, weights)


def _factor(name: str, ours: float, true: float, limit: float, unit: str, cause: str) -> Result:
    ratio = ours / true if true else float("nan")
    good = 1 / limit <= ratio <= limit
    text = f"{ours:.3g} {unit}, truth {true:.3g} {unit}"
    return Result(
        f"network: {name}",
        text,
        f"within a factor of {limit:g}",
        "ok" if good else "FAILED",
        "" if good else cause,
        ratio,
    )


@singledispatch
def check_predictions(first: object, predictions: list, batches: list[ClipBatch]) -> list[Result]:
    """The checks of predictions that are all of the class of the `first`; none for a class that is not known
    here."""
    return []


@check_predictions.register
def _(first: HandPrediction, predictions: list, batches: list[ClipBatch]) -> list[Result]:
    return check_scale(predictions, batches)


def check_scale(predictions: list[HandPrediction], batches: list[ClipBatch]) -> list[Result]:
    """Whether predictions and truth have the same scale: depth, bones, places in the crop. What is not known
    is not compared."""
    ours = {
        name: torch.cat([getattr(each, name)[:, 0].float() for each in predictions])
        for name in ("joints", "joints2d", "trans")
    }
    target = {
        name: torch.cat([getattr(batch.target, name)[:, 0] for batch in batches])
        for name in ("joints", "joints2d", "joints_mask", "joints2d_mask", "camera_mask")
    }
    whole, whole2d = target["joints_mask"].all(-1), target["joints2d_mask"].all(-1)
    results = []
    if not all(bool(torch.isfinite(value).all()) for value in ours.values()):
        cause = "Weights or inputs are not finite. Remedy: take another checkpoint for init_from."
        return [Result("network: outputs are finite", "nan or inf", "finite", "FAILED", cause)]
    placed = whole & target["camera_mask"]
    if placed.any():
        cause = (
            "Depth starts at focal * 140 mm / box (in px): focal length or box are not in px of the stored "
            "picture, or trans is not in mm."
        )
        depths = (float(joints[placed, 0, 2].median()) for joints in (ours["joints"], target["joints"]))
        results.append(_factor("depth", *depths, DEPTH_FACTOR, "mm", cause))
    if whole.any():
        cause = (
            "The hand model's lengths are not the data's: joints are not in mm, "
            "or network.hand is in other units."
        )
        bones = (
            float(bone_lengths(joints[whole].double()).mean())
            for joints in (ours["joints"], target["joints"])
        )
        results.append(_factor("bone length", *bones, BONE_FACTOR, "mm", cause))
    if whole2d.any():
        cause = (
            "Predicted and true 2D joints have other normalisations: both are px / (W, H) - 0.5 in the crop."
        )
        spreads = (float(uv[whole2d].std(dim=1).mean()) for uv in (ours["joints2d"], target["joints2d"]))
        results.append(_factor("2D extent", *spreads, SPREAD_FACTOR, "crops", cause))
        results.append(_check_inside(ours["joints2d"][whole2d], target["joints2d"][whole2d]))
    return [*results, check_projection(predictions, batches)]


def _check_inside(ours: Float[Tensor, "n 21 2"], true: Float[Tensor, "n 21 2"]) -> Result:
    """Whether 2D joints of both sides lie in [-0.5, 0.5]: those in pixels do not."""
    shares = [float((uv.abs() > 0.5).any(dim=-1).float().mean()) for uv in (ours, true)]
    good = shares[0] <= OUTSIDE and shares[1] <= TRUE_OUTSIDE
    cause = (
        "One side is in pixels, or its camera misses the crop: both are px / (W, H) - 0.5. "
        "Remedy: geometry.normalise_pixels on both sides."
    )
    return Result(
        "network: 2D in [-0.5, 0.5]",
        f"{shares[0]:.0%} outside, truth {shares[1]:.0%}",
        f"at most {OUTSIDE:.0%}, truth {TRUE_OUTSIDE:.0%}",
        "ok" if good else "FAILED",
        "" if good else cause,
        shares[0],
    )


def check_projection(predictions: list[HandPrediction], batches: list[ClipBatch]) -> Result:
    """Whether predicted 2D joints are the projection of the predicted 3D ones by the crop's own camera."""
    apart = 0.0
    for prediction, batch in zip(predictions, batches):
        pixels = project(prediction.joints.float(), batch.focal[:, -1:], batch.princpt[:, -1:])
        places = normalise_pixels(pixels, batch.frames.size[::-1])
        apart = max(apart, float((places - prediction.joints2d).abs().max()))
    cause = (
        "2D and 3D joints go through different cameras: a focal length in pixels with a centre in "
        "[-0.5, 0.5] (or the other way round), metres for millimetres, or one focal length for every crop. "
        "Remedy: geometry.project with the crop's focal and princpt."
    )
    good = apart <= ROUNDING_2D
    return Result(
        "network: 2D = projection of 3D",
        f"{apart:.2g} crop widths apart (most)",
        f"at most {ROUNDING_2D:g}",
        "ok" if good else "FAILED",
        "" if good else cause,
        apart,
    )


def check_stage2_starts_as_stage1(network: Network, batch: ClipBatch, prediction: HandPrediction) -> Result:
    """Whether an untrained temporal encoder leaves Stage 1's prediction as it is."""
    spatial = network.spatial_only()
    assert spatial is not None, "a network of Stage 2 has one of single frames inside"
    alone = spatial(batch.last_frame())
    apart = float((prediction.joints - alone.joints).abs().max())
    cause = (
        "The temporal encoder's outputs do not start at zero, or frozen layers see other statistics. "
        "Remedy: zero its last layers' weights."
    )
    good = apart <= ROUNDING_MM
    expected = f"at most {ROUNDING_MM:g} mm (rounding)"
    return Result(
        "Stage 2 starts as Stage 1",
        f"{apart:.2g} mm apart",
        expected,
        "ok" if good else "FAILED",
        "" if good else cause,
        apart,
    )


def check_losses(network: Network, batches: list[ClipBatch], weights: dict[str, float]) -> list[Result]:
    """Whether every loss term is finite and none is nearly all of the total, over the batches."""
    totals: dict[str, float] = {}
    computed: set[str] = set()
    for batch in batches:
        with torch.no_grad():
            terms = network.criterion(network(batch), batch)
            _, raw = combine(terms, weights)
        computed |= terms.keys()
        for name, value in raw.items():
            totals[name] = totals.get(name, 0.0) + float(value) * (weights.get(name) or 0.0) / len(batches)
    used = [
        name for name, weight in weights.items() if weight and name in computed
    ]  # some terms exist under some settings only
    wrong = [name for name in used if name in totals and not math.isfinite(totals[name])]
    absent = [name for name in used if name not in totals]
    text = f"{len(totals) - len(wrong)} of {len(totals)} on {len(batches)} batches"
    cause = (
        f"Not finite: {', '.join(wrong)}. Remedy: tempohand check-data finds labels that are not finite or "
        "impossible."
        if wrong
        else ""
    )
    if absent:
        cause += f" No label for: {', '.join(absent)}; their weights do nothing on these batches."
    verdict = "FAILED" if wrong else "warning" if absent else "ok"
    results = [
        Result(
            "loss terms are finite", text, "all, and every weighted one has labels", verdict, cause.strip()
        )
    ]
    total = sum(totals[name] for name in used if name in totals)
    if wrong or not total > 0 or len(used) < 2:
        return results
    shares = {name: totals[name] / total for name in used if name in totals}
    largest = max(shares, key=shares.get)
    name = "no loss term dominates"
    expected = f"at most {DOMINANT:.0%}"
    text = f"{largest} {shares[largest]:.0%} of {total:.3g}"
    if shares[largest] <= DOMINANT:
        return [*results, Result(name, text, expected, number=shares[largest])]
    cause = (
        f"The term '{largest}' is {shares[largest]:.1%} of the loss: the others are hardly trained. Remedy: "
        f"lower loss.{largest} (now {weights[largest]:g}, raw mean "
        f"{totals[largest] / weights[largest]:.3g}), or look for labels in another unit."
    )
    return [*results, Result(name, text, expected, "FAILED", cause, shares[largest])]
