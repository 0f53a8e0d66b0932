import re
from typing import get_args

import pytest
import torch
from tests_support import random_batch

from tempohand.batch import HandPrediction
from tempohand.evaluation.metrics import errors
from tempohand.evaluation.metrics.registry import METRICS, Metric, Place
from tempohand.evaluation.report.accuracy import evaluation_parts
from tempohand.evaluation.results import format_tables, to_json
from tempohand.evaluation.scores import ScoreBoard
from tempohand.evaluation.splits import CURVE, SPLITS
from tempohand.evaluation.validation import Validation


@pytest.fixture
def added(monkeypatch):
    """A metric that the package does not have, in every place."""
    record = Metric("palm", "the palm's error", lambda c: errors.mpjpe(*c.joints, c.placed), get_args(Place))
    monkeypatch.setitem(METRICS, "palm", record)


def test_a_record_is_all_that_evaluation_and_report_need(added):
    board = ScoreBoard(["stage1", "stage2"], [*SPLITS, *CURVE], 8)
    board.state[..., 1] = 2.0
    board.state[..., 0, 0] = 2.0  # frames
    board.state[:, :, :, -1, 0] = torch.arange(8.0)[:, None, None]
    content = to_json(board)
    assert content["rows"]["stage1"]["palm"] == 3.5 / 2 and content["units"]["palm"] == "mm"
    low, high = content["intervals"]["stage2"]["all"]["palm"]
    assert low < 3.5 / 2 < high and content["differences"]["stage2 - stage1"]["all"]["palm"]["value"] == 0
    assert format_tables(content).count("the palm's error") == 3  # all, hidden, differences
    tables = evaluation_parts(content)
    assert all(table.head.count("the palm's error") == 1 for table in tables["accuracy"] + tables["changes"])


def test_a_record_is_all_that_validation_needs(added):
    batch = random_batch(5, 1)
    shapes = ((48,), (16, 3, 3), (10,), (3,), (21, 3), (778, 3), (21, 2))
    prediction = HandPrediction(*[torch.zeros(5, 1, *shape) for shape in shapes])
    validation = Validation(2.0, torch.zeros(5, dtype=int).numpy(), torch.arange(5).numpy() / 30)
    validation.add(prediction, batch, {})
    scores = validation.means(lambda x: [x], {})
    assert scores["palm"] == scores["mpjpe"] > 0


def test_records_are_of_one_kind():
    assert all(name == metric.name for name, metric in METRICS.items())
    for name in ("name", "label"):
        assert len({getattr(metric, name) for metric in METRICS.values()}) == len(METRICS)
    for metric in METRICS.values():
        assert set(metric.shown) <= set(get_args(Place)) and re.fullmatch(r"[a-z0-9_]+", metric.name)
        means = torch.tensor([[2.0] * metric.width, [torch.nan] * metric.width])
        assert metric.figure(means).shape == (2,) and metric.figure(means)[1].isnan()
