"""DexYCB's hand pose evaluation (Chao et al., CVPR 2021): its table, and the text that its script reads."""

from collections.abc import Sequence
from pathlib import Path

from tempohand.evaluation.metrics.alignment import relative_to
from tempohand.evaluation.metrics.errors import AUC_THRESHOLDS_MM, point_distance
from tempohand.evaluation.protocols.official_order import Key, places_of_order
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity, auc_quantity, mean_quantity
from tempohand.evaluation.samples import Prediction, Truth, with_known_joints
from tempohand.geometry import procrustes_align
from tempohand.skeleton import WRIST
from tempohand.writing import whole


def dexycb(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """The table of DexYCB's hpe_eval.py (Chao et al., CVPR 2021): absolute, root-relative (wrist) and
    Procrustes MPJPE and AUC."""
    truth, prediction = with_known_joints(truth, prediction, camera=True)
    ways = {
        "absolute": (prediction.joints, truth.joints),
        "root_relative": tuple(
            relative_to(joints, joints[:, WRIST]) for joints in (prediction.joints, truth.joints)
        ),
        "procrustes": (
            procrustes_align(prediction.joints, truth.joints, allow_reflection=True),
            truth.joints,
        ),
    }
    quantities = []
    for name, points in ways.items():
        distance = point_distance(*points, truth.joints_mask)
        quantities.append(mean_quantity(f"{name}_mpjpe", "mm", distance, truth.joints_mask, truth.cluster))
        quantities.append(
            auc_quantity(f"{name}_auc", "1", distance, truth.joints_mask, truth.cluster, AUC_THRESHOLDS_MM)
        )
    return quantities


def dexycb_text(
    path: str | Path, order: Sequence[Key], keys: Sequence[Key], in_table: set[Key], prediction: Prediction
) -> int:
    """DexYCB's text: a line a sample, "index,x0,y0,z0,...,z20", 64 values, mm; the index is the sample's
    place in the official split.

    Samples without a row in the table are not written: their truth is invalid, and DexYCB's hpe_eval.py skips
    them. Raises ValueError when one with a row has no prediction.
    """
    wanted = [(number, key) for number, key in enumerate(order) if key in in_table]
    places = places_of_order([key for _, key in wanted], keys)
    with whole(path) as part, part.open("w", encoding="ascii") as file:
        for (number, _), place in zip(wanted, places):
            file.write(
                ",".join(
                    [str(number), *(f"{value:.4f}" for value in prediction.joints[place].flatten().tolist())]
                )
                + "\n"
            )
    return len(places)


PROTOCOL = Protocol("DexYCB, hand pose", ("dexycb",), "s0_test", dexycb, submission=dexycb_text)
