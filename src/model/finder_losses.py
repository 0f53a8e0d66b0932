"""The hand finder's losses: pure functions from a prediction and a batch to unreduced terms with their
masks."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.batch import BoxPrediction, ClipBatch, HandTarget, Term
from tempohand.model.losses import l1

# cells near a centre whose box, moved there, would still overlap the hand's by this much are hardly wrong
OVERLAP = 0.7
# The finder's loss terms -> what switches their labels on; columns of the frame table (docs/data.md).
TERMS = {
    "centre": "joints2d_mask of all joints",
    "offset": "joints2d_mask of all joints, of hands whose centre is in the crop,",
    "size": "joints2d_mask of all joints, of hands whose centre is in the crop,",
}
# The focal loss's exponents, alpha and beta of "Objects as Points".
FOCUS = 2
LENIENCE = 4


class FinderTarget(NamedTuple):
    """What a finder is to predict of pictures with one labelled hand each, which is a right one.

    A hand whose centre lies outside the picture is in no cell. Tables label one hand of a picture, so where
    another one may be is unknown: every left hand but inside the labelled one's box.
    """

    cell: Int[Tensor, "b 1"]  # the centre's, row by row
    has_centre: Bool[Tensor, "b 1"]
    offset: Float[Tensor, "b 1 2"]  # of the centre from its cell's, in cells
    log_size: Float[Tensor, "b 1 2"]  # of the box's edges over the picture's
    nearness: Float[Tensor, "b 1 2 g g"]  # to the centre, 1 in its cell
    known: Bool[Tensor, "b 1 2 g g"]


def finder_target(target: HandTarget, grid: int, size: int) -> FinderTarget:
    """The target over a raster of grid x grid cells of pictures of `size` px.

    Normalised places are those of pixel centres at px / size - 0.5: half a pixel more is the place in the
    raster, which a mirror leaves so.
    """
    box, labelled = target.box()
    box = box + 0.5 / size
    centre = (box[..., :2] + box[..., 2:]) / 2
    edges = (box[..., 2:] - box[..., :2]).clamp_min(1e-4)
    has_centre = labelled & (centre.abs() < 0.5).all(dim=-1)
    place = ((centre + 0.5) * grid).clamp(0, grid - 1e-3)  # in cells
    column, row = place.floor().unbind(-1)
    cells = torch.arange(grid, device=box.device)
    across = (cells - column[..., None])[..., None, :]
    down = (cells - row[..., None])[..., :, None]
    distance2 = across**2 + down**2  # (b 1 g g)
    sigma = (2 * lenient_radius(edges * grid) + 1) / 6
    nearness = torch.exp(-distance2 / (2 * sigma[..., None, None] ** 2)) * has_centre[..., None, None]
    cell_centres = (cells + 0.5) / grid - 0.5
    u = cell_centres.expand(grid, grid)
    v = cell_centres[:, None].expand(grid, grid)
    x0, y0, x1, y1 = box[..., None, None].unbind(2)
    inside = (u >= x0) & (u <= x1) & (v >= y0) & (v <= y1)
    return FinderTarget(
        cell=(row * grid + column).long(),
        has_centre=has_centre,
        offset=place - place.floor() - 0.5,
        log_size=edges.log(),
        nearness=torch.stack([nearness, torch.zeros_like(nearness)], dim=2),
        known=labelled[..., None, None, None] & torch.stack([torch.ones_like(inside), inside], dim=2),
    )


def lenient_radius(size: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """How far a box (width, height) can be moved along both axes before it overlaps where it was by less than
    OVERLAP.

    The overlap (w - r)(h - r) is OVERLAP times the union 2 w h - (w - r)(h - r).
    """
    width, height = size.unbind(-1)
    share = 1 - 2 * OVERLAP / (1 + OVERLAP)
    return ((width + height) - ((width + height) ** 2 - 4 * width * height * share).sqrt()) / 2


def finder_terms(prediction: BoxPrediction, batch: ClipBatch) -> dict[str, Term]:
    """centre: the penalty-reduced focal loss of every known cell and side, offset, size: L1 in the centre's
    cell (Zhou et al. 2019).

    A picture's some 600 known entries hold one centre, so the weight of `centre` is to be of that order.
    """
    target = finder_target(batch.labels, prediction.logits.shape[-1], batch.edge)
    at_centre = F.one_hot(target.cell, target.nearness[0, 0, 0].numel()).bool() & target.has_centre[..., None]
    positive = torch.stack([at_centre, torch.zeros_like(at_centre)], dim=2).view_as(target.nearness)
    logits = prediction.logits
    hit = -((1 - logits.sigmoid()) ** FOCUS) * F.logsigmoid(logits)
    alarm = -((1 - target.nearness) ** LENIENCE) * logits.sigmoid() ** FOCUS * F.logsigmoid(-logits)

    def in_centre_cell(name: str) -> Float[Tensor, "b 1 2"]:
        cell = target.cell[..., None, None].expand(-1, -1, 2, 1)
        return prediction.terms[name].flatten(3).gather(3, cell)[..., 0]

    return {
        "centre": Term(torch.where(positive, hit, alarm), target.known),
        "offset": Term(l1(in_centre_cell("offset"), target.offset), target.has_centre),
        "size": Term(l1(in_centre_cell("log_size"), target.log_size), target.has_centre),
    }
