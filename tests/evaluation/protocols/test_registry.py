"""The registry, what it refuses, its JSON and table; and the reference values of all-zero predictions where
the real truth is at hand."""

import json
import os

import numpy as np
import pytest
import torch
from evaluation.protocol_support import samples, values

from tempohand.evaluation.protocols import challenge_files
from tempohand.evaluation.protocols.quantity import Quantity, mean_quantity
from tempohand.evaluation.protocols.registry import PROTOCOLS, find_protocol
from tempohand.evaluation.protocols.result import protocol_json, protocol_table
from tempohand.evaluation.samples import Prediction


def test_unknown_protocols_and_strange_tables_are_one_line(tmp_path):
    with pytest.raises(
        ValueError, match=r"protocol=freihnad is not known, there are: dexter_object, dexycb, .*freihand"
    ):
        find_protocol("freihnad")
    ho3d = find_protocol("ho3d_v2")
    for source in ("ho3d", "ho3d_v2", "HO3D-v2"):
        ho3d.check_sources([source], "data/x")
    with pytest.raises(
        ValueError, match="table at 'data/x' has rows of 'ho3d_v3', which is not what the protocol is about"
    ):
        ho3d.check_sources(["ho3d_v2", "ho3d_v3"], "data/x")
    PROTOCOLS["temporal"].check_sources(["anything"], "data/x")


def test_files_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no official file to write"):
        PROTOCOLS["interhand"].check_files(None, "pred.zip")
    with pytest.raises(ValueError, match="no official truth files to read"):
        PROTOCOLS["dexycb"].check_files(str(tmp_path), None)
    with pytest.raises(FileNotFoundError, match="evaluation_xyz.json"):
        PROTOCOLS["ho3d_v3"].check_files(str(tmp_path), None)
    PROTOCOLS["temporal"].check_files(None, None)


def test_no_truth_and_no_camera_are_said():
    truth, prediction = samples(4)
    truth.joints_mask[:] = truth.vertices_mask[:] = False
    freihand = PROTOCOLS["freihand"]
    rows = freihand.evaluate(truth, {"stage1": prediction})
    with pytest.raises(ValueError, match="no sample has the truth .*: give protocol_root="):
        freihand.check_truth(truth, rows)
    truth, prediction = samples(4)
    truth.has_camera[:] = False
    rows = freihand.evaluate(truth, {"stage1": prediction})
    with pytest.raises(ValueError, match="no sample has a real camera"):
        freihand.check_truth(truth, rows)


def test_json_and_table_hold_every_figure_of_every_network():
    truth, prediction = samples(8)
    better = Prediction(
        *(0.9 * t + 0.1 * p for t, p in zip((truth.joints, truth.vertices), vars(prediction).values()))
    )
    rows = PROTOCOLS["freihand"].evaluate(truth, {"stage1": prediction, "stage2": better})
    content = json.loads(
        json.dumps(protocol_json(rows, title="T", truth="labels", missing=3), allow_nan=False)
    )
    for row, expected in rows.items():
        assert list(content["rows"][row]) == [figure.name for figure in expected]
        for figure in expected:
            entry = content["rows"][row][figure.name]
            assert entry["value"] == figure.value and entry["unit"] == figure.unit and entry["n"] == 8
            assert entry["low"] <= entry["value"] <= entry["high"]
            assert ("curve" in entry) == figure.name.endswith("auc3d")
    table = protocol_table(content)
    assert len(table.splitlines()) == 3 + 12 + 1 and "stage1" in table and "stage2" in table
    assert table.splitlines()[-1].startswith("3 samples of the official order have no prediction")
    assert content["rows"]["stage2"]["xyz_mean3d"]["high"] < content["rows"]["stage1"]["xyz_mean3d"]["low"]


@pytest.mark.parametrize("boxes", ["handBoundingBox, official", None])
def test_the_table_says_whose_boxes_were_used(boxes):
    content = protocol_json(
        {"stage1": [Quantity("x", "cm", 1.0, 7)]}, title="T", truth="labels", missing=None
    )
    assert f"boxes: {boxes or 'not recorded in the table'}" in protocol_table(content | {"boxes": boxes})


def test_figures_of_nothing_are_dashes():
    empty = Quantity("xyz_mean3d", "cm", float("nan"), 0)
    content = protocol_json({"stage1": [empty]}, title="T", truth="labels", missing=None)
    assert content["rows"]["stage1"]["xyz_mean3d"]["value"] is None
    assert protocol_table(content).splitlines()[-1].split() == ["xyz_mean3d", "cm", "0", "-"]


def test_intervals_draw_recordings_and_need_six():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(30), 40)
    value = torch.from_numpy(rng.normal(0, 5, 30)[cluster] + rng.normal(0, 1, 1200) + 50)[:, None]
    mask = torch.ones_like(value, dtype=torch.bool)
    together = mean_quantity("x", "mm", value, mask, cluster)
    apart = mean_quantity("x", "mm", value, mask, np.arange(1200))
    widths = [figure.interval[1] - figure.interval[0] for figure in (together, apart)]
    assert 2.5 < widths[0] < 5 and widths[1] < widths[0] / 3
    few = mean_quantity("x", "mm", value, mask & torch.from_numpy(cluster < 5)[:, None], cluster)
    assert few.n == 200 and few.interval is None
    many = mean_quantity("x", "mm", value.expand(-1, 3), mask.expand(-1, 3), cluster)
    assert many.interval == pytest.approx(together.interval)
    holes = mask.expand(-1, 3).clone()
    holes[::7, 1] = False
    assert mean_quantity("x", "mm", value.expand(-1, 3), holes, cluster).interval == pytest.approx(
        together.interval, rel=1e-2
    )


def environment_root(*names):
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


# what the official scripts say of all-zero predictions: (cm, cm, cm, cm, F at 5 mm, at 15 mm, both aligned)
REFERENCE = {
    "freihand": (("FREIHAND_ROOT",), "xyz_al", (70.79, 4.73, 70.84, 5.07, 0.001, 0.031)),
    "ho3d_v2": (("HO3D_V2_ROOT", "HO3D_ROOT"), "xyz_procrustes_al", (56.87, 5.19, 57.12, 5.47, 0.000, 0.017)),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_all_zero_predictions_have_the_published_errors(name):
    variables, joints_aligned, expected = REFERENCE[name]
    root = environment_root(*variables)
    if root is None:
        pytest.skip(f"{' or '.join(variables)} says where the official truth is")
    protocol = PROTOCOLS[name]
    joints, vertices = challenge_files.read_truth(root, protocol.convention)
    truth, _ = samples(len(joints))
    truth = challenge_files.with_official_truth(truth, truth.keys(), joints, vertices)
    found = values(protocol.measure(truth, Prediction(torch.zeros_like(joints), torch.zeros_like(vertices))))
    names = (
        "xyz_mean3d",
        f"{joints_aligned}_mean3d",
        "mesh_mean3d",
        "mesh_al_mean3d",
        "f_al_score_5",
        "f_al_score_15",
    )
    digits = (2, 2, 2, 2, 3, 3)
    assert [round(found[key], digit) for key, digit in zip(names, digits)] == list(expected)
