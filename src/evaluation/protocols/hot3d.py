"""HOT3D-Clips' pose track in the Hand Tracking Challenge."""

import torch

from tempohand.evaluation.metrics.errors import point_distance
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity, auc_quantity, mean_quantity
from tempohand.evaluation.protocols.true_shape import with_true_shape
from tempohand.evaluation.samples import Prediction, Truth, with_known_joints
from tempohand.skeleton import FINGERTIPS, JOINT_NAMES, NUM_JOINTS

THRESHOLDS_MM = torch.linspace(0, 50, 101, dtype=torch.float64)
# LANDMARKS_TO_EVAL of hand_tracking_toolkit: no wrist, which is elsewhere in UmeTrack's hand, and no first
# point of the thumb, which it lacks.
JOINTS = [joint for joint in range(NUM_JOINTS) if JOINT_NAMES[joint] not in ("wrist", "thumb_1")]


def hot3d(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """The pose track of the Hand Tracking Challenge (hand_tracking_toolkit's compute_pose_metrics): its 19
    points, unaligned, pooled over points; areas in %. The prediction has the true shape, as its server gives
    it to the hand model (true_shape.py)."""
    truth, prediction = with_known_joints(truth, prediction, camera=True)
    distance = point_distance(prediction.joints, truth.joints, truth.joints_mask)
    points = distance[:, JOINTS], truth.joints_mask[:, JOINTS]
    tips = distance[:, FINGERTIPS], truth.joints_mask[:, FINGERTIPS]
    return [
        mean_quantity("mpjpe", "mm", *points, truth.cluster, pooled=True),
        auc_quantity("pck_auc", "%", *points, truth.cluster, THRESHOLDS_MM, pooled=True),
        auc_quantity("fingertip_pck_auc", "%", *tips, truth.cluster, THRESHOLDS_MM, pooled=True),
    ]


PROTOCOL = Protocol("HOT3D-Clips, pose track", ("hot3d", "hot3dclips"), "val", hot3d, adapt=with_true_shape)
