"""No false alarm: nothing FAILED, nothing is a warning, on clean data of either kind and in both stages."""

import pytest
from tests_support import compose_config

from tempohand.doctor.examine import examine

TIMED = {"loader against network"}  # a measurement, which may advise more workers


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("data", ["film_root", "table_root"])
def test_clean_data_and_a_fresh_network_are_well(settings, data, stage, request):
    results = examine(settings(stage, request.getfixturevalue(data)), say=lambda line: None)
    alarms = [result for result in results if result.verdict != "ok" and result.check not in TIMED]
    assert not alarms, alarms
    names = [result.check for result in results]
    assert len(set(names)) == len(names) and {
        "channel order is RGB",
        "joint order",
        "two processes agree with one",
    } <= set(names)
    assert (
        ("Stage 2 starts as Stage 1" in names)
        == ("frozen means frozen" in names)
        == ("disk for tokens" in names)
        == (stage == 2)
    )
    assert not any(result.cause for result in results if result.verdict == "ok")


def test_the_hand_finder_is_examined_too(film_root, tmp_path):
    backbone = (
        "network.backbone.options={stem: 16, stages: [[16, 1], [32, 1], [32, 1], [32, 1]], norm_group: 4}"
    )
    own = [
        "mixed_precision=no",
        backbone,
        "network.width=16",
        "network.size=64",
        "optim.batch_size=16",
        "data.workers=0",
        "loss.centre=64",
    ]
    results = examine(
        compose_config("find-tiny", *own, f"data.root={film_root}", f"out={tmp_path}"), say=lambda line: None
    )
    assert not [result for result in results if result.verdict != "ok" and result.check not in TIMED], results
    assert {"gradients reach what is trained", "two processes agree with one", "loss terms are finite"} <= {
        result.check for result in results
    }


def test_other_choices_of_the_network_are_no_alarm(settings, film_root):
    choices = [
        "network.norm_by_hand=true",
        "network.spatial.heads.translation=heatmap",
        "network.spatial.heatmap=null",
    ]
    results = examine(settings(1, film_root, *choices), say=lambda line: None)
    assert not [result for result in results if result.verdict != "ok" and result.check not in TIMED]
