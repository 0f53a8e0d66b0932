"""Planted faults of pictures, in tables on disk."""

import cv2
import numpy as np
import pytest

from tempohand.data.table import FrameTable
from tempohand.doctor.pictures import channel_order, check_pictures, red_over_blue

DECODE, RANGE, COLOUR = "pictures decode, size as told", "pictures' range", "channel order is RGB"


def recoded(change, suffix=".png"):
    def mistake(row):
        picture = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
        return {"image": cv2.imencode(suffix, change(picture))[1].tobytes()}

    return mistake


def examine(root):
    return {
        result.check: result
        for result in check_pictures([FrameTable(root, "train"), FrameTable(root, "val")])
    }


@pytest.mark.parametrize(
    ("mistake", "check", "cause"),
    [
        (recoded(lambda bgr: bgr[..., ::-1]), COLOUR, "BGR (OpenCV's order) stored as RGB"),
        (recoded(lambda bgr: bgr[..., ::-1], ".jpg"), COLOUR, "convert RGB pictures with [..., ::-1]"),
        (recoded(lambda bgr: (bgr / 255).round().astype(np.uint8)), RANGE, "scaled to [0, 1]"),
        (
            lambda row: {"width": row["height"], "height": row["width"]},
            DECODE,
            "width and height are swapped",
        ),
        (lambda row: {"image": row["image"][: len(row["image"]) // 2]}, DECODE, "picture cut off"),
        (lambda row: {"image": b""}, DECODE, "undecodable picture"),
    ],
    ids=["BGR", "BGR in JPEG", "scaled to 1", "width and height swapped", "cut off", "empty"],
)
def test_a_planted_fault_is_named(planted, mistake, check, cause):
    results = examine(planted(mistake, every=3))
    assert results[check].verdict == "FAILED" and cause in results[check].cause
    assert [name for name, result in results.items() if result.verdict == "FAILED"] == [check]


def test_grey_pictures_have_no_order_to_tell(planted):
    root = planted(
        recoded(lambda bgr: cv2.cvtColor(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)), every=3
    )
    result = examine(root)[COLOUR]
    assert result.verdict == "ok" and "cannot be told" in result.value


def test_one_source_in_bgr_is_a_warning(planted):
    swap = recoded(lambda bgr: bgr[..., ::-1])
    result = examine(planted(lambda row: swap(row) if int(row["sequence"][-1]) % 2 else {}))[COLOUR]
    assert result.verdict == "warning" and "one of several sources" in result.cause


@pytest.mark.parametrize("tone", [(255, 224, 196), (198, 134, 66), (141, 85, 36), (60, 35, 24)])
@pytest.mark.parametrize("light", [(1, 1, 1), (0.8, 0.95, 1.0), (0.3, 0.28, 0.25)])
def test_skin_of_every_tone_is_redder_than_blue_in_usual_light(tone, light):
    picture = np.full((40, 40, 3), np.array(tone) * light, np.uint8)
    joints = np.random.default_rng(0).uniform(0, 39, (21, 2))
    assert red_over_blue(picture, joints, np.ones(21, bool)) > 0.01
    assert red_over_blue(picture[..., ::-1], joints, np.ones(21, bool)) < -0.01


def test_joints_outside_or_unknown_are_not_looked_at():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[10, 20] = (200, 100, 50)
    joints = np.full((21, 2), np.nan)
    joints[0], joints[1] = (20, 10), (1e9, -5)
    assert red_over_blue(picture, joints, np.ones(21, bool)) == pytest.approx(150 / 350)
    assert np.isnan(red_over_blue(picture, joints, np.zeros(21, bool)))
    assert channel_order(np.array([np.nan])).verdict == "ok"
