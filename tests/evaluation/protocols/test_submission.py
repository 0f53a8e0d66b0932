"""Official files, read back by readers of their own: order, axes, units, whole or not at all."""

import json
import zipfile

import numpy as np
import pytest
from evaluation.protocol_support import samples

from tempohand.evaluation.protocols.registry import PROTOCOLS
from tempohand.evaluation.samples import Prediction
from tempohand.skeleton import JOINT_NAMES, MANO_JOINT_NAMES

TIPS = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")


def submit(name, path, order, truth, prediction, in_table=None):
    keys = truth.keys()
    return PROTOCOLS[name].submission(
        path, order, keys, set(keys) if in_table is None else in_table, prediction
    )


def read_pred(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["pred.json"]
        xyz, verts = json.loads(archive.read("pred.json"))
    return np.array(xyz), np.array(verts)


def test_freihands_file_is_in_the_official_order_and_in_metres(tmp_path):
    truth, prediction = samples(6)
    order = [truth.keys()[i] for i in (3, 0, 5, 1, 2, 4)]
    assert submit("freihand", tmp_path / "deep/pred.zip", order, truth, prediction) == 6
    xyz, verts = read_pred(tmp_path / "deep/pred.zip")
    for place, row in enumerate((3, 0, 5, 1, 2, 4)):
        np.testing.assert_allclose(xyz[place], prediction.joints[row] / 1000, atol=1e-7)
        np.testing.assert_allclose(verts[place], prediction.vertices[row] / 1000, atol=1e-7)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["pred.zip"]


@pytest.mark.parametrize("name", ["ho3d_v2", "ho3d_v3"])
def test_ho3ds_file_is_opengl_and_in_manos_order(tmp_path, name):
    truth, prediction = samples(2)
    submit(name, tmp_path / "pred.zip", truth.keys()[::-1], truth, prediction)
    xyz, verts = read_pred(tmp_path / "pred.zip")
    for place, joint in enumerate(MANO_JOINT_NAMES + TIPS):
        x, y, z = (prediction.joints[1, JOINT_NAMES.index(joint)] / 1000).tolist()
        np.testing.assert_allclose(xyz[0, place], [x, -y, -z], atol=1e-7)
    assert (xyz[..., 2] < 0).all() and (verts[..., 2] < 0).all()


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    truth, prediction = samples(5)
    order = truth.keys()[::-1]
    submit("freihand", tmp_path / "a.zip", order, truth, prediction)
    turned = [4, 2, 0, 1, 3]
    other = Prediction(prediction.joints[turned], prediction.vertices[turned])
    keys = [truth.keys()[i] for i in turned]
    PROTOCOLS["freihand"].submission(tmp_path / "b.zip", order, keys, set(keys), other)
    for one, other in zip(read_pred(tmp_path / "a.zip"), read_pred(tmp_path / "b.zip")):
        np.testing.assert_array_equal(one, other)


def test_missing_predictions_are_refused_and_nothing_is_written(tmp_path):
    truth, prediction = samples(4)
    order = [("00000077/right", 77), *truth.keys(), ("00000078/right", 78)]
    with pytest.raises(
        ValueError,
        match="2 of 6 samples of the official order have no prediction, first '00000077/right' frame 77",
    ):
        submit("freihand", tmp_path / "pred.zip", order, truth, prediction)
    assert not list(tmp_path.iterdir())


def test_dexycbs_lines_are_index_and_millimetres(tmp_path):
    truth, prediction = samples(
        3, sequence=lambda i: f"20200709-subject-01/20200709_14175{i}/836212060125/right"
    )
    keys = truth.keys()
    order = [keys[2], ("20200709-subject-01/20200709_141759/836212060125/right", 5), keys[0], keys[1]]
    assert submit("dexycb", tmp_path / "hpe.txt", order, truth, prediction) == 3
    found = {}
    for line in (tmp_path / "hpe.txt").read_text().splitlines():
        elements = line.split(",")
        assert len(elements) == 64
        found[int(elements[0])] = np.array(elements[1:], dtype=float).reshape(21, 3)
    assert sorted(found) == [0, 2, 3], "a sample without a row in the table has no valid truth"
    for index, row in ((0, 2), (2, 0), (3, 1)):
        np.testing.assert_allclose(found[index], prediction.joints[row], atol=1e-4)
    lost = "20200709-subject-01/20200709_141759/836212060125/right"
    with pytest.raises(ValueError, match=f"1 of 4 samples .* no prediction, first '{lost}' frame 5"):
        submit("dexycb", tmp_path / "other.txt", order, truth, prediction, {*keys, (lost, 5)})


def test_an_interrupted_writer_leaves_nothing(tmp_path, monkeypatch):
    truth, prediction = samples(3)
    (tmp_path / "pred.zip").write_text("the last one")
    monkeypatch.setattr(json, "dumps", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        submit("freihand", tmp_path / "pred.zip", truth.keys(), truth, prediction)
    assert [path.name for path in tmp_path.iterdir()] == ["pred.zip"] and (
        tmp_path / "pred.zip"
    ).read_text() == "the last one"
