"""FreiHAND's evaluation (Zimmermann et al., ICCV 2019): joints and mesh in camera space, and after a
similarity."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.evaluation.metrics.errors import AUC_THRESHOLDS_MM, point_distance
from tempohand.evaluation.metrics.fscore import f_scores
from tempohand.evaluation.protocols.challenge_files import Convention, pred_zip
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity, auc_quantity, mean_quantity
from tempohand.evaluation.samples import Prediction, Truth, select, with_known_joints
from tempohand.geometry import procrustes_align
from tempohand.skeleton import NUM_JOINTS

MM_PER_CM = 10.0
F_THRESHOLDS_MM = (5.0, 15.0)
CONVENTION = Convention((1, 1, 1), tuple(range(NUM_JOINTS)))


def freihand(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """The lines of FreiHAND's scores.txt: joints and mesh, raw and after the similarity with reflections."""
    true, predicted = with_known_joints(truth, prediction, camera=True)
    aligned = procrustes_align(predicted.joints, true.joints, allow_reflection=True)
    return [
        *mean_and_auc("xyz", predicted.joints, true.joints, true.cluster),
        *mean_and_auc("xyz_al", aligned, true.joints, true.cluster),
        *mesh_quantities(truth, prediction),
    ]


def mean_and_auc(
    name: str, predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], cluster: np.ndarray
) -> tuple[Quantity, Quantity]:
    """<name>_mean3d (cm) and <name>_auc3d of points that are all known, as EvalUtil has them."""
    mask = torch.ones(true.shape[:2], dtype=torch.bool)
    distance = point_distance(predicted, true, mask)
    return (
        mean_quantity(f"{name}_mean3d", "cm", distance / MM_PER_CM, mask, cluster),
        auc_quantity(f"{name}_auc3d", "1", distance, mask, cluster, AUC_THRESHOLDS_MM),
    )


def mesh_quantities(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """Mesh errors raw and aligned by the mesh's own 778 vertices, and F-scores of both."""
    truth, prediction = select(truth, prediction, truth.vertices_mask & truth.has_camera)
    predicted, true = prediction.vertices, truth.vertices
    assert predicted is not None and true is not None, "FreiHAND's protocol asks for vertices"
    cluster = truth.cluster
    aligned = procrustes_align(predicted, true, allow_reflection=True)
    scores = {
        "f_score": f_scores(predicted, true, F_THRESHOLDS_MM),
        "f_al_score": f_scores(aligned, true, F_THRESHOLDS_MM),
    }
    one = torch.ones(len(true), 1, dtype=torch.bool)
    return [
        *mean_and_auc("mesh", predicted, true, cluster),
        *mean_and_auc("mesh_al", aligned, true, cluster),
        *(
            mean_quantity(f"{name}_{threshold:.0f}", "1", score[:, place, None], one, cluster)
            for place, threshold in enumerate(F_THRESHOLDS_MM)
            for name, score in scores.items()
        ),
    ]


PROTOCOL = Protocol(
    title="FreiHAND v2, evaluation",
    sources=("freihand",),
    split="evaluation",
    measure=freihand,
    vertices=True,
    convention=CONVENTION,
    submission=pred_zip(CONVENTION),
)
