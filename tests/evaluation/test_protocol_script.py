"""script/evaluate.py with a protocol, as a user runs it: synthetic hands that are named as a data set's."""

import json
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests_support import evaluate, hand_rows, load_file, write_table

from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable
from tempohand.data.view import View
from tempohand.evaluation.protocols.registry import PROTOCOLS
from tempohand.hand.layer import HandLayer
from tempohand.model.registry import build_network, load_network
from tempohand.skeleton import JOINT_NAMES, MANO_JOINT_NAMES
from tempohand.training.checkpoint import save_weights

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = 7
TIPS = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")


@pytest.fixture(autouse=True)
def no_traceback_variable(monkeypatch):
    monkeypatch.delenv("TEMPOHAND_TRACEBACK", raising=False)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    config = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "config/network/tiny.yaml")) | {"size": 64}
    torch.manual_seed(0)
    for name, settings in (
        ("stage1", {"num_frame": 1, "temporal": None}),
        ("stage2", {"num_frame": 7}),
    ):
        save_weights(
            root / name, build_network(config | settings).state_dict(), {"network": config | settings}
        )
    return root


def picture_rows(source, sides=("right",)):
    """Single pictures as converters write them: a sequence each, its side at the end."""
    rows = []
    for number in range(COUNT):
        for side in sides:
            row = hand_rows(f"{number:08d}/{side}", 3, 10 * number + len(rows), is_right=side == "right")[2]
            rows.append([row | {"source": source, "frame": number, "time": 0.0}])
    return rows


def write_order(root, split, order):
    (root / f"official_{split}.json").write_text(json.dumps({"order": order}))


@pytest.fixture(scope="module")
def freihand(tmp_path_factory):
    """A table named as FreiHAND's, with the official order turned round, and a folder with official truth
    that is 1 cm off the labels."""
    root = tmp_path_factory.mktemp("freihand")
    rows = picture_rows("freihand")
    write_table(root / "table", {"evaluation": rows})
    write_order(root / "table", "evaluation", [[row[0]["sequence"], row[0]["frame"]] for row in rows[::-1]])
    table = FrameTable(root / "table", "evaluation")
    joints = table.column("joints").astype(float)
    labels = (torch.from_numpy(table.column(name).copy()) for name in ("pose", "shape", "trans"))
    vertices = HandLayer()(*labels).vertices.double().numpy()
    (root / "truth").mkdir()
    for name, points in (("xyz", joints), ("verts", vertices)):
        moved = (points + np.array([10.0, 0.0, 0.0]))[::-1] / 1000
        (root / "truth" / f"evaluation_{name}.json").write_text(json.dumps(moved.tolist()))
    return root


@pytest.fixture(scope="module")
def script():
    return load_file(REPOSITORY / "script/evaluate.py")


def predicted(checkpoint, root, split):
    """What the network says of every row, in each hand's own camera space, mm."""
    network, table = load_network(checkpoint), FrameTable(root, split)
    clips = ClipDataset(table, View(network.size, network.expansion), network.num_frame)
    joints, vertices = [], []
    with torch.no_grad():
        for batch in evaluation_batches(clips, np.arange(len(table)), 5):
            found = network(batch)
            flip = torch.where(batch.is_right, 1.0, -1.0)[:, None, None] * torch.tensor(
                [1.0, 0, 0]
            ) + torch.tensor([0.0, 1, 1])
            joints.append(found.joints[:, 0] * flip)
            vertices.append(found.vertices[:, 0] * flip)
    return torch.cat(joints).double().numpy(), torch.cat(vertices).double().numpy()


def test_freihand_prints_and_writes_what_its_script_would(script, checkpoints, freihand, tmp_path):
    stages = f"stage1={checkpoints}/stage1", f"stage2={checkpoints}/stage2"
    done = evaluate(
        script,
        "protocol=freihand",
        *stages,
        f"data={freihand}/table",
        f"out={tmp_path}",
        f"submission={tmp_path}/pred.zip",
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "protocol_freihand.json").read_text())
    assert (
        content["n"] == COUNT
        and list(content["rows"]) == ["stage1", "stage2"]
        and content["split"] == "evaluation"
    )
    table = FrameTable(freihand / "table", "evaluation")
    for stage in ("stage1", "stage2"):
        joints, vertices = predicted(checkpoints / stage, freihand / "table", "evaluation")
        errors = np.linalg.norm(joints - table.column("joints"), axis=-1)
        assert content["rows"][stage]["xyz_mean3d"]["value"] == pytest.approx(errors.mean() / 10, rel=1e-4)
        meshes = 1000 * np.array(json.loads((freihand / "truth/evaluation_verts.json").read_text()))[
            ::-1
        ] - np.array([10.0, 0.0, 0.0])
        errors = np.linalg.norm(vertices - meshes, axis=-1)
        assert content["rows"][stage]["mesh_mean3d"]["value"] == pytest.approx(errors.mean() / 10, rel=1e-4)
    assert (
        "xyz_mean3d" in done.stdout
        and f"wrote '{tmp_path}/pred.zip': {COUNT} samples of stage2" in done.stdout
    )
    with zipfile.ZipFile(tmp_path / "pred.zip") as archive:
        xyz, verts = map(np.array, json.loads(archive.read("pred.json")))
    np.testing.assert_allclose(1000 * xyz[::-1], joints, rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(1000 * verts[::-1], vertices, rtol=1e-3, atol=0.01)


def test_official_truth_wins_and_is_matched_by_the_order(script, checkpoints, freihand, tmp_path):
    given = "protocol=freihand", f"stage1={checkpoints}/stage1", f"data={freihand}/table", f"out={tmp_path}"
    done = evaluate(script, *given, f"protocol_root={freihand}/truth")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "protocol_freihand.json").read_text())["rows"]
    joints, vertices = predicted(checkpoints / "stage1", freihand / "table", "evaluation")
    table = FrameTable(freihand / "table", "evaluation")
    for name, ours, theirs in (("xyz", joints, table.column("joints")), ("mesh", vertices, None)):
        if theirs is None:
            theirs = 1000 * np.array(json.loads((freihand / "truth/evaluation_verts.json").read_text()))[::-1]
        else:
            theirs = theirs + np.array([10.0, 0, 0])
        error = np.linalg.norm(ours - theirs, axis=-1).mean() / 10
        assert rows["stage1"][f"{name}_mean3d"]["value"] == pytest.approx(error, rel=1e-4)
    done = evaluate(script, *given)
    aligned = json.loads((tmp_path / "protocol_freihand.json").read_text())["rows"]["stage1"]
    for name in ("xyz_al_mean3d", "mesh_al_mean3d", "f_al_score_5"):
        assert aligned[name]["value"] == pytest.approx(rows["stage1"][name]["value"], rel=1e-3), (
            "1 cm aside is aligned away"
        )
    assert list(aligned) == list(rows["stage1"])


def test_ho3d_submits_without_any_truth(script, checkpoints, tmp_path):
    """As the evaluation set is distributed: the wrist alone is known. The file is for OpenGL, in MANO's
    order."""
    rows = [
        [row[0] | {"sequence": "SM1/right", "has_hand": False, "joints_mask": np.arange(21) < 1}]
        for row in picture_rows("ho3d_v3")
    ]
    root = write_table(
        tmp_path / "table", {"evaluation": [[row[0] | {"time": row[0]["frame"] / 30} for row in rows]]}
    )
    write_order(root, "evaluation", [["SM1/right", number] for number in (3, 0, 6, 1, 2, 5, 4)])
    given = "protocol=ho3d_v3", f"stage1={checkpoints}/stage1", f"data={root}", f"out={tmp_path}"
    done = evaluate(script, *given, f"submission={tmp_path}/pred.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "pred.zip") as archive:
        xyz, _ = map(np.array, json.loads(archive.read("pred.json")))
    joints, _ = predicted(checkpoints / "stage1", root, "evaluation")
    for place, name in enumerate(MANO_JOINT_NAMES + TIPS):
        x, y, z = joints[3, JOINT_NAMES.index(name)]
        np.testing.assert_allclose(1000 * xyz[0, place], [x, -y, -z], rtol=1e-3, atol=0.01)
    done = evaluate(script, *given)
    assert done.returncode == 2 and "give protocol_root=" in done.stderr
    write_order(root, "evaluation", [["SM1/right", number] for number in range(9)])
    done = evaluate(script, *given, f"submission={tmp_path}/other.zip")
    assert (
        done.returncode == 2
        and "2 of 9 samples of the official order have no prediction, first 'SM1/right' frame 7"
        in done.stderr
    )
    assert not list(tmp_path.glob("other.zip*"))


def test_interhand_compares_left_hands_as_they_are(script, checkpoints, tmp_path):
    rows = [
        [row[0] | {"sequence": f"Capture0/ROM0{row[0]['frame']}/cam1/{row[0]['sequence'].split('/')[1]}"}]
        for row in picture_rows("interhand", ("left", "right"))
    ]
    root = write_table(tmp_path / "table", {"test": rows})
    done = evaluate(
        script, "protocol=interhand", f"stage1={checkpoints}/stage1", f"data={root}", f"out={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "protocol_interhand.json").read_text())["rows"]["stage1"]
    joints, _ = predicted(checkpoints / "stage1", root, "test")
    true = FrameTable(root, "test").column("joints")
    error = np.linalg.norm((joints - joints[:, :1]) - (true - true[:, :1]), axis=-1).mean()
    assert found["mpjpe"]["value"] == pytest.approx(error, rel=1e-4) == found["mpjpe_interacting"]["value"]
    offsets = [points[0::2, 0] - points[1::2, 0] for points in (joints, true)]
    assert found["mrrpe"]["value"] == pytest.approx(
        np.linalg.norm(offsets[0] - offsets[1], axis=-1).mean(), rel=1e-4
    )
    assert found["mpjpe_single"]["value"] is None and found["mrrpe"]["n"] == COUNT


def test_hot3d_gives_the_true_shape_to_the_hand_model(script, checkpoints, tmp_path):
    """Its server poses the true hand, and does not score the wrist and the first joint of the thumb
    (docs/protocols.md)."""
    rows = picture_rows("hot3d")
    root = write_table(tmp_path / "table", {"val": rows})
    done = evaluate(
        script, "protocol=hot3d", f"stage2={checkpoints}/stage2", f"data={root}", f"out={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "protocol_hot3d.json").read_text())["rows"]["stage2"]
    network, table = load_network(checkpoints / "stage2"), FrameTable(root, "val")
    clips = ClipDataset(table, View(network.size, network.expansion), network.num_frame)
    distances = {}
    with torch.no_grad():
        (batch,) = evaluation_batches(clips, np.arange(COUNT), COUNT)
        prediction = network(batch)
        for name, shape in (("own", prediction.shape), ("true", batch.target.shape)):
            joints = network.hand(prediction.pose, shape, prediction.trans).joints
            distances[name] = float((joints - batch.target.joints)[:, 0, 2:].norm(dim=-1).mean())
    assert found["mpjpe"]["value"] == pytest.approx(distances["true"], rel=1e-4)
    assert found["mpjpe"]["value"] != pytest.approx(distances["own"], rel=1e-4)
    assert set(found) == {"mpjpe", "pck_auc", "fingertip_pck_auc"}


def test_temporal_takes_any_table(script, checkpoints, tmp_path):
    root = write_table(tmp_path / "table", {"test": [hand_rows("film/left", 20, 5, is_right=False)]})
    done = evaluate(
        script, "protocol=temporal", f"stage2={checkpoints}/stage2", f"data={root}", f"out={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "protocol_temporal.json").read_text())["rows"]["stage2"]
    counts = {
        "accel_vibe": 18,
        "accel_arctic": 18,
        "accel_hawor": 16,
        "w_mpjpe_100": 20,
        "wa_mpjpe_100": 20,
        "rte": 20,
    }
    assert {name: figure["n"] for name, figure in found.items()} == counts
    assert all(figure["value"] > 0 for figure in found.values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["protocol=nonsense"], "protocol=nonsense is not known, there are: dexter_object"),
        (
            ["protocol=ho3d_v2", "split=evaluation"],
            "rows of 'freihand', which is not what the protocol is about (HO3D v2, evaluation)",
        ),
        (["protocol=freihand", "split=test"], "no split 'test'"),
        (["protocol=freihand", "protocol_root=/nowhere"], "no 'evaluation_xyz.json' in '/nowhere'"),
        (["protocol=temporal", "split=evaluation", "submission=x.zip"], "no official file to write"),
        (["submission=x.zip"], "submission and protocol_root belong to a protocol"),
    ],
)
def test_a_mistake_is_one_clear_line(script, checkpoints, freihand, tmp_path, overrides, message):
    done = evaluate(
        script, f"stage1={checkpoints}/stage1", f"data={freihand}/table", f"out={tmp_path}", *overrides
    )
    assert done.returncode == 2
    assert (
        message in done.stderr
        and done.stderr.splitlines()[-1].startswith("error: ")
        and "Traceback" not in done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_what_a_network_is_not_shown_cannot_be_taken_away(script, checkpoints, freihand, tmp_path):
    stages = f"stage1={checkpoints}/stage1", f"data={freihand}/table", f"out={tmp_path}"
    done = evaluate(script, "protocol=freihand", *stages, "without=[depth]")
    assert done.returncode != 0 and "without=['depth']: network is not shown that, but image" in done.stderr
    figures = []
    for hidden in ("", "image"):
        done = evaluate(script, "protocol=freihand", *stages, f"without=[{hidden}]")
        assert done.returncode == 0, done.stderr
        content = json.loads((tmp_path / "protocol_freihand.json").read_text())
        assert content["without"] == ([hidden] if hidden else [])
        figures.append(content["rows"]["stage1"]["xyz_mean3d"]["value"])
    assert figures[0] != figures[1]


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def uploaded(memory, root):
    for file in root.iterdir():
        memory.pipe_file(f"/table/{file.name}", file.read_bytes())
    return "memory://table"


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_is_the_same_at_an_address(script, checkpoints, memory, tmp_path, name):
    protocol = PROTOCOLS[name]
    rows = hand_rows("film/right", 6, 5)
    rows = [row | {"source": protocol.sources[0] if protocol.sources else "film"} for row in rows]
    root = write_table(tmp_path / "table", {protocol.split: [rows]})
    found = []
    for data in (root, uploaded(memory, root)):
        words = f"protocol={name}", f"stage1={checkpoints}/stage1", f"data={data}", f"out={tmp_path}"
        done = evaluate(script, *words)
        assert done.returncode == 0, done.stderr
        content = json.loads((tmp_path / f"protocol_{name}.json").read_text())
        assert content["data"] == str(data)
        found.append([content[key] for key in ("rows", "n", "fingerprint", "bootstrap", "boxes")])
    assert found[0] == found[1] and any(one["n"] for one in found[0][0]["stage1"].values())


def test_official_files_go_with_a_table_at_an_address(script, checkpoints, freihand, memory, tmp_path):
    """The official order is read where the table is; truth and submission are of this machine."""
    given = "protocol=freihand", f"stage1={checkpoints}/stage1", f"out={tmp_path}"
    official = f"protocol_root={freihand}/truth", f"submission={tmp_path}/pred.zip"
    address, files = uploaded(memory, freihand / "table"), []
    for data in (freihand / "table", address):
        done = evaluate(script, *given, *official, f"data={data}")
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(tmp_path / "pred.zip") as archive:
            content = json.loads((tmp_path / "protocol_freihand.json").read_text())
            files.append((archive.read("pred.json"), content["rows"]))
    assert files[0] == files[1]

    def refused(*words):
        done = evaluate(script, *given, f"data={address}", *words)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    here = "is an address, and this needs a folder or file of this machine"
    assert f"'memory://truth' {here}" in refused("protocol_root=memory://truth")
    assert f"'memory://pred.zip' {here}" in refused("submission=memory://pred.zip")
    memory.rm("/table/official_evaluation.json")
    line = refused(official[0])
    assert "'memory://table/official_evaluation.json' is missing: " in line and "copy it there" in line
