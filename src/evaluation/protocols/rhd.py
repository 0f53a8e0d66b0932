"""RHD's evaluation (Zimmermann and Brox, ICCV 2017), which STB's takes over."""

import torch

from tempohand.evaluation.metrics.alignment import scaled_to_bone, with_palm
from tempohand.evaluation.metrics.errors import point_distance
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import (
    FROM_20_MM,
    WHOLE_MM,
    Quantity,
    auc_quantity,
    mean_quantity,
    median_quantity,
)
from tempohand.evaluation.samples import Prediction, Truth, with_known_joints

THRESHOLDS_MM = torch.linspace(0, 50, 20, dtype=torch.float64)  # of Zimmermann and Brox's eval_full.py,
UPPER_THRESHOLDS_MM = THRESHOLDS_MM[8:]  # whose "20 to 50 mm" begins at its ninth threshold, 21.05


def palm_relative(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """RHD and STB as Zimmermann and Brox (ICCV 2017) evaluate: 21 points, the palm's centre for the wrist,
    relative to that centre.

    epe_mean, epe_median (mm); auc over their 20 thresholds of 0 to 50 mm, and over those from the ninth on;
    `_whole_mm`: over whole mm of 0 to 50 and of 20 to 50, as later works have it. `scaled_`: at the true
    length of the middle finger's first bone, as their network needs it. All joints must be known.
    """
    truth, prediction = with_known_joints(truth, prediction, camera=False)
    points, true = with_palm(prediction.joints), with_palm(truth.joints)
    quantities = []
    for prefix, predicted in (("", points), ("scaled_", scaled_to_bone(points, true))):
        distance, mask = point_distance(predicted, true, truth.joints_mask), truth.joints_mask
        quantities += [
            mean_quantity(f"{prefix}epe_mean", "mm", distance, mask, truth.cluster),
            median_quantity(f"{prefix}epe_median", "mm", distance, mask),
            auc_quantity(f"{prefix}auc_0_50", "1", distance, mask, truth.cluster, THRESHOLDS_MM),
            auc_quantity(f"{prefix}auc_20_50", "1", distance, mask, truth.cluster, UPPER_THRESHOLDS_MM),
            auc_quantity(f"{prefix}auc_0_50_whole_mm", "1", distance, mask, truth.cluster, WHOLE_MM),
            auc_quantity(f"{prefix}auc_20_50_whole_mm", "1", distance, mask, truth.cluster, FROM_20_MM),
        ]
    return quantities


PROTOCOL = Protocol("RHD, evaluation", ("rhd",), "evaluation", palm_relative)
