"""Each data set's figures against a plain reading of its script, on made hands."""

import numpy as np
import pytest
import roma
import torch
from evaluation.protocol_support import samples, values
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import cdist

from tempohand.evaluation.protocols import dexter, dexycb, freihand, hint, ho3d, hot3d, interhand, rhd
from tempohand.evaluation.protocols.registry import PROTOCOLS
from tempohand.evaluation.protocols.temporal import temporal
from tempohand.evaluation.samples import Prediction, select
from tempohand.skeleton import MANO21_TO_OP

ZERO = Prediction(torch.zeros(8, 21, 3, dtype=torch.float64), torch.zeros(8, 778, 3, dtype=torch.float64))


class PlainEvaluator:
    """Distances by point; their mean, median and area as the scripts of RHD, FreiHAND, HO3D and DexYCB have
    them."""

    def __init__(self):
        self.distances = []

    def feed(self, true, predicted):
        self.distances.append(np.sqrt(((np.asarray(true) - np.asarray(predicted)) ** 2).sum(axis=1)))

    def measures(self, low, high, steps):
        table, thresholds = np.array(self.distances), np.linspace(low, high, steps)
        areas = np.trapezoid((table[..., None] <= thresholds).mean(axis=0), thresholds, axis=-1) / (
            high - low
        )
        return table.mean(axis=0).mean(), np.median(table, axis=0).mean(), np.mean(areas)


def aligned(true, predicted):
    true_mean, mean = true.mean(0), predicted.mean(0)
    size, own = np.linalg.norm(true - true_mean) + 1e-8, np.linalg.norm(predicted - mean) + 1e-8
    rotation, scale = orthogonal_procrustes((true - true_mean) / size, (predicted - mean) / own)
    return (predicted - mean) / own @ rotation.T * scale * size + true_mean


def f_score(true, predicted, threshold):
    table = cdist(true, predicted)
    share = (table.min(axis=0) < threshold).mean(), (table.min(axis=1) < threshold).mean()
    return 2 * share[0] * share[1] / sum(share) if sum(share) else 0.0


def freihands_script(truth, prediction):
    """The lines of scores.txt, in metres within as there."""
    evaluators = {name: PlainEvaluator() for name in ("xyz", "xyz_al", "mesh", "mesh_al")}
    scores = {name: [] for name in ("f_score_5", "f_score_15", "f_al_score_5", "f_al_score_15")}
    for i in range(len(truth)):
        xyz, verts, ours, mesh = (
            x[i].numpy() / 1000
            for x in (truth.joints, truth.vertices, prediction.joints, prediction.vertices)
        )
        evaluators["xyz"].feed(xyz, ours)
        evaluators["xyz_al"].feed(xyz, aligned(xyz, ours))
        evaluators["mesh"].feed(verts, mesh)
        evaluators["mesh_al"].feed(verts, aligned(verts, mesh))
        for mm in (5, 15):
            scores[f"f_score_{mm}"].append(f_score(verts, mesh, mm / 1000))
            scores[f"f_al_score_{mm}"].append(f_score(verts, aligned(verts, mesh), mm / 1000))
    lines = {name: np.mean(column) for name, column in scores.items()}
    for name, evaluator in evaluators.items():
        mean, _, area = evaluator.measures(0.0, 0.05, 100)
        lines |= {f"{name}_mean3d": 100 * mean, f"{name}_auc3d": area}
    return lines


def same(figures, expected):
    found = values(figures)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("noise", [4.0, 25.0])
def test_freihand_is_its_script(noise):
    truth, prediction = samples(8, noise)
    same(freihand.freihand(truth, prediction), freihands_script(truth, prediction))


def test_all_zeros_are_as_far_as_the_truth_and_align_to_its_middle():
    truth, _ = samples(8)
    found = values(freihand.freihand(truth, ZERO))
    same(freihand.freihand(truth, ZERO), freihands_script(truth, ZERO))
    assert found["xyz_mean3d"] == pytest.approx(float(truth.joints.norm(dim=-1).mean()) / 10)
    middle = truth.joints - truth.joints.mean(dim=1, keepdim=True)
    assert found["xyz_al_mean3d"] == pytest.approx(float(middle.norm(dim=-1).mean()) / 10)
    wrist = (truth.joints - truth.joints[:, :1]).norm(dim=-1).mean() / 10
    assert values(ho3d.ho3d(truth, ZERO))["xyz_scale_trans_al_mean3d"] == pytest.approx(float(wrist))


def test_ho3d_is_freihand_with_scale_and_translation():
    truth, prediction = samples(8)
    lines = freihands_script(truth, prediction)
    evaluator = PlainEvaluator()
    for xyz, ours in zip(truth.joints.numpy() / 1000, prediction.joints.numpy() / 1000):
        scale = np.linalg.norm(xyz[9] - xyz[0]) / np.linalg.norm(ours[9] - ours[0])
        evaluator.feed(xyz, ours * scale - ours[0] * scale + xyz[0])
    mean, _, area = evaluator.measures(0.0, 0.05, 100)
    expected = {name.replace("xyz_al", "xyz_procrustes_al"): value for name, value in lines.items()}
    same(
        ho3d.ho3d(truth, prediction),
        expected | {"xyz_scale_trans_al_mean3d": 100 * mean, "xyz_scale_trans_al_auc3d": area},
    )


def test_dexycb_is_its_script():
    truth, prediction = samples(8)
    expected = {}
    for name, move in {
        "absolute": lambda xyz, ours: (xyz, ours),
        "root_relative": lambda xyz, ours: (xyz - xyz[0], ours - ours[0]),
        "procrustes": lambda xyz, ours: (xyz, aligned(xyz, ours)),
    }.items():
        evaluator = PlainEvaluator()
        for xyz, ours in zip(truth.joints.numpy(), prediction.joints.numpy()):
            evaluator.feed(*move(xyz, ours))
        mean, _, area = evaluator.measures(0.0, 50.0, 100)
        expected |= {f"{name}_mpjpe": mean, f"{name}_auc": area}
    same(dexycb.dexycb(truth, prediction), expected)


def two_hands(noise=8.0):
    """Three pictures with both hands, one with a right and one with a left hand alone."""
    names = [f"Capture0/ROM0{k}/cam4002{k}/{side}" for k in (0, 1, 2) for side in ("right", "left")]
    names += ["Capture0/ROM07/cam400262/right", "Capture0/ROM08/cam400262/left"]
    return samples(
        8,
        noise,
        sequence=lambda i: names[i],
        frame=lambda i: 5,
        is_right=lambda i: names[i].endswith("right"),
    )


def test_interhand_is_its_script():
    truth, prediction = two_hands()
    truth.joints_mask[0, 4] = truth.joints_mask[2, 0] = truth.joints_mask[5, 0] = False
    single, interacting = ([[] for _ in range(42)] for _ in range(2))
    mrrpe = []
    for i, true in enumerate(truth.joints.numpy()):
        if truth.joints_mask[i, 0]:
            distance = np.linalg.norm(
                (prediction.joints[i].numpy() - prediction.joints[i, 0].numpy()) - (true - true[0]), axis=1
            )
            for j in range(21):
                if truth.joints_mask[i, j]:
                    (interacting if i < 6 else single)[j + 21 * (i % 2)].append(distance[j])
        if i == 0:  # the second pair lacks the right wrist, the third the left one
            offset = [joints[i + 1, 0] - joints[i, 0] for joints in (prediction.joints, truth.joints)]
            mrrpe.append(float((offset[0] - offset[1]).norm()))
    expected = {
        "mpjpe": np.mean([np.mean(a + b) for a, b in zip(single, interacting)]),
        "mpjpe_single": np.mean([np.mean(a) for a in single]),
        "mpjpe_interacting": np.mean([np.mean(a) for a in interacting]),
        "mrrpe": np.mean(mrrpe),
    }
    same(interhand.interhand(truth, prediction), expected)
    moved = Prediction(prediction.joints + torch.tensor([9.0, -40.0, 200.0]))
    same(interhand.interhand(truth, moved), expected)  # both hands together may be anywhere


# The 19 points that hand_tracking_toolkit scores (LANDMARKS_TO_EVAL through
# MANO_TO_CANONICAL_LANDMARK_MAPPING), in MANO's order: tips, the thumb's second and third joint, and all
# joints of index, middle, pinky and ring.
SCORED_BY_HOT3D = [16, 17, 18, 19, 20, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]


def test_hot3d_is_unaligned_in_per_cent_and_of_19_points():
    truth, prediction = samples(8)
    table = (prediction.joints - truth.joints).norm(dim=-1).numpy()
    points = table[:, np.argsort(MANO21_TO_OP)][:, SCORED_BY_HOT3D]
    thresholds = np.linspace(0, 50, 101)

    def area(distances):
        return 100 * np.trapezoid([(distances <= t).mean() for t in thresholds], thresholds) / 50

    expected = {
        "mpjpe": points.mean(),
        "pck_auc": area(points),
        "fingertip_pck_auc": area(points[:, :5]),
    }
    same(hot3d.hot3d(truth, prediction), expected)
    prediction.joints[:, :2] += 300  # wrist and the thumb's first joint
    same(hot3d.hot3d(truth, prediction), expected)


def test_palm_relative_is_zimmermanns():
    truth, prediction = samples(8)
    plain, scaled = PlainEvaluator(), PlainEvaluator()
    script = np.linspace(0, 50, 20)
    for true, ours in zip(truth.joints.numpy(), prediction.joints.numpy()):
        moved = []
        for joints in (true, ours):
            palm = 0.5 * (joints[0] + joints[9])
            moved.append(np.concatenate([[np.zeros(3)], joints[1:] - palm]))
        bone = [np.linalg.norm(joints[10] - joints[9]) for joints in (true, ours)]
        plain.feed(*moved)
        scaled.feed(moved[0], moved[1] * bone[0] / bone[1])
    expected = {}
    for prefix, evaluator in (("", plain), ("scaled_", scaled)):
        mean, median, area = evaluator.measures(0, 50, 20)
        expected |= {f"{prefix}epe_mean": mean, f"{prefix}epe_median": median, f"{prefix}auc_0_50": area}
        expected[f"{prefix}auc_20_50"] = evaluator.measures(script[8], 50, 12)[2]
        expected[f"{prefix}auc_0_50_whole_mm"] = evaluator.measures(0, 50, 51)[2]
        expected[f"{prefix}auc_20_50_whole_mm"] = evaluator.measures(20, 50, 31)[2]
    same(rhd.palm_relative(truth, prediction), expected)


def test_fingertips_are_pooled_and_absolute():
    truth, prediction = samples(8)
    truth.joints_mask[:, [4, 12]] = False
    truth.joints_mask[3] = truth.has_camera[5] = False
    truth.joints[~truth.joints_mask] = float("nan")
    tips = [8, 16, 20]
    kept = [i for i in range(8) if i not in (3, 5)]
    distances = (prediction.joints - truth.joints).norm(dim=-1)[kept][:, tips].numpy().ravel()
    areas = [
        np.trapezoid([(distances <= t).mean() for t in r], r) / (r[-1] - r[0])
        for r in (np.arange(51), np.arange(20, 51))
    ]
    same(
        dexter.fingertips(truth, prediction),
        {"tip_error": distances.mean(), "auc_0_50": areas[0], "auc_20_50": areas[1]},
    )


def test_hint_counts_projected_joints_within_shares_of_the_box():
    truth, prediction = samples(8)
    pixels = prediction.joints[..., :2] / prediction.joints[..., 2:] * 400 + 128
    generator = torch.Generator().manual_seed(9)
    truth.joints2d = pixels + 12 * torch.randn(8, 21, 2, dtype=torch.float64, generator=generator)
    truth.joints2d_mask = torch.rand(8, 21, generator=generator) > 0.3
    truth.joints2d_mask[:, 7] = False
    distance = (pixels - truth.joints2d).norm(dim=-1).numpy()
    expected = {}
    for share in (0.05, 0.1, 0.15):
        joints = [
            np.mean([distance[i, j] <= share * 150 for i in range(8) if truth.joints2d_mask[i, j]])
            for j in range(21)
            if j != 7
        ]
        expected[f"pck_{share}"] = np.mean(joints)
    same(hint.hint(truth, prediction), expected)


ALL = [(name, protocol.measure) for name, protocol in PROTOCOLS.items() if name != "ho3d_v3"]


@pytest.mark.parametrize(("name", "measure"), ALL)
def test_the_order_of_rows_does_not_matter(name, measure):
    truth, prediction = (
        two_hands() if name == "interhand" else samples(8, sequence=lambda i: f"{i:08d}/right")
    )
    if name == "temporal":
        truth, prediction = samples(
            40, sequence=lambda i: "a/right" if i < 20 else "b/right", frame=lambda i: i % 20
        )
    before = values(measure(truth, prediction))
    assert all(np.isfinite(value) for value in before.values())
    turned = torch.randperm(len(truth), generator=torch.Generator().manual_seed(3))
    if name == "temporal":  # frames of a sequence lie in the order of time
        turned = torch.cat([torch.arange(20, 40), torch.arange(20)])
    for item in (truth, prediction):
        for field, value in vars(item).items():
            setattr(item, field, value[turned] if isinstance(value, torch.Tensor) else value[turned.numpy()])
    after = values(measure(truth, prediction))
    assert after == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize(("name", "measure"), ALL)
def test_nothing_known_is_nan_and_no_sample(name, measure):
    truth, prediction = samples(8)
    for mask in (truth.joints_mask, truth.joints2d_mask, truth.vertices_mask):
        mask[:] = False
    for field in (truth.joints, truth.joints2d, truth.vertices):
        field[:] = float("nan")
    for figure in measure(truth, prediction):
        assert figure.n == 0 and np.isnan(figure.value) and figure.interval is None, figure


@pytest.mark.parametrize(
    ("name", "forgiven"),
    [
        ("freihand", {"xyz_al_mean3d", "mesh_al_mean3d"}),
        ("ho3d_v2", {"xyz_procrustes_al_mean3d", "mesh_al_mean3d"}),
        ("dexycb", {"procrustes_mpjpe"}),
    ],
)
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_a_similarity_is_forgiven_where_the_script_aligns_and_so_is_a_mirror(name, forgiven, mirror):
    truth, _ = samples(8)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64))
    axes = torch.tensor([mirror, 1.0, 1.0], dtype=torch.float64)
    moved = Prediction(*(0.7 * axes * points @ turn.mT + 30 for points in (truth.joints, truth.vertices)))
    found = values(PROTOCOLS[name].measure(truth, moved))
    errors = {figure for figure in found if figure.endswith(("mean3d", "mpjpe"))}
    assert {figure for figure in errors if found[figure] < 1e-6} == forgiven


def film(frames, gap_at=None, step=1):
    """One hand for some frames, with a gap in the frame numbers."""
    number = lambda i: step * (i + (3 if gap_at is not None and i >= gap_at else 0))  # noqa: E731
    return samples(frames, sequence=lambda i: "clip-1/right", frame=number)


def test_temporal_counts_triples_of_neighbouring_visible_frames():
    truth, prediction = film(40, gap_at=20, step=2)
    truth.joints_mask[30, 5] = False
    figures = {figure.name: figure for figure in temporal(truth, prediction)}
    assert figures["accel_vibe"].n == 18 + 18 - 3
    assert figures["accel_arctic"].n == 18 + 18
    assert figures["accel_hawor"].n == 16, "stretches of 20, 10 and 9 frames: the first alone is long enough"
    assert figures["w_mpjpe_100"].n == figures["wa_mpjpe_100"].n == figures["rte"].n == 20
    p, t = (x.joints - x.joints[:, :1] for x in (prediction, truth))
    difference = (p - t)[:3].numpy()
    one, _ = film(40)
    first = np.linalg.norm(difference[0] - 2 * difference[1] + difference[2], axis=-1).mean()
    some, ours = select(truth, prediction, torch.arange(40) < 3)
    assert values(temporal(some, ours))["accel_vibe"] == pytest.approx(first)
    assert values(temporal(one, Prediction(one.joints, one.vertices)))["accel_hawor"] == 0


def test_temporal_takes_the_time_from_the_table():
    """The same second differences at half the frame rate are a quarter of the acceleration; VIBE's unit does
    not know of time."""
    fast, slow = (
        values(temporal(*samples(20, sequence=lambda i: "a/right", rate=rate))) for rate in (60.0, 30.0)
    )
    for name in ("accel_arctic", "accel_hawor"):
        assert fast[name] == pytest.approx(4 * slow[name])
    assert fast["accel_vibe"] == pytest.approx(slow["accel_vibe"])
