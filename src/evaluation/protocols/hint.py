"""HInt's evaluation (Pavlakos et al., HaMeR, CVPR 2024): joints in the picture."""

from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity, mean_quantity
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.geometry import project

SHARES = (0.05, 0.1, 0.15)  # of the box


def hint(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """HInt's PCK (Pavlakos et al., HaMeR, CVPR 2024): projected joints within a share of the box's longer
    side, per joint, then the mean.

    HaMeR's crop is twice the box and its threshold the crop over two: the box itself.
    """
    pixels = project(prediction.joints, truth.focal, truth.princpt)
    distance = (pixels - truth.joints2d).norm(dim=-1)
    size = (truth.box[:, 2:] - truth.box[:, :2]).amax(dim=-1, keepdim=True)
    mask = truth.joints2d_mask
    return [
        mean_quantity(f"pck_{share}", "1", (distance <= share * size).double(), mask, truth.cluster)
        for share in SHARES
    ]


PROTOCOL = Protocol("HInt, test", ("hint",), "test", hint)
