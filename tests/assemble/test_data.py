"""The rows that a process of a run sees."""

from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import Accelerator
from tests_support import compose_config, hand_rows, with_depth, write_table

from tempohand.assemble.data import TrainingData
from tempohand.assemble.evaluation import Evaluation, EvaluationFrames
from tempohand.data.clips import ClipSampling
from tempohand.model.network import Crop
from tempohand.model.posenet import PoseNet


def test_a_run_goes_on_at_the_micro_step_of_its_step():
    clips = SimpleNamespace(sampling=ClipSampling(consecutive=2))
    data = SimpleNamespace(rows=np.arange(50), frequency=None, seed=3, training=SimpleNamespace(clips=clips))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)

    def positions(step):
        return [position for position, _ in next(iter(TrainingData.order(data, accelerator, 8, step)))]

    assert positions(0) == [0, 1, 2, 3]  # 4 samples of 2 clips
    assert positions(3) == [24, 25, 26, 27]  # after 3 steps of 2 micro-steps


def test_a_network_that_asks_is_given_depth_and_one_that_demands_it_refuses_a_table_without(
    tmp_path, monkeypatch
):
    def data(*tables, **network):
        settings = compose_config("stage1-tiny", "data.root=unused")
        settings["network"] |= network
        settings["data"]["tables"] = {
            str(number): {"root": str(root), "train": "train", "validation": "val", "weight": None}
            for number, root in enumerate(tables)
        }
        return TrainingData(settings)

    rows = hand_rows("a", 3, 1)
    plain = write_table(tmp_path / "plain", {"train": [rows], "val": [rows]})
    rows = with_depth(hand_rows("b", 3, 1))
    deep = write_table(tmp_path / "deep", {"train": [rows], "val": [rows]})
    assert data(deep, depth="required").training.inputs == ("image",)  # it is the class that asks
    monkeypatch.setattr(PoseNet, "inputs", ("image", "depth"))
    for tables in ([plain], [plain, deep], [deep]):
        both = data(*tables, depth="optional")
        depth = both.training.collate([both.training[0, row] for row in both.rows.tolist()]).frames.depth
        if deep in tables:
            assert depth.shape[0] == 3 * len(tables) and depth.any()
        assert (depth is None) == (both.held_out.inputs == ("image",)) == (deep not in tables)
    assert data(plain, deep, depth="required").training.inputs == ("image", "depth")
    with pytest.raises(ValueError, match="'train' of the table at .*plain' holds no depth, and the network"):
        data(plain, depth="required")
    monkeypatch.setattr(PoseNet, "inputs", ("image", "sound"))
    with pytest.raises(ValueError, match=r"takes \['sound'\], which tables do not hold"):
        data(deep)


def test_a_network_that_needs_depth_is_not_evaluated_on_a_table_without(tmp_path):
    rows = hand_rows("a", 3, 1)
    plain = write_table(tmp_path / "plain", {"test": [rows]})
    deep = write_table(tmp_path / "deep", {"test": [with_depth(rows)]})
    network = SimpleNamespace(crop=Crop.of({"size": 32, "expansion": 1.5}), inputs=("image", "depth"))
    network.needed = ("depth",)

    def frames(table):
        evaluation = Evaluation.__new__(Evaluation)  # without checkpoints
        evaluation.stage1, evaluation.accelerator = network, Accelerator(cpu=True)
        evaluation.splits, evaluation.settings = SimpleNamespace(table=table), {"batch_size": 2}
        return EvaluationFrames(evaluation, "test")

    assert len(frames(deep).table) == 3
    with pytest.raises(ValueError, match="'test' of the table at .*plain' holds no depth, and the network"):
        frames(plain)
