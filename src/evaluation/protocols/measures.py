"""What each data set's script prints, from the truth of some samples and a prediction of them: lists of
figures. See docs/protocols.md.

Every function takes (truth, prediction) in millimetres, OpenPose order and each hand's own camera space. A
sample of which something is unknown is no part of the figures that need it.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.evaluation.metrics.alignment import (
    relative_to,
    scale_translation_aligned,
    scaled_to_bone,
    with_palm,
)
from tempohand.evaluation.metrics.errors import AUC_THRESHOLDS_MM
from tempohand.evaluation.metrics.fscore import f_scores
from tempohand.evaluation.protocols.quantity import Figure, area_figure, mean_figure, median_figure
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.geometry import procrustes_align, project
from tempohand.skeleton import JOINT_NAMES, NUM_JOINTS, WRIST

MM_PER_CM = 10.0
F_THRESHOLDS_MM = (5.0, 15.0)
FINGERTIPS = [4, 8, 12, 16, 20]
WHOLE_MM = torch.arange(0, 51, dtype=torch.float64)  # 3dhand's curves (Boukhayma et al., CVPR 2019)
FROM_20_MM = torch.arange(20, 51, dtype=torch.float64)  # and the range of their areas
HAND3D_MM = torch.linspace(0, 50, 20, dtype=torch.float64)  # of Zimmermann and Brox's eval_full.py,
HAND3D_UPPER_MM = HAND3D_MM[8:]  # whose "20 to 50 mm" begins at its ninth threshold, 21.05
HOT3D_MM = torch.linspace(0, 50, 101, dtype=torch.float64)
# LANDMARKS_TO_EVAL of hand_tracking_toolkit: no wrist, which is elsewhere in UmeTrack's hand, and no first
# point of the thumb, which it lacks.
HOT3D_JOINTS = [joint for joint in range(NUM_JOINTS) if JOINT_NAMES[joint] not in ("wrist", "thumb_1")]
HINT_SHARES = (0.05, 0.1, 0.15)  # of the box


def _distance(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> Float[Tensor, "n p"]:
    """Distances, 0 where invalid."""
    return (predicted - true).norm(dim=-1).masked_fill(~mask, 0.0)


def _chosen(truth: Truth, prediction: Prediction, mask: Bool[Tensor, "n"]) -> tuple[Truth, Prediction]:
    """Some of the samples. (All of them are not copied: meshes of 20,000 hands are 400 MB.)"""
    if mask.all():
        return truth, prediction
    places = mask.nonzero()[:, 0]

    def cut(value):
        if isinstance(value, Tensor):
            return value[places]
        return value[places.numpy()] if isinstance(value, np.ndarray) else value

    return tuple(
        replace(item, **{name: cut(value) for name, value in vars(item).items()})
        for item in (truth, prediction)
    )


def _whole(truth: Truth, prediction: Prediction, *, camera: bool) -> tuple[Truth, Prediction]:
    """The samples whose 21 joints are known (and, with `camera`, where they are)."""
    return _chosen(truth, prediction, truth.joints_mask.all(dim=1) & (truth.has_camera | (not camera)))


def _mean_and_area(
    name: str, predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], cluster: np.ndarray
) -> tuple[Figure, Figure]:
    """<name>_mean3d (cm) and <name>_auc3d of points that are all known, as EvalUtil has them."""
    mask = torch.ones(true.shape[:2], dtype=torch.bool)
    distance = _distance(predicted, true, mask)
    return (
        mean_figure(f"{name}_mean3d", "cm", distance / MM_PER_CM, mask, cluster),
        area_figure(f"{name}_auc3d", "1", distance, mask, cluster, AUC_THRESHOLDS_MM),
    )


def _mesh(truth: Truth, prediction: Prediction) -> list[Figure]:
    """Mesh errors raw and aligned by the mesh's own 778 vertices, and F-scores of both."""
    truth, prediction = _chosen(truth, prediction, truth.vertices_mask & truth.has_camera)
    predicted, true, cluster = prediction.vertices, truth.vertices, truth.cluster
    aligned = procrustes_align(predicted, true, allow_reflection=True)
    scores = {
        "f_score": f_scores(predicted, true, F_THRESHOLDS_MM),
        "f_al_score": f_scores(aligned, true, F_THRESHOLDS_MM),
    }
    one = torch.ones(len(true), 1, dtype=torch.bool)
    return [
        *_mean_and_area("mesh", predicted, true, cluster),
        *_mean_and_area("mesh_al", aligned, true, cluster),
        *(
            mean_figure(f"{name}_{threshold:.0f}", "1", score[:, place, None], one, cluster)
            for place, threshold in enumerate(F_THRESHOLDS_MM)
            for name, score in scores.items()
        ),
    ]


def freihand(truth: Truth, prediction: Prediction) -> list[Figure]:
    """The lines of FreiHAND's scores.txt (Zimmermann et al., ICCV 2019): joints and mesh, raw and after the
    similarity with reflections."""
    some, ours = _whole(truth, prediction, camera=True)
    aligned = procrustes_align(ours.joints, some.joints, allow_reflection=True)
    joints = [
        *_mean_and_area("xyz", ours.joints, some.joints, some.cluster),
        *_mean_and_area("xyz_al", aligned, some.joints, some.cluster),
    ]
    return [*joints, *_mesh(truth, prediction)]


def ho3d(truth: Truth, prediction: Prediction) -> list[Figure]:
    """The lines of HO3D's scores.txt (Hampali et al., CVPR 2020): FreiHAND's, and joints aligned by scale and
    translation."""
    some, ours = _whole(truth, prediction, camera=True)
    ways = {
        "xyz": ours.joints,
        "xyz_procrustes_al": procrustes_align(ours.joints, some.joints, allow_reflection=True),
        "xyz_scale_trans_al": scale_translation_aligned(ours.joints, some.joints),
    }
    joints = [
        figure
        for name, points in ways.items()
        for figure in _mean_and_area(name, points, some.joints, some.cluster)
    ]
    return [*joints, *_mesh(truth, prediction)]


def dexycb(truth: Truth, prediction: Prediction) -> list[Figure]:
    """The table of DexYCB's hpe_eval.py (Chao et al., CVPR 2021): absolute, root-relative (wrist) and
    Procrustes MPJPE and AUC."""
    some, ours = _whole(truth, prediction, camera=True)
    ways = {
        "absolute": (ours.joints, some.joints),
        "root_relative": tuple(
            relative_to(joints, joints[:, WRIST]) for joints in (ours.joints, some.joints)
        ),
        "procrustes": (procrustes_align(ours.joints, some.joints, allow_reflection=True), some.joints),
    }
    figures = []
    for name, points in ways.items():
        distance = _distance(*points, some.joints_mask)
        figures.append(mean_figure(f"{name}_mpjpe", "mm", distance, some.joints_mask, some.cluster))
        figures.append(
            area_figure(f"{name}_auc", "1", distance, some.joints_mask, some.cluster, AUC_THRESHOLDS_MM)
        )
    return figures


def hand_pairs(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """(places of right hands, places of the left hands in the same pictures). Sequences of one picture differ
    in their last part, the side."""
    place = {key: number for number, key in enumerate(truth.keys())}
    pairs = [
        (number, place[other])
        for (sequence, frame), number in place.items()
        if truth.is_right[number] and (other := (sequence.removesuffix("/right") + "/left", frame)) in place
    ]
    return tuple(np.array([pair[side] for pair in pairs], dtype=int) for side in (0, 1))


def interhand(truth: Truth, prediction: Prediction) -> list[Figure]:
    """InterHand2.6M's evaluate (Moon et al., ECCV 2020): wrist-aligned MPJPE of all, single and interacting
    hands, and MRRPE.

    Means are over the 42 joints (21 of each side) of the mean over samples; a hand without its wrist has no
    valid joint. Interacting: the picture's other hand is a sample, too. MRRPE: the error of the left wrist
    relative to the right one, where both are known.
    """
    right, left = hand_pairs(truth)
    interacting = torch.zeros(len(truth), dtype=torch.bool)
    interacting[np.concatenate([right, left])] = True
    known = truth.joints_mask & truth.joints_mask[:, WRIST : WRIST + 1]
    relative = [relative_to(joints, joints[:, WRIST]) for joints in (prediction.joints, truth.joints)]
    distance = _distance(*relative, known)
    side = truth.is_right[:, None]
    both, both_known = torch.cat([distance, distance], dim=1), torch.cat([known & side, known & ~side], dim=1)
    figures = [
        mean_figure(name, "mm", both, both_known & chosen[:, None], truth.cluster)
        for name, chosen in {
            "mpjpe": torch.ones_like(interacting),
            "mpjpe_single": ~interacting,
            "mpjpe_interacting": interacting,
        }.items()
    ]
    offsets = [joints[left, WRIST] - joints[right, WRIST] for joints in (prediction.joints, truth.joints)]
    placed = truth.joints_mask[:, WRIST] & truth.has_camera
    mask = (placed[left] & placed[right])[:, None]
    return [
        *figures,
        mean_figure(
            "mrrpe", "mm", _distance(*(o[:, None] for o in offsets), mask), mask, truth.cluster[right]
        ),
    ]


def hot3d(truth: Truth, prediction: Prediction) -> list[Figure]:
    """The pose track of the Hand Tracking Challenge (hand_tracking_toolkit's compute_pose_metrics): its 19
    points, unaligned, pooled over points; areas in %. The prediction has the true shape, as its server gives
    it to the hand model (true_shape.py)."""
    some, ours = _whole(truth, prediction, camera=True)
    distance = _distance(ours.joints, some.joints, some.joints_mask)
    points = distance[:, HOT3D_JOINTS], some.joints_mask[:, HOT3D_JOINTS]
    tips = distance[:, FINGERTIPS], some.joints_mask[:, FINGERTIPS]
    return [
        mean_figure("mpjpe", "mm", *points, some.cluster, pooled=True),
        area_figure("pck_auc", "%", *points, some.cluster, HOT3D_MM, pooled=True),
        area_figure("fingertip_pck_auc", "%", *tips, some.cluster, HOT3D_MM, pooled=True),
    ]


def palm_relative(truth: Truth, prediction: Prediction) -> list[Figure]:
    """RHD and STB as Zimmermann and Brox (ICCV 2017) evaluate: 21 points, the palm's centre for the wrist,
    relative to that centre.

    epe_mean, epe_median (mm); auc over their 20 thresholds of 0 to 50 mm, and over those from the ninth on;
    `_whole_mm`: over whole mm of 0 to 50 and of 20 to 50, as later works have it. `scaled_`: at the true
    length of the middle finger's first bone, as their network needs it. All joints must be known.
    """
    some, ours = _whole(truth, prediction, camera=False)
    points, true = with_palm(ours.joints), with_palm(some.joints)
    figures = []
    for prefix, predicted in (("", points), ("scaled_", scaled_to_bone(points, true))):
        distance, mask = _distance(predicted, true, some.joints_mask), some.joints_mask
        figures += [
            mean_figure(f"{prefix}epe_mean", "mm", distance, mask, some.cluster),
            median_figure(f"{prefix}epe_median", "mm", distance, mask),
            area_figure(f"{prefix}auc_0_50", "1", distance, mask, some.cluster, HAND3D_MM),
            area_figure(f"{prefix}auc_20_50", "1", distance, mask, some.cluster, HAND3D_UPPER_MM),
            area_figure(f"{prefix}auc_0_50_whole_mm", "1", distance, mask, some.cluster, WHOLE_MM),
            area_figure(f"{prefix}auc_20_50_whole_mm", "1", distance, mask, some.cluster, FROM_20_MM),
        ]
    return figures


def fingertips(truth: Truth, prediction: Prediction) -> list[Figure]:
    """Dexter+Object and EgoDexter: fingertips in camera space, unaligned, all known tips pooled; areas over
    whole mm (3dhand's curves)."""
    mask = (truth.joints_mask & truth.has_camera[:, None])[:, FINGERTIPS]
    distance = _distance(prediction.joints[:, FINGERTIPS], truth.joints[:, FINGERTIPS], mask)
    return [
        mean_figure("tip_error", "mm", distance, mask, truth.cluster, pooled=True),
        area_figure("auc_0_50", "1", distance, mask, truth.cluster, WHOLE_MM, pooled=True),
        area_figure("auc_20_50", "1", distance, mask, truth.cluster, FROM_20_MM, pooled=True),
    ]


def hint(truth: Truth, prediction: Prediction) -> list[Figure]:
    """HInt's PCK (Pavlakos et al., HaMeR, CVPR 2024): projected joints within a share of the box's longer
    side, per joint, then the mean.

    HaMeR's crop is twice the box and its threshold the crop over two: the box itself.
    """
    pixels = project(prediction.joints, truth.focal, truth.princpt)
    distance = (pixels - truth.joints2d).norm(dim=-1)
    size = (truth.box[:, 2:] - truth.box[:, :2]).amax(dim=-1, keepdim=True)
    mask = truth.joints2d_mask
    return [
        mean_figure(f"pck_{share}", "1", (distance <= share * size).double(), mask, truth.cluster)
        for share in HINT_SHARES
    ]
