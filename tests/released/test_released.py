"""The networks that come with the package are the ones that were measured, and are what `tempohand predict`
uses when nothing is said."""

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_file_of_weights
from tests_support import compose_config, evaluate, hand_rows, load_file, write_table

import tempohand
from tempohand import cli
from tempohand.boxes import intersection_over_union
from tempohand.inference.settings import BESIDE, NETWORK, PICTURE_FINDER
from tempohand.manifest import verify
from tempohand.model.posenet import PoseNet
from tempohand.model.release import MOST_BYTES
from tempohand.model.weights import RELEASED, WEIGHTS_NAME, load_weights, released

stored = runpy.run_path(str(Path(__file__).with_name("regenerate.py")))
FINDER = PICTURE_FINDER.removeprefix(BESIDE)
EXPECTED = json.loads(stored["EXPECTED"].read_text(encoding="utf-8"))


def test_the_files_are_the_ones_that_were_measured():
    assert released() == sorted([NETWORK, FINDER, "tempohand-tiny"])
    assert stored["digests"]() == EXPECTED["sha256"], (
        "a new release? tests/released/regenerate.py, and docs/model_card.md's figures"
    )
    assert sum((RELEASED / name / WEIGHTS_NAME).stat().st_size for name in released()) <= MOST_BYTES


@pytest.mark.parametrize(
    ("name", "config", "derived", "prefix"),
    [
        (NETWORK, "stage1-small-unfrozen", "hand_landmark_full", "spatial.backbone.net."),
        (FINDER, "find-small", "palm_detection_full", "backbone.net."),
    ],
)
def test_licences_travel_with_what_is_derived(name, config, derived, prefix):
    """A network of MediaPipe's is inside, its first stages as they came, the others as they were trained on;
    and licences of the pictures it learnt from ask to be named."""
    folder = RELEASED / name
    verify(folder)
    backbone = load_file_of_weights(RELEASED / f"mediapipe/{derived}.safetensors")
    inside = load_weights(name)
    kept = tuple(f"{module}." for module in compose_config(config)["network"]["frozen_backbone"])
    unused = (".score.", ".coordinates.")  # the palm detector's own reading of its maps
    for weight, value in backbone.items():
        own = inside[prefix + weight]
        if weight.startswith(kept) or any(part in weight for part in unused):
            assert torch.equal(own, value), weight
        else:
            near = (own - value).norm() < value.norm() or not value.any()
            assert near and not torch.equal(own, value), weight
    assert (folder / "LICENSE").read_text() == (RELEASED / "mediapipe/LICENSE").read_text()
    notice = (folder / "NOTICE").read_text()
    assert notice == (Path(__file__).parents[2] / "docs/NOTICE").read_text()
    assert all(word in notice for word in ("MediaPipe", "Apache-2.0", "CC BY 4.0", "CDLA-Sharing-1.0"))


@pytest.fixture(scope="module")
def said():
    return stored["hands"]()


def test_they_say_of_three_rendered_frames_what_they_said(said):
    for name, most in (
        ("joints", 1.0),
        ("joints2d", 0.5),
    ):  # mm, px: kernels round differently from machine to machine
        np.testing.assert_allclose(said[name], EXPECTED[name], atol=most, err_msg=name)


def test_the_frames_are_seen_as_they_are(said):
    """Against the truth: wrist and fingertips are .15 of the box's longer edge off. Seen as left hands .44,
    with random weights 1.6."""
    table = stored["FrameTable"](stored["TABLE"], "test")
    labels = table.labels(np.arange(len(table)))
    edge = (labels["box"][:, 2:] - labels["box"][:, :2]).max(1)
    truth = labels["joints2d"][:, list(stored["SHOWN"])]
    off = np.linalg.norm(np.array(said["joints2d"]) - truth, axis=-1).mean(1) / edge
    assert off.max() < 0.2, off


def test_its_name_is_a_checkpoint_for_evaluation_too(tmp_path):
    script = load_file(Path(__file__).parents[2] / "script/evaluate.py")
    data = write_table(
        tmp_path / "data",
        {split: [hand_rows(split, 4, seed)] for seed, split in enumerate(("train", "val", "test"))},
    )
    done = evaluate(script, f"stage2={NETWORK}", f"data={data}", f"out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/metrics.json").read_text())["weights"] == {
        "stage2": EXPECTED["sha256"][NETWORK]
    }


def test_load_gives_both_stages():
    both, alone = tempohand.load(), tempohand.load(stage=1)
    assert both.num_frame == 7 and alone.num_frame == 1
    weights = load_weights(NETWORK)
    assert both.state_dict().keys() == weights.keys() and type(alone) is PoseNet


def test_predict_finds_the_hand_and_its_side_without_arguments(tmp_path, monkeypatch):
    """A film of one of the three frames, still: the box that is looked at is the hand's."""
    table = stored["FrameTable"](stored["TABLE"], "test")
    labels = table.labels(np.arange(1))
    (tmp_path / "frames").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"frames/{number}.png"), table.image(0)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    cli.main(["predict", "frames", "--fps", "30"])
    with np.load("frames-hands/predictions.npz") as file:
        surest = file["hand_id"] == 0
        assert file["frame"][surest].tolist() == [0, 1, 2, 3] and set(file["is_right"][surest]) == {
            bool(labels["is_right"][0])
        }
        overlaps = intersection_over_union(
            torch.from_numpy(file["box"][surest]), torch.from_numpy(labels["box"])
        )
        assert overlaps.min() > 0.5


def test_predict_takes_it_where_no_other_is_asked_for(tmp_path, monkeypatch, capsys):
    """One of the three frames as a picture file: the overlay is written, and the hand is that of the
    network."""
    table = stored["FrameTable"](stored["TABLE"], "test")
    labels = table.labels(np.arange(1))
    cv2.imwrite(str(tmp_path / "photo.png"), table.image(0)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    box = ",".join(f"{value:.6f}" for value in labels["box"][0])
    side, camera = "right" if labels["is_right"][0] else "left", labels["princpt"][0]
    cli.main(
        [
            "predict",
            "photo.png",
            f"--box={box}",
            "--side",
            side,
            f"--focal={labels['focal'][0, 0]:.4f}",
            f"--princpt={camera[0]},{camera[1]}",
        ]
    )
    with np.load("photo-hands/predictions.npz") as file:
        assert file["vertices"].shape == (1, 778, 3)
        np.testing.assert_allclose(
            file["joints2d"][0, list(stored["SHOWN"])], EXPECTED["joints2d"][0], atol=0.5
        )
    assert (tmp_path / "photo-hands/overlay.png").is_file() and "1 with a hand" in capsys.readouterr().out


def test_the_real_video_is_followed(tmp_path):
    """Every 60th frame of a filmed hand: its joints are near another tool's opinion of them."""
    samples = Path(__file__).resolve().parents[3] / "shared" / "samples"
    if not samples.is_dir():
        pytest.skip("no samples beside the repository")
    with np.load(samples / "human_hand_video.mediapipe.npz") as file:
        other = {name: file[name] for name in file.files}
    kept = other["detected"] & (np.arange(len(other["detected"])) % 60 == 30)
    np.savez(tmp_path / "boxes.npz", box_xyxy=other["box_xyxy"], detected=kept)
    video = str(samples / "human_hand_video.mp4")
    cli.main(
        [
            "predict",
            video,
            "--boxes",
            str(tmp_path / "boxes.npz"),
            "--out",
            str(tmp_path / "out"),
            "--no-overlay",
        ]
    )
    with np.load(tmp_path / "out/predictions.npz") as file:
        seen, joints2d = file["frame"], file["joints2d"]
    edge = (other["box_xyxy"][seen, 2:] - other["box_xyxy"][seen, :2]).max(1)
    off = np.linalg.norm(joints2d - other["joints_2d"][seen], axis=-1).mean(1) / edge
    assert seen.tolist() == np.flatnonzero(kept).tolist() and np.median(off) < 0.12, (
        off
    )  # .07 when it was released
