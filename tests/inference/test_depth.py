"""Depth beside frames: in files, folders and streams, through a network that takes it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from utnet_support import SMALL, small_utnet

import tempohand
from tempohand.cli import make_parser
from tempohand.commands.export import run as run_export
from tempohand.inference.formats.registry import FORMATS
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.source import open_source
from tempohand.model.release import load
from tempohand.training.checkpoint import save_weights

BOX = "31,20,63,52"
FRAMES = 4
VALUES = ("trans", "joints", "vertices", "joints2d", "pose", "shape")


@pytest.fixture(scope="module")
def network():
    return small_utnet().eval()


@pytest.fixture(scope="module")
def pictures(video_tools) -> list[np.ndarray]:
    return video_tools[0](FRAMES)


@pytest.fixture(scope="module")
def depths(pictures) -> list[np.ndarray]:
    """mm: another plane in every frame, rising to the right, with holes."""
    height, width = pictures[0].shape[:2]
    rows, columns = np.mgrid[:height, :width]
    planes = [400 + 60 * k + columns + rows // 2 for k in range(FRAMES)]
    return [np.where((rows + columns) % 7, plane, 0).astype(np.uint16) for plane in planes]


def write(folder: Path, pictures: list[np.ndarray], names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for name, picture in zip(names, pictures):
        values = picture[..., ::-1] if picture.ndim == 3 else picture
        cv2.imwrite(str(folder / f"{name}.png"), values)
    return folder


def numbered(count: int = FRAMES, stem: str = "f") -> list[str]:
    return [f"{stem}{k}" for k in range(count)]


@pytest.fixture
def frames(tmp_path, pictures) -> Path:
    return write(tmp_path / "frames", pictures, numbered())


def values(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "predictions.npz") as file:
        return {name: file[name] for name in file.files}


def same(first: dict, second: dict, frames=slice(None)) -> None:
    for name in VALUES:
        np.testing.assert_allclose(first[name][frames], second[name][frames], atol=1e-3)


def test_names_order_and_times_pair_the_same_frames(
    tmp_path, frames, pictures, depths, network, predict, capsys
):
    def go(folder: Path, *more: str, frames: Path = frames) -> dict:
        words = ("--box", BOX, "--no-overlay", "--depth", folder, *more)
        return values(predict(frames, *words, network=network, out=f"out-{folder.name}"))

    blind = values(predict(frames, "--box", BOX, "--no-overlay", network=network, out="blind"))
    names = go(write(tmp_path / "names", depths, numbered()))
    assert f"depth of {FRAMES} of {FRAMES} frames" in capsys.readouterr().out
    assert (np.abs(names["trans"] - blind["trans"]).max(axis=1) > 10).all()
    same(go(write(tmp_path / "order", depths, [f"d{k + 9}" for k in range(FRAMES)])), names)
    seconds = [100.0 + k / 30 for k in range(FRAMES)]
    timed = write(tmp_path / "timed-frames", pictures, [f"{time:.4f}" for time in seconds])
    late = write(tmp_path / "times", depths, [f"{time + 0.015:.6f}" for time in seconds])
    same(go(late, frames=timed), names)
    fine = [(depth * 4).astype(np.uint16) for depth in depths]
    same(go(write(tmp_path / "fine", fine, numbered()), "--depth-unit", "0.25"), names)


def test_frames_without_a_picture_of_depth_are_without_depth(
    tmp_path, frames, depths, network, predict, capsys
):
    folder = write(tmp_path / "some", [depths[k] for k in (2, 0)], ["f2", "f0"])
    words = ("--box", BOX, "--no-overlay")
    some = values(predict(frames, *words, "--depth", folder, network=network, out="some"))
    assert f"depth of 2 of {FRAMES} frames" in capsys.readouterr().out
    all_of_them = write(tmp_path / "all", depths, numbered())
    whole = values(predict(frames, *words, "--depth", all_of_them, network=network, out="whole"))
    blind = values(predict(frames, *words, network=network, out="blind"))
    same(some, whole, [0, 2])
    same(some, blind, [1, 3])


def test_a_video_is_its_frames_pushed_with_their_depth(
    tmp_path, video_tools, pictures, depths, network, predict
):
    clip = video_tools[1](tmp_path / "clip.mkv", pictures)
    folder = write(tmp_path / "depth", depths, numbered())
    words = ("--box", BOX, "--no-overlay", "--focal", "150", "--side", "left")
    result = values(predict(clip, *words, "--depth", folder, network=network))
    times = write(tmp_path / "seconds", depths, [f"{k / 30:.4f}" for k in range(FRAMES)])
    same(values(predict(clip, *words, "--depth", times, network=network, out="times")), result)
    stream, box = StreamingPredictor(network), [float(number) for number in BOX.split(",")]
    for frame, depth in zip(open_source(clip), depths):
        given = torch.from_numpy(depth.astype(np.float64))
        hand = stream.push(frame.image, box, frame.time, depth=given, is_right=False, focal=150)
        for name in VALUES:
            np.testing.assert_allclose(getattr(hand, name), result[name][frame.index], atol=1e-2)


def test_a_mirrored_picture_with_its_depth_is_the_mirrored_hand(pictures, depths, network):
    width = pictures[0].shape[1]
    right = HandInput(image=pictures[0], depth=depths[0], box=[31, 20, 63, 52], time=0.0, focal=150)
    mirrored = [np.ascontiguousarray(values[:, ::-1]) for values in (pictures[0], depths[0])]
    box = [width - 64, 20, width - 32, 52]
    left = replace(right, image=mirrored[0], depth=mirrored[1], box=box, is_right=False, hand=1)
    one, other = StreamingPredictor(network).push_all([right, left])
    np.testing.assert_allclose(one.joints * [-1, 1, 1], other.joints, atol=0.05)


def test_hands_of_one_pass_may_have_depth_or_none(pictures, depths, network):
    hands = [
        HandInput(image=picture, depth=depth if k % 2 else None, box=[31, 20, 63, 52], time=0.0, hand=k)
        for k, (picture, depth) in enumerate(zip(pictures, depths))
    ]
    together = StreamingPredictor(network).push_all(hands)
    for hand, estimate in zip(hands, together):
        alone = StreamingPredictor(network).push_all([hand])[0]
        np.testing.assert_allclose(alone.joints, estimate.joints, atol=1e-2)


def test_a_trained_network_is_loaded_and_told_depth(tmp_path, pictures, depths, network):
    """`tempohand.load` takes any network's checkpoint, not Stage 2's alone."""
    save_weights(tmp_path / "one", network.state_dict(), {"network": SMALL, "view": {}, "stage": 1})
    loaded = tempohand.load(tmp_path / "one")
    streams = [StreamingPredictor(each) for each in (loaded, network)]
    ours, theirs = (each.push(pictures[0], [31, 20, 63, 52], 0.0, depth=depths[0]) for each in streams)
    np.testing.assert_allclose(ours.joints, theirs.joints, atol=1e-4)
    assert load(tmp_path / "one", stage=1).title == "UTNet"
    with pytest.raises(ValueError, match="stage is 1 or 2, and .* is a Stage 1 network"):
        load(tmp_path / "one", stage=2)


def test_predictions_of_utnet_are_exported_in_every_format(tmp_path, frames, depths, network, predict):
    folder = write(tmp_path / "depth", depths, numbered())
    words = ("--box", BOX, "--no-overlay", "--fps", "30", "--depth", folder)
    out = predict(frames, *words, network=network)
    for name, form in FORMATS.items():
        run_export(make_parser("export").parse_args(["export", str(out / "predictions.npz"), "--to", name]))
        assert (out / f"predictions{form.ending}").exists()
    landmarks = (out / "predictions.mediapipe.jsonl").read_text().splitlines()
    assert len(landmarks) == FRAMES
    with np.load(out / "predictions.mano.npz") as arguments:
        np.testing.assert_allclose(arguments["betas"], values(out)["shape"], atol=1e-6)


def metres(depth: np.ndarray) -> np.ndarray:
    return (depth > 0).astype(np.uint16)


BAD_FOLDERS = {
    "d1.* is 60 x 45 px, .* 120 x 90: register depth": lambda depths: [
        depths[0],
        depths[1][::2, ::2],
        *depths[2:],
    ],
    "is it in metres.*`depth_unit`": lambda depths: [depths[0], *map(metres, depths[1:])],
    "3 pictures of depth for 4 frames: give one a frame": lambda depths: depths[:3],
    "5 pictures of depth for 4 frames: give one a frame": lambda depths: [*depths, depths[0]],
    "nothing is measured in any of the 4 pictures": lambda depths: [depth * 0 for depth in depths],
    "no PNG of one channel of 16 bits": lambda depths: [(depth // 8).astype(np.uint8) for depth in depths],
    "no pictures of depth": lambda depths: [],
}


@pytest.mark.parametrize("message", BAD_FOLDERS)
def test_depth_that_cannot_be_used_is_one_line_and_nothing_is_written(
    tmp_path, frames, depths, network, predict, message
):
    spoiled = BAD_FOLDERS[message](depths)
    folder = write(tmp_path / "depth", spoiled, numbered(len(spoiled), "d"))
    with pytest.raises(ValueError, match=message) as caught:
        predict(frames, "--box", BOX, "--depth", folder, network=network)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_network_without_depth_and_a_folder_that_is_not_there_are_named(
    tmp_path, frames, network, predict, fake_network
):
    fake = fake_network()
    fake.title, fake.inputs = "PoseNet", ("image",)
    with pytest.raises(ValueError, match="in 'fake', a PoseNet, takes none: leave it out"):
        predict(frames, "--box", BOX, "--depth", tmp_path, network=fake)
    with pytest.raises(FileNotFoundError, match="there is no folder 'nowhere'"):
        predict(frames, "--box", BOX, "--depth", "nowhere", network=network)
    with pytest.raises(ValueError, match="`depth_unit` is a positive number of mm, not 0"):
        predict(frames, "--box", BOX, "--depth", frames, "--depth-unit", "0", network=network)
    late = write(tmp_path / "late", [np.full((90, 120), 500, np.uint16)], ["99.5"])
    times = write(tmp_path / "times", [np.zeros((90, 120, 3), np.uint8)], ["1.5"])
    with pytest.raises(ValueError, match="none of the 1 pictures of depth .* within 0.02 s of a frame"):
        predict(times, "--box", BOX, "--depth", late, network=network)


def test_a_network_that_never_learned_without_depth_is_not_used_without(
    tmp_path, frames, depths, pictures, network, predict, monkeypatch
):
    """In a folder or a stream without depth; a frame's own holes are another matter."""
    monkeypatch.setattr(network, "needed", ("depth",))
    with pytest.raises(ValueError, match="to have depth in every frame: give the folder") as caught:
        predict(frames, "--box", BOX, network=network)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    stream = StreamingPredictor(network)
    with pytest.raises(ValueError, match="hand 0 in frame 3: the UTNet was trained to have `depth`"):
        stream.push(pictures[0], [31, 20, 63, 52], 0.0, frame=3)
    stream.push(pictures[0], [31, 20, 63, 52], 0.0, depth=np.zeros_like(depths[0]))


BAD_DEPTHS = {
    "its depth is 60 x 45 px, its picture 120 x 90: register": lambda depth: depth[::2, ::2],
    "is it in metres": lambda depth: depth / 1000.0,
    "holds negative numbers, nan or infinity: write 0": lambda depth: np.where(depth, depth, np.nan),
    r"its depth is float64 \[90, 120, 1\], not an array": lambda depth: depth[..., None] * 1.0,
    "its depth is str, not an array": lambda depth: "depth.png",
}


@pytest.mark.parametrize("message", BAD_DEPTHS)
def test_bad_depth_in_a_stream_is_one_line(pictures, depths, network, message):
    with pytest.raises(ValueError, match=f"hand 0 in frame 7: .*{message}") as caught:
        StreamingPredictor(network).push(
            pictures[0], [31, 20, 63, 52], 0.0, frame=7, depth=BAD_DEPTHS[message](depths[0])
        )
    assert "\n" not in str(caught.value)


def test_a_stream_refuses_depth_for_a_network_that_takes_none(pictures, depths, fake_network):
    fake = fake_network()
    fake.title, fake.inputs = "PoseNet", ("image",)
    with pytest.raises(ValueError, match="hand 0 in frame 0: `depth` is given, but the PoseNet takes none"):
        StreamingPredictor(fake).push(pictures[0], [31, 20, 63, 52], 0.0, depth=depths[0])


def test_holes_alone_are_a_frame_without_depth(pictures, depths, network):
    box = [31, 20, 63, 52]
    holes = StreamingPredictor(network).push(pictures[0], box, 0.0, depth=np.zeros_like(depths[0]))
    none = StreamingPredictor(network).push(pictures[0], box, 0.0)
    assert np.array_equal(holes.joints, none.joints)
