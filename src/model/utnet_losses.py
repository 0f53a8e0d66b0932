"""UTNet's losses: PoseNet's own, of the refined hand and of the coarse one, the joints' heat maps, and what
holds numbers in bounds. Pure functions from a prediction and a batch to unreduced terms with their masks;
averages (never sums over a batch) and weights come later."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction, Term
from tempohand.model.losses import TERMS as POSENET_TERMS
from tempohand.model.losses import heatmap_cross_entropy, posenet_terms, without_unknown

HAND_TERMS = ("orientation", "pose", "shape", "uv", "depth", "joints", "joints2d")
COARSE = "coarse_"  # before the names of the coarse hand's terms, and of what they are computed from
# UTNet's loss terms -> what switches their labels on; columns of the frame table (docs/data.md).
TERMS = {
    **{name: POSENET_TERMS[name] for name in HAND_TERMS},
    **{COARSE + name: POSENET_TERMS[name] for name in HAND_TERMS},
    "heatmap": POSENET_TERMS["heatmap"],
    "prior": "nothing (it is always on)",
    "orthogonality": "nothing (it is always on)",
}


def utnet_terms(prediction: HandPrediction, batch: ClipBatch, expansion: float) -> dict[str, Term]:
    """Every term that UTNet can be trained with.

    orientation to joints2d: `losses.posenet_terms` of the refined hand, joints relative to the wrist, mm;
    coarse_*: the same of the coarse one; heatmap: cross-entropy of the joints' heat maps; prior: mean square
    of the betas; orthogonality: how far the coarse 6D columns are from two orthogonal unit vectors.
    """
    said = prediction.terms
    terms = _of_hand(prediction, batch, expansion)
    names = ("rotation", "shape", "joints", "joints2d")
    coarse = replace(
        prediction,
        **{name: said[COARSE + name] for name in names},
        terms={name: said[COARSE + name] for name in ("uv", "log_depth")},
    )
    terms |= {COARSE + name: term for name, term in _of_hand(coarse, batch, expansion).items()}
    if "heatmaps" in said:
        target = without_unknown(batch.labels)
        value, within = heatmap_cross_entropy(said["heatmaps"], target.joints2d)
        terms["heatmap"] = Term(value, within & target.joints2d_mask, target.joints2d_mask)
    always = torch.ones_like(batch.target.hand_mask)
    terms["prior"] = Term(prediction.shape.square(), always)
    terms["orthogonality"] = Term(departure_from_orthogonality(said["columns"]), always)
    return terms


def _of_hand(prediction: HandPrediction, batch: ClipBatch, expansion: float) -> dict[str, Term]:
    said = {name: prediction.terms[name] for name in ("uv", "log_depth")}
    terms = posenet_terms(replace(prediction, terms=said), batch, expansion, norm_by_hand=False)
    return {name: terms[name] for name in HAND_TERMS}


def departure_from_orthogonality(columns: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch"]:
    """Of two stacked columns: squares of their lengths less 1, and of their product."""
    first, second = columns.float().split(3, dim=-1)
    lengths = (first.norm(dim=-1) - 1).square() + (second.norm(dim=-1) - 1).square()
    return lengths + (first * second).sum(dim=-1).square()
