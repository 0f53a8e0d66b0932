"""Dexter+Object (Sridhar et al., ECCV 2016) and EgoDexter (Mueller et al., ICCV 2017): fingertips."""

from tempohand.evaluation.metrics.errors import point_distance
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import (
    FROM_20_MM,
    WHOLE_MM,
    Quantity,
    auc_quantity,
    mean_quantity,
)
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.skeleton import FINGERTIPS


def fingertips(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """Dexter+Object and EgoDexter: fingertips in camera space, unaligned, all known tips pooled; areas over
    whole mm (3dhand's curves)."""
    mask = (truth.joints_mask & truth.has_camera[:, None])[:, FINGERTIPS]
    distance = point_distance(prediction.joints[:, FINGERTIPS], truth.joints[:, FINGERTIPS], mask)
    return [
        mean_quantity("tip_error", "mm", distance, mask, truth.cluster, pooled=True),
        auc_quantity("auc_0_50", "1", distance, mask, truth.cluster, WHOLE_MM, pooled=True),
        auc_quantity("auc_20_50", "1", distance, mask, truth.cluster, FROM_20_MM, pooled=True),
    ]


DEXTER_OBJECT = Protocol("Dexter+Object", ("dexterobject",), "test", fingertips)
EGODEXTER = Protocol("EgoDexter", ("egodexter",), "test", fingertips)
