"""script/evaluate.py as a user runs it, on a small table with small random networks."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests_support import Done, evaluate, hand_rows, load_file, write_table

from tempohand.assemble.evaluation import constant_hand_of
from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable, read_index, write_index
from tempohand.data.view import View
from tempohand.evaluation.metrics.registry import METRICS
from tempohand.evaluation.report.report import ReportContent, write_report
from tempohand.evaluation.tuning import KALMAN, ONE_EURO
from tempohand.geometry import mirror_pose
from tempohand.model.registry import build_network, load_network
from tempohand.training.checkpoint import save_weights

LAGS = {"lag_2d", "lag_wrist"}  # the sequences here are too short for one
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    config = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "config/network/tiny.yaml"))
    torch.manual_seed(0)
    config["size"] = 64
    one = {**config, "num_frame": 1, "temporal": None}
    two = {**config, "num_frame": 7}
    stage1, stage2 = build_network(one), build_network(two)
    stage2.spatial.load_state_dict(stage1.spatial.state_dict())
    for parameter in stage2.temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_weights(root / "stage1", stage1.state_dict(), {"network": one})
    save_weights(root / "stage2", stage2.state_dict(), {"network": two})
    return root


@pytest.fixture(scope="module")
def script():
    return load_file(REPOSITORY / "script/evaluate.py")


def evaluate_by(processes, *overrides):
    """The script under torchrun."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
    ]
    command += ["script/evaluate.py", "device=cpu", "workers=0", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    return Done(process.returncode, process.stdout, process.stderr)


@pytest.fixture(scope="module")
def both(script, checkpoints, table_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("both")
    done = evaluate(
        script,
        f"stage1={checkpoints}/stage1",
        f"stage2={checkpoints}/stage2",
        f"data={table_root}",
        f"out={out}",
        "batch_size=7",
    )
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "metrics.json").read_text()), done.stdout


def test_every_row_sees_every_frame(both):
    out, content, printed = both
    assert content["n"] == 20 and content["processes"] == 1
    assert list(content["rows"]) == [
        "mean_pose",
        "stage1",
        "stage1_one_euro",
        "stage1_kalman",
        "stage1_accurate",
        "stage2",
    ]
    for row in content["rows"].values():
        assert row["n"] == 20 and {name for name in METRICS if row[name] is None} == LAGS
        assert row["hidden_50"]["n"] == 4
    assert "Evaluated on 20 samples from all 1 processes" in printed
    assert len(list(out.glob("strip_*.npz"))) == 2


def test_landmarks_are_rows_like_others(script, checkpoints, table_root, tmp_path):
    done = evaluate(
        script,
        f"stage2={checkpoints}/stage2",
        f"data={table_root}",
        f"out={tmp_path}",
        "landmarks=true",
        "fit_split=null",
        "tune_split=null",
        "strips=0",
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content["rows"])[:3] == ["landmarks", "landmarks_fit", "stage1"]
    for name, without in (("landmarks", LAGS | {"mpvpe_root"}), ("landmarks_fit", LAGS)):
        row = content["rows"][name]
        assert row["n"] == 20 and {metric for metric in METRICS if row[metric] is None} == without
        assert content["differences"][f"stage2 - {name}"]["all"]["pa_mpjpe"]["value"] is not None
        assert f"stage2 - {name}, negative" in done.stdout
    assert "mpvpe_root of landmarks" in done.stdout
    write_report(tmp_path / "report.html", ReportContent("t", {}, content))
    page = (tmp_path / "report.html").read_text()
    assert "hand fitted to landmarks" in page and "against landmarks alone" in page


def filmed(root, cameras):
    """Seven recordings of a right and a left hand, each in so many cameras that see the very same."""
    test = []
    for number in range(7):
        for side in ("right", "left"):
            rows = hand_rows("", 3, 20 + number, size=64, is_right=side == "right")
            for camera in range(cameras):
                names = {"recording": f"r{number}", "sequence": f"r{number}/cam{camera}/{side}"}
                test.append([row | names for row in rows])
    return write_table(root, {"test": test})


@pytest.mark.parametrize("protocol", [[], ["protocol=temporal"]], ids=["comparison", "temporal"])
def test_eight_identical_cameras_say_no_more_than_one(script, checkpoints, tmp_path, protocol):
    found = {}
    for cameras in (1, 8):
        out = tmp_path / f"out{cameras}"
        overrides = [
            f"stage1={checkpoints}/stage1",
            f"data={filmed(tmp_path / str(cameras), cameras)}",
            f"out={out}",
            *protocol,
        ]
        done = evaluate(script, *overrides, "split=test", "tune_split=null", "fit_split=null", "strips=0")
        assert done.returncode == 0, done.stderr
        content = json.loads((out / ("protocol_temporal.json" if protocol else "metrics.json")).read_text())
        assert (
            content["n"] == 42 * cameras
            and content["bootstrap"]["drawn"] == "recordings"
            and "recordings" in done.stdout
        )
        if protocol:
            found[cameras] = {
                name: [one["low"], one["high"]] for name, one in content["rows"]["stage1"].items()
            }
        else:
            found[cameras] = {name: content["intervals"]["stage1"]["all"][name] for name in METRICS}
            assert content["bootstrap"]["number"] == 7
    known = {name: bounds for name, bounds in found[1].items() if bounds and bounds[0] is not None}
    assert len(known) >= (2 if protocol else 8) and all(low < high for low, high in known.values())
    for name, bounds in known.items():
        assert found[8][name] == pytest.approx(bounds, rel=1e-4, abs=1e-4), name  # slopes here are near 0


def test_a_table_that_knows_no_recordings_is_said_to(script, checkpoints, table_root, tmp_path, monkeypatch):
    monkeypatch.setattr(
        FrameTable,
        "knows_recordings",
        property(lambda table: False, lambda table, value: None),
        raising=False,
    )
    done = evaluate(
        script,
        f"stage1={checkpoints}/stage1",
        f"data={table_root}",
        f"out={tmp_path}",
        "tune_split=null",
        "fit_split=null",
    )
    assert done.returncode == 0 and "was prepared before tables knew recordings" in done.stdout
    assert json.loads((tmp_path / "metrics.json").read_text())["bootstrap"]["drawn"] == "sequences"


def test_stage2_is_the_network_on_its_clips(both, checkpoints, table_root):
    """Encoding each frame once gives what the network says of whole clips; left hands are scored in the
    mirrored space."""
    out, content, _ = both
    network = load_network(checkpoints / "stage2")
    table = FrameTable(table_root, "test")
    clips = ClipDataset(table, View(network.size, network.expansion), network.num_frame)
    distance = []
    with torch.no_grad():
        for batch in evaluation_batches(clips, np.arange(len(table)), 5):
            distance.append((network(batch).joints - batch.target.joints).norm(dim=-1).mean(dim=(1, 2)))
    assert content["rows"]["stage2"]["mpjpe"] == pytest.approx(float(torch.cat(distance).mean()), rel=1e-4)
    assert content["rows"]["stage2"]["mpjpe"] != pytest.approx(content["rows"]["stage1"]["mpjpe"], rel=1e-3)


@pytest.mark.parametrize("fps", [120, 6])
def test_stage2_is_the_network_on_its_clips_at_every_frame_rate(script, checkpoints, tmp_path, fps):
    """A step of a clip is 17 ms or more, and nothing in it is older than .9 s: not every frame at 120
    frames/s, five frames back at 6."""
    rows = [row | {"time": row["frame"] / fps} for row in hand_rows("test/0", 30, 0)]
    table = FrameTable(write_table(tmp_path / "table", {"test": [rows]}), "test")
    done = evaluate(
        script, f"stage2={checkpoints}/stage2", f"data={table.root}", f"out={tmp_path}", "batch_size=30"
    )
    assert done.returncode == 0, done.stderr
    network = load_network(checkpoints / "stage2")
    clips = ClipDataset(table, View(network.size, network.expansion), network.num_frame)
    with torch.no_grad():
        (batch,) = evaluation_batches(clips, np.arange(30), 30)
        expected = float((network(batch).joints - batch.target.joints).norm(dim=-1).mean())
    assert json.loads((tmp_path / "metrics.json").read_text())["rows"]["stage2"]["mpjpe"] == pytest.approx(
        expected, rel=1e-5
    )


def mirrored(row, width=96):
    """The row of the mirror image: a left hand."""

    def flip(x):
        return (width - 1) - x

    changed = {
        name: np.array(row[name], copy=True)
        for name in ("joints", "joints2d", "trans", "pose", "princpt", "box")
    }
    changed["joints"][:, 0] *= -1
    changed["trans"][0] *= -1
    changed["pose"] = mirror_pose(torch.from_numpy(np.asarray(row["pose"], np.float32))).numpy()
    changed["joints2d"][:, 0], changed["princpt"][0] = (
        flip(changed["joints2d"][:, 0]),
        flip(changed["princpt"][0]),
    )
    changed["box"][[0, 2]] = flip(changed["box"][[2, 0]])
    return row | changed | {"is_right": False}


@pytest.mark.parametrize("left", ["some", "all"])
def test_the_constant_hand_is_the_same_of_left_hands_that_mirror_right_ones(checkpoints, tmp_path, left):
    network, found = load_network(checkpoints / "stage1"), []
    sequences = [hand_rows(f"train/{number}", 6, number) for number in range(4)]
    for name, places in (("right", ()), ("left", (1, 2) if left == "some" else range(4))):
        train = [
            [mirrored(row) for row in rows] if number in places else rows
            for number, rows in enumerate(sequences)
        ]
        root = write_table(tmp_path / name, {"train": train})
        constant = constant_hand_of(str(root), "train", 1000, network)
        found.append((constant.joints, constant.wrist_uv, torch.tensor(constant.log_depth)))
    for expected, values in zip(*found):
        torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-2)


def test_two_processes_say_the_same(both, checkpoints, table_root, tmp_path):
    _, expected, _ = both
    overrides = (
        f"stage1={checkpoints}/stage1",
        f"stage2={checkpoints}/stage2",
        f"data={table_root}",
        f"out={tmp_path}",
        "batch_size=4",
    )
    done = evaluate_by(2, *overrides)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Evaluated on 20 samples from all 2 processes") == 1
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["processes"] == 2
    assert all(
        content[key] == expected[key]
        for key in ("one_euro", "kalman", "accurate", "best_filter", "bootstrap")
    )
    known = [name for name in METRICS if name not in LAGS]
    for name in known:
        difference = content["differences"]["stage2 - stage1"]["all"][name]["value"]
        assert difference == pytest.approx(
            expected["differences"]["stage2 - stage1"]["all"][name]["value"], rel=1e-3, abs=0.02
        )
    for row, metrics in expected["rows"].items():
        for name in (*known, "n"):
            # Batches of another size round differently, and a third derivative at 30 frames/s enlarges that.
            assert content["rows"][row][name] == pytest.approx(
                metrics[name], rel=1e-4, abs=0.02 if "jitter" in name else 1e-4
            )
    assert len(list(tmp_path.glob("strip_*.npz"))) == 2


def test_stage2_alone_brings_its_stage1(script, both, checkpoints, table_root, tmp_path):
    done = evaluate(
        script,
        f"stage2={checkpoints}/stage2",
        f"data={table_root}",
        f"out={tmp_path}",
        "fit_split=null",
        "tune_split=null",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert list(rows) == ["stage1", "stage1_one_euro", "stage1_kalman", "stage2"]
    assert rows["stage1"]["mpjpe"] == pytest.approx(both[1]["rows"]["stage1"]["mpjpe"], rel=1e-4)


@pytest.fixture(scope="module")
def table_of_a_test_split(table_root, tmp_path_factory):
    """A table that has a test split and no other."""
    root = tmp_path_factory.mktemp("test_split")
    index = read_index(table_root)
    for name in index["splits"]["test"]:
        shutil.copy(table_root / name, root)
    empty_train = {"train": []}  # as `prepare num_train=0` leaves it
    write_index(root, empty_train | {"test": index["splits"]["test"]}, index["about"])
    return root


def test_a_table_of_a_test_split_alone_is_evaluated(
    script, both, checkpoints, table_of_a_test_split, tmp_path
):
    """With filters as they are by default, without the constant hand; both are said."""
    done = evaluate(
        script, f"stage2={checkpoints}/stage2", f"data={table_of_a_test_split}", f"out={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content["rows"]) == ["stage1", "stage1_one_euro", "stage1_kalman", "stage2"]
    assert content["rows"]["stage2"]["mpjpe"] == pytest.approx(both[1]["rows"]["stage2"]["mpjpe"], rel=1e-4)
    assert content["one_euro"] == asdict(ONE_EURO) | {"tuned_on": None} and content["kalman"] == asdict(
        KALMAN
    ) | {"tuned_on": None}
    for note in (
        "no constant hand (mean_pose): split 'train' is not in the table (fit_split)",
        "filters have their default settings, and none is tuned for accuracy: split 'val' is not in the "
        "table (tune_split)",
    ):
        assert note in done.stdout and note in content["notes"]
    write_report(tmp_path / "report.html", ReportContent(title="t", runs={}, metrics=content))
    page = (tmp_path / "report.html").read_text()
    assert "parameters the defaults." in page and "The constant hand knows" not in page
    assert "No constant hand (mean_pose): split &#39;train&#39; is not in the table" in page


def test_a_data_set_is_evaluated_by_its_name(script, both, checkpoints, table_root, tmp_path, monkeypatch):
    """As in training: its folder, and its names of splits."""
    index = read_index(table_root)["splits"]
    shutil.copytree(table_root, tmp_path / "freihand")
    splits = {"fit": index["train"], "val": index["val"], "evaluation": index["test"]}
    write_index(tmp_path / "freihand", splits, read_index(table_root)["about"])
    monkeypatch.setenv("TEMPOHAND_FREIHAND", str(tmp_path / "freihand"))
    done = evaluate(
        script,
        f"stage2={checkpoints}/stage2",
        "data=freihand",
        "split=evaluation",
        f"out={tmp_path}",
        "batch_size=7",
    )
    assert done.returncode == 0, done.stderr
    content, expected = json.loads((tmp_path / "metrics.json").read_text()), both[1]
    assert (
        content["data"] == str(tmp_path / "freihand")
        and content["split"] == "evaluation"
        and content["notes"] == []
    )
    assert list(content["rows"]) == list(expected["rows"])
    for row in content["rows"]:
        assert content["rows"][row]["mpjpe"] == pytest.approx(expected["rows"][row]["mpjpe"], rel=1e-4)


def test_the_row_of_tuned_filters_is_the_filter_that_was_tuned(
    both, script, checkpoints, table_root, tmp_path
):
    """The chosen settings, which differ from the defaults, make the row's figures."""
    _, content, _ = both
    assert {"place", "depth", "articulation", "tuned_on"} == set(content["one_euro"]) and content["one_euro"][
        "tuned_on"
    ] == "val"
    done = evaluate(
        script,
        f"stage2={checkpoints}/stage2",
        f"data={table_root}",
        f"out={tmp_path}",
        "tune_split=null",
        "batch_size=7",
    )
    assert done.returncode == 0, done.stderr
    default = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        default["one_euro"] != content["one_euro"]
        and default["kalman"] != content["kalman"]
        and "accurate" not in default
    )
    assert default["rows"]["stage1"]["mpjpe"] == content["rows"]["stage1"]["mpjpe"]
    for row, key in (("stage1_one_euro", "one_euro"), ("stage1_kalman", "kalman")):
        assert default["rows"][row]["mpjpe"] != pytest.approx(content["rows"][row]["mpjpe"], rel=1e-5), (
            key
        )  # the same filter gives the same


@pytest.fixture(autouse=True)
def no_traceback_variable(monkeypatch):
    monkeypatch.delenv("TEMPOHAND_TRACEBACK", raising=False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "nothing to evaluate"),
        (["stage1={checkpoints}/stage2"], "checkpoint of the other stage"),
        (["stage1=/nowhere/at/all"], "/nowhere/at/all"),
        (["stage1={checkpoints}/stage1", "data=/nowhere"], "no frame table at '/nowhere'"),
        (
            ["stage1={checkpoints}/stage1", "data={table}", "split=val", "tune_split=val"],
            "tune_split and split are both 'val'",
        ),
        (["stage1={checkpoints}/stage1", "data={table}", "split=evaluation"], "no split 'evaluation'"),
        (["stage1={checkpoints}/stage1", "data={table}", "tune_split=other"], "no split 'other'"),
        (
            ["stage1={checkpoints}/stage1", "data=freihnd"],
            "data=freihnd: it is neither the folder of a frame table nor one of ",
        ),
        (
            ["stage1={checkpoints}/stage1", "data=mix_images"],
            "data is a mixture of 12 tables, of which one can be evaluated at a time",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(script, checkpoints, table_root, tmp_path, overrides, message):
    done = evaluate(
        script,
        *(part.format(checkpoints=checkpoints, table=table_root) for part in overrides),
        f"out={tmp_path}",
    )
    assert done.returncode == 2
    assert (
        message in done.stderr
        and done.stderr.splitlines()[-1].startswith("error: ")
        and "Traceback" not in done.stderr
    )
    assert not (tmp_path / "metrics.json").exists()
