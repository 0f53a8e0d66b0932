"""HO3D's evaluation, versions 2 and 3 (Hampali et al., CVPR 2020 and 2021)."""

import numpy as np

from tempohand.evaluation.metrics.alignment import scale_translation_aligned
from tempohand.evaluation.protocols.challenge_files import Convention, pred_zip
from tempohand.evaluation.protocols.freihand import mean_and_auc, mesh_quantities
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity
from tempohand.evaluation.samples import Prediction, Truth, with_known_joints
from tempohand.geometry import procrustes_align
from tempohand.skeleton import MANO21_TO_OP

# OpenGL's axes; MANO's 16 joints and then the fingertips.
CONVENTION = Convention((1, -1, -1), tuple(np.argsort(MANO21_TO_OP).tolist()))


def ho3d(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """The lines of HO3D's scores.txt: FreiHAND's, and joints aligned by scale and translation."""
    true, predicted = with_known_joints(truth, prediction, camera=True)
    alignments = {
        "xyz": predicted.joints,
        "xyz_procrustes_al": procrustes_align(predicted.joints, true.joints, allow_reflection=True),
        "xyz_scale_trans_al": scale_translation_aligned(predicted.joints, true.joints),
    }
    joints = [
        quantity
        for name, points in alignments.items()
        for quantity in mean_and_auc(name, points, true.joints, true.cluster)
    ]
    return [*joints, *mesh_quantities(truth, prediction)]


def protocol(version: str) -> Protocol:
    """The protocol of version "v2" or "v3", which differ in their samples alone."""
    return Protocol(
        title=f"HO3D {version}, evaluation",
        sources=("ho3d", f"ho3d{version}"),
        split="evaluation",
        measure=ho3d,
        vertices=True,
        convention=CONVENTION,
        submission=pred_zip(CONVENTION),
    )
