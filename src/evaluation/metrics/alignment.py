"""How predictions are moved onto the truth before their error is taken: what the official scripts of data
sets do.

Similarities are `geometry.procrustes_align`: proper (det R = +1, as in SPIN, HMR and HaMeR), or with
reflections allowed, which is the form of FreiHAND's, HO3D's and DexYCB's scripts (scipy's
orthogonal_procrustes has no constraint on the determinant).
"""

from jaxtyping import Float
from torch import Tensor

from tempohand.skeleton import WRIST

MIDDLE_MCP = 9
MIDDLE_PIP = 10


def relative_to(points: Float[Tensor, "n p 3"], origin: Float[Tensor, "n 3"]) -> Float[Tensor, "n p 3"]:
    """Points with their sample's origin subtracted."""
    return points - origin[:, None]


def palm(joints: Float[Tensor, "n 21 3"]) -> Float[Tensor, "n 3"]:
    """The palm's centre as RHD's script makes it: midway between the wrist and the middle finger's first
    joint. (STB annotates it itself.)"""
    return (joints[:, WRIST] + joints[:, MIDDLE_MCP]) / 2


def with_palm(joints: Float[Tensor, "n 21 3"]) -> Float[Tensor, "n 21 3"]:
    """Zimmermann's 21 points relative to their root: the palm's centre in the wrist's place, and everything
    minus that."""
    root = palm(joints)
    moved = relative_to(joints, root)
    moved[:, WRIST] = 0.0
    return moved


def scaled_to_bone(
    predicted: Float[Tensor, "n 21 3"], true: Float[Tensor, "n 21 3"]
) -> Float[Tensor, "n 21 3"]:
    """Root-relative predictions at the true size: scaled so that the middle finger's first bone has its true
    length.

    Zimmermann and Brox (ICCV 2017) predict without a scale and take this bone's from the truth.
    """
    lengths = [(joints[:, MIDDLE_PIP] - joints[:, MIDDLE_MCP]).norm(dim=-1) for joints in (predicted, true)]
    return predicted * (lengths[1] / lengths[0].clamp_min(1e-9))[:, None, None]


def scale_translation_aligned(
    predicted: Float[Tensor, "n 21 3"], true: Float[Tensor, "n 21 3"]
) -> Float[Tensor, "n 21 3"]:
    """Predictions scaled so that wrist and middle MCP are as far apart as the true ones, and moved so that
    the wrists coincide.

    align_sc_tr of HO3D's eval.py; a prediction without extent is only moved, as there.
    """
    sizes = [(joints[:, MIDDLE_MCP] - joints[:, WRIST]).norm(dim=-1) for joints in (predicted, true)]
    scale = (sizes[1] / sizes[0]).masked_fill(sizes[0] == 0, 1.0)
    return relative_to(predicted, predicted[:, WRIST]) * scale[:, None, None] + true[:, WRIST, None]
