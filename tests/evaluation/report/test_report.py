import base64
import dataclasses
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from tempohand.evaluation.metrics.registry import METRICS
from tempohand.evaluation.report.charts import read_log, smoothed
from tempohand.evaluation.report.report import MAX_VIDEO_BYTES, ReportContent, write_report
from tempohand.evaluation.report.strips import PICTURE_PX, TRUTH, Strip
from tempohand.evaluation.results import to_json
from tempohand.evaluation.scores import ScoreBoard
from tempohand.evaluation.splits import CURVE, SPLITS
from tempohand.geometry import project

VOID = {"meta", "img", "br", "use", "path", "rect"}


class Balanced(HTMLParser):
    """Fails on a tag that closes what is not open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    lines = [
        {
            "step": step,
            "split": "train",
            "loss": 5 / step,
            "loss/pose": 1 / step,
            "raw/pose": 2 / step,
            "lr": 1e-4,
        }
        for step in range(1, 60)
    ]
    lines += [
        {"step": step, "split": "val", "loss": 6 / step, "mpjpe_root": 40 / step, "pa_mpjpe": None}
        for step in (20, 40)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (directory / "config.yaml").write_text("name: <b>bold</b>\n")
    return directory


@pytest.fixture
def strip(tmp_path):
    count, generator = 12, np.random.default_rng(0)
    hidden = np.exp(-(((np.arange(count) - 7) / 2) ** 2)).astype(np.float32)
    joints = (generator.normal(0, 30, (3, count, 21, 3)) + [0, 0, 500]).astype(np.float32)
    content = {
        "image": np.full((count, 3, 64, 64), 90, np.uint8),
        "focal": np.full((count, 2), 200.0, np.float32),
        "princpt": np.full((count, 2), 31.5, np.float32),
        "sequence": np.array("test <1>"),
        "rows": np.array(["stage1", "stage2"]),
        "joints": joints[:2],
        "true_joints": joints[2],
        "true_mask": np.ones((count, 21), bool),
        "mpjpe_root": generator.uniform(5, 20, (2, count)).astype(np.float32),
        "hidden": hidden,
        "frame": np.arange(30, 30 + count),
        "time": np.arange(count) / 30,
    }
    np.savez_compressed(tmp_path / "strip_0.npz", **content)
    return tmp_path / "strip_0.npz"


@pytest.fixture
def metrics():
    content = to_json(
        ScoreBoard(["mean_pose", "stage1", "stage1_kalman", "stage2"], [*SPLITS, *CURVE], 9),
        processes=2,
        split="test",
        left_out={"rows": 3, "of": 13, "by_source": {"street": {"depth": 3}}},
        best_filter="stage1_kalman",
    )
    for error, row in zip((40.0, 30.0, 35.0, 20.0), content["rows"].values(), strict=True):
        for block in (row, row["hidden_50"], *list(row["splits"].values())[:2]):
            block.update(dict.fromkeys(METRICS, error) | {"auc_50": error / 100}, n=10)
    content["rows"]["stage2"]["accel_error"] = None
    content["rows"]["stage1"]["mpjpe"] = 20.001  # reads like Stage 2's 20.00: both are best
    content["hidden_curve"]["n"] = [5, 5, *[0] * 8]
    content["hidden_curve"]["mpjpe_root"] = {row: [10.0, 20.0, *[None] * 8] for row in content["rows"]}
    return content


def test_the_page_is_whole_and_refers_to_nothing_outside(run, strip, metrics, tmp_path):
    video = tmp_path / "film.mp4"
    video.write_bytes(b"film" * 100)
    path = tmp_path / "out" / "report.html"
    stills = [np.full((900, 1200, 3), 60, np.uint8)]
    content = ReportContent(
        title="A & B",
        runs={"Stage 1": run},
        metrics=metrics,
        strips=[strip],
        videos=[video],
        stills=stills,
        commands=["python a.py x<1"],
        facts={"duration": "3 min"},
    )
    write_report(path, content)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    page = path.read_text(encoding="utf-8")
    assert "http" not in page and "@import" not in page and "<script" not in page and "<link" not in page
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    assert all(
        target.startswith("#")
        for target in re.findall(r'href="([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    )
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert base64.b64encode(b"film" * 100).decode() in page
    for words in (
        "A &amp; B",
        "x&lt;1",
        "&lt;b&gt;bold",
        "test &lt;1&gt;",
        "3 min",
        "by 2 processes. 3 of its rows are bad data",
        "prefers-color-scheme: dark",
    ):
        assert words in page
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), 1)
        for code in re.findall(r"image/jpeg;base64,([^\"]*)", page)
    ]
    assert (
        len(pictures) == 3 * 8 + 1
        and pictures[0].shape == (PICTURE_PX, PICTURE_PX, 3)
        and max(pictures[-1].shape) == 3 * PICTURE_PX
    )
    assert page.count("<svg") == 4  # training, hidden fraction, differences, strip


def test_the_best_of_each_column_is_marked_and_nothing_is_shown_as_a_dash(run, metrics, tmp_path):
    metrics["rows"]["stage1"]["lag_2d"], metrics["rows"]["stage2"]["lag_2d"] = 0.25, -1.5
    write_report(tmp_path / "report.html", ReportContent(title="t", runs={}, metrics=metrics))
    page = (tmp_path / "report.html").read_text()
    table = page[page.index("All frames") : page.index("The 10 frames")]
    head = re.findall(r"<th>([^<]*)</th>", table[: table.index("</tr>")])[1:]
    cells = {
        (name, column): cell
        for name, line in re.findall(r"</span>([^<]*)</th>(.*?)</tr>", table)
        for column, cell in zip(head, re.findall(r"<td[^>]*>[^<]*</td>", line), strict=True)
    }

    def best(metric):
        label = METRICS[metric].label
        return [name for (name, column), cell in cells.items() if column == label and "best" in cell]

    assert best("mpjpe_root") == ["Stage 2"] and best("auc_50") == ["constant hand"]  # more is better
    assert best("mpjpe") == ["Stage 1", "Stage 2"]  # a tie as it reads
    assert best("lag_2d") == ["Stage 1"]  # the smallest, late or early
    assert best("accel_error") == ["Stage 1"]
    assert cells["Stage 2", METRICS["accel_error"].label] == "<td>–</td>"
    assert "far, 700 mm" not in page  # a split without frames


def test_lag_is_shown_by_speed_where_it_is_known(metrics, tmp_path):
    def page():
        write_report(tmp_path / "report.html", ReportContent(title="t", runs={}, metrics=metrics))
        return (tmp_path / "report.html").read_text()

    assert "Lag in the picture" not in page()
    for error, row in enumerate(metrics["rows"].values()):
        row["splits"]["wrist_300mm_s_up"].update(n=7, lag_2d=None if error == 0 else error / 4)
    table = page()[page().index("Lag in the picture") :]
    assert "wrist 300 mm/s and more" in table and "0.75" in table[: table.index("</table>")]


def test_folded_fingers_have_tables_and_the_slope_nearest_to_1_is_best(metrics, tmp_path):
    for slope, row in zip((0.0, 1.5, 0.625, 0.75), metrics["rows"].values(), strict=True):
        row["splits"]["finger_changes_1"].update(n=7, pa_mpjpe=slope + 2)
        row["bend_slope_ring"] = slope
    write_report(tmp_path / "report.html", ReportContent(title="t", runs={}, metrics=metrics))
    page = (tmp_path / "report.html").read_text()
    changes = page[page.index("by folded fingers") :]
    assert "2.62" in changes[: changes.index("</table>")] and "three changes" not in page  # none of these
    slopes = page[page.index("Slope of the predicted bend") :]
    assert '<td class="best">0.750</td>' in slopes[: slopes.index("</table>")]


def test_intervals_stand_below_figures_and_sure_differences_are_bold(metrics, tmp_path):
    metrics["intervals"]["stage2"]["all"]["mpjpe_root"] = [18.25, 22.75]
    change = metrics["differences"]["stage2 - stage1"]
    change["all"]["mpjpe_root"] = {"value": -10.0, "low": -12.5, "high": -7.5}
    change["all"]["pa_mpjpe"] = {"value": -0.25, "low": -0.75, "high": 0.125}
    write_report(tmp_path / "report.html", ReportContent(title="t", runs={}, metrics=metrics))
    page = (tmp_path / "report.html").read_text()
    assert '<td class="best">20.00<span class="interval">18.25 – 22.75</span></td>' in page
    changes = page[page.index("What Stage 2 changes") :]
    assert '<td class="sure">-10.00<span class="interval">-12.50 … -7.50</span></td>' in changes
    assert '<td>-0.250<span class="interval">-0.750 … +0.125</span></td>' in changes
    assert "against Stage 1" in changes and "Stage 1 + Kalman" in changes


def test_what_is_missing_is_a_clear_error_and_leaves_no_page(run, tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(FileNotFoundError, match=r"nowhere' has no metrics\.jsonl"):
        write_report(path, ReportContent(title="t", runs={"a": run, "b": tmp_path / "nowhere"}))
    with pytest.raises(FileNotFoundError, match="no strip at"):
        write_report(path, ReportContent(title="t", runs={"a": run}, strips=[tmp_path / "strip_9.npz"]))
    with pytest.raises(FileNotFoundError, match="no video at"):
        write_report(path, ReportContent(title="t", runs={"a": run}, videos=[tmp_path / "film.mp4"]))
    (run / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n{"step":')
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl' is not JSON"):
        write_report(path, ReportContent(title="t", runs={"a": run}))
    assert not path.exists()


def test_a_large_video_is_named_and_not_embedded(run, tmp_path):
    video = tmp_path / "long.mp4"
    with video.open("wb") as file:
        file.truncate(MAX_VIDEO_BYTES)
    write_report(tmp_path / "report.html", ReportContent(title="t", runs={"a": run}, videos=[video]))
    page = (tmp_path / "report.html").read_text()
    assert "long.mp4 (8 MB) is too large" in page and "<video" not in page


def test_a_log_is_read_without_its_nulls(run):
    log = read_log(run)
    assert set(log) == {"train", "val"}
    assert log["train"]["loss"].shape == (59, 2) and log["val"]["mpjpe_root"].tolist() == [
        [20, 2.0],
        [40, 1.0],
    ]
    assert "pa_mpjpe" not in log["val"]


def test_smoothing_is_a_centred_mean():
    values = np.random.default_rng(0).normal(size=100)
    expected = [values[max(i - 5, 0) : i + 6].mean() for i in range(100)]
    np.testing.assert_allclose(smoothed(values, 0.1), expected, atol=1e-12)


@pytest.mark.parametrize("width", [64, 48])
def test_skeletons_lie_where_the_crops_camera_sees_the_joints(strip, width):
    """In crops of any shape: each keeps its own."""
    strip = Strip.load(strip)
    strip = dataclasses.replace(strip, image=strip.image[..., :width])
    assert strip.picture(0, None).shape == (PICTURE_PX, PICTURE_PX * width // 64, 3)
    chosen = strip.chosen(5)
    assert len(chosen) == 5 and 7 in chosen and chosen == sorted(chosen)
    assert (strip.picture(3, None) == 90).all()
    pixels = project(
        *(torch.from_numpy(x[3]) for x in (strip.joints[TRUTH], strip.focal, strip.princpt))
    ).numpy()
    joint = int(np.abs(pixels - 32).max(axis=1).argmin())
    strip.true_mask[:] = False
    strip.true_mask[3, joint] = True
    dot = (strip.picture(3, TRUTH) != 90).any(axis=-1)
    # Pixel borders, not pixel centres, coincide when a picture is scaled: u = -0.5 goes to -0.5.
    np.testing.assert_allclose(
        np.argwhere(dot).mean(axis=0)[::-1] + 0.5, (pixels[joint] + 0.5) * PICTURE_PX / 64, atol=0.4
    )
