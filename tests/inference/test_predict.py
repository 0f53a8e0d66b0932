"""The whole way from an input file to the files written, with a fake network."""

import json
import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from tempohand.console import EXIT_INCOMPLETE
from tempohand.inference import predict_files
from tempohand.inference.compare import Opinion
from tempohand.inference.source import SourceFrame, VideoSource, open_source
from tempohand.media.pictures import decode_picture

BOX = "31,20,63,45"  # 32 px wide: crops of 64 px take whole pixels, and so do mirrored ones
VALUES = ("pose", "shape", "trans", "joints", "vertices", "joints2d")


def load(out) -> dict:
    with np.load(out / "predictions.npz") as file:
        return {name: file[name] for name in file.files}


def write_folder(folder, pictures):
    folder.mkdir()
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index:02d}.png"), picture[..., ::-1])
    return folder


@pytest.fixture
def clip(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    return write_video(tmp_path / "clip.mkv", moving_pictures(12))


def test_a_video_gives_all_files(clip, predict, capsys):
    out = predict(clip, "--box", BOX, "--obj")
    result = load(out)
    assert result["frame"].tolist() == list(range(12)) and result["history"].tolist() == [
        1,
        2,
        3,
        4,
        4,
        5,
        5,
        5,
        6,
        6,
        6,
        6,
    ]
    assert (
        result["vertices"].shape == (12, 778, 3)
        and result["joints"].dtype == np.float32
        and result["fps"] == 30
    )
    np.testing.assert_allclose(result["time"], np.arange(12) / 30, atol=1e-3)
    overlay = open_source(out / "overlay.mp4")
    assert overlay.count() == 12 and overlay.fps == 30 and overlay.size == (120, 90)
    assert len(list((out / "meshes").iterdir())) == 12
    read = json.loads((out / "predictions.json").read_text())
    assert read["hands"][3]["frame"] == 3 and read["source"] == "clip.mkv"
    printed = capsys.readouterr().out
    assert (
        "ASSUMED from the picture's diagonal" in printed
        and "12 frames, 12 with a hand, 12 predictions of 1 hand" in printed
    )
    assert f"wrote {out / 'predictions.npz'}\n" in printed and f"wrote {out / 'meshes'} (12 files)" in printed


def test_a_shorter_run_into_the_same_folder_leaves_nothing_of_the_longer_one(
    clip, tmp_path, video_tools, predict, fake_network
):
    moving_pictures, write_video = video_tools
    out = predict(clip, "--box", BOX, "--obj")
    (out / "notes.txt").write_text("mine")
    short = write_video(tmp_path / "short.mkv", moving_pictures(3))
    predict(short, "--box", BOX, "--obj", "--no-overlay")
    assert sorted(path.name for path in (out / "meshes").iterdir()) == [
        f"{frame:06d}-hand0.obj" for frame in range(3)
    ]
    assert sorted(path.name for path in out.iterdir()) == [
        "meshes",
        "notes.txt",
        "predictions.json",
        "predictions.npz",
    ]
    with pytest.raises(ValueError, match="is not finite"):
        predict(short, "--box", BOX, network=fake_network(poison=True))
    assert (
        len(load(out)["frame"]) == 3
        and len(list((out / "meshes").iterdir())) == 3
        and not (out / "overlay.mp4").exists()
    )


def test_a_video_that_changes_its_resolution_is_one_history(tmp_path, video_tools, predict, monkeypatch):
    """The first half at 240 x 180, the second at 120 x 90; the camera and the box are those of the first
    frame."""
    pictures = [
        picture if i >= 6 else cv2.resize(picture, (240, 180)) for i, picture in enumerate(video_tools[0](12))
    ]

    class Changing(VideoSource):
        def __init__(self):
            self.fps, self.names, self.size, self.path, self.expected_count = (
                Fraction(30),
                [],
                (240, 180),
                Path("made.mkv"),
                12,
            )
            self.incomplete = None

        def count(self):
            return 12

        def __iter__(self):
            return (SourceFrame(index, index / 30, picture, "") for index, picture in enumerate(pictures))

    monkeypatch.setattr(predict_files, "open_source", lambda *_: Changing())
    result = load(predict("made.mkv", "--box", "62,40,126,90", "--focal", 300))
    assert result["history"].tolist() == [1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6] and set(result["hand_id"]) == {
        0
    }
    np.testing.assert_allclose(result["focal"][:, 0], [300] * 6 + [150] * 6)
    np.testing.assert_allclose(result["box"][6], [30.75, 19.75, 62.75, 44.75])
    assert result["image_size"].tolist() == [[240, 180]] * 6 + [[120, 90]] * 6
    assert result["trans"][6, 2] == pytest.approx(result["trans"][5, 2], rel=0.2), (
        "a hand at half the focal length is half as far"
    )


def test_joints2d_are_the_projected_joints(clip, predict):
    for side in ("right", "left"):
        result = load(
            predict(clip, "--box", BOX, "--side", side, "--focal", 150, "--princpt", "50,40", "--no-overlay")
        )
        pixels = result["joints"][..., :2] / result["joints"][..., 2:] * 150 + [50, 40]
        np.testing.assert_allclose(result["joints2d"], pixels, atol=1e-3)
        np.testing.assert_allclose(result["joints"][:, 0], result["trans"], atol=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_mirrored_video_gives_the_mirrored_hand(tmp_path, video_tools, predict, side):
    moving_pictures, write_video = video_tools
    pictures = moving_pictures(9)
    plain = write_video(tmp_path / "plain.mkv", pictures)
    mirrored = write_video(
        tmp_path / "mirrored.mkv", [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    )
    boxes = np.array([[31.0 + i, 20, 63 + i, 45] for i in range(9)])
    np.savez(tmp_path / "plain.npz", box_xyxy=boxes)
    np.savez(
        tmp_path / "mirrored.npz",
        box_xyxy=np.c_[119 - boxes[:, 2], boxes[:, 1], 119 - boxes[:, 0], boxes[:, 3]],
    )
    other = {"right": "left", "left": "right"}[side]
    a = load(predict(plain, "--boxes", tmp_path / "plain.npz", "--side", side, "--no-overlay", out="a"))
    b = load(
        predict(mirrored, "--boxes", tmp_path / "mirrored.npz", "--side", other, "--no-overlay", out="b")
    )
    for name in ("trans", "joints", "vertices"):
        np.testing.assert_allclose(b[name], a[name] * [-1, 1, 1], atol=1e-4, err_msg=name)
    np.testing.assert_allclose(
        b["joints2d"], np.stack([119 - a["joints2d"][..., 0], a["joints2d"][..., 1]], -1), atol=1e-4
    )
    np.testing.assert_allclose(b["pose"], a["pose"] * np.tile([1, -1, -1], 16), atol=1e-6)
    np.testing.assert_array_equal(b["shape"], a["shape"])
    assert (a["is_right"] == (side == "right")).all() and (b["is_right"] == (side == "left")).all()
    assert np.abs(a["joints"][0] - a["joints"][-1]).max() > 1  # the hand does move


def test_a_video_and_its_frames_as_a_folder_agree(clip, tmp_path, video_tools, predict):
    folder = write_folder(tmp_path / "frames", video_tools[0](12))
    video = load(predict(clip, "--box", BOX, "--no-overlay", out="a"))
    sequence = load(predict(folder, "--box", BOX, "--fps", 30, out="b"))
    for name in VALUES:
        np.testing.assert_allclose(
            video[name], sequence[name], rtol=1e-3, atol=0.02
        )  # Matroska's milliseconds
    assert sequence["names"].tolist() == [f"{i:02d}.png" for i in range(12)]
    alone = load(predict(folder, "--box", BOX, "--batch-size", 5, out="c"))
    assert (alone["history"] == 1).all() and np.isnan(alone["fps"])
    assert len(list((tmp_path / "b" / "overlay").iterdir())) == 12


def test_a_picture_is_what_the_network_says_of_it(tmp_path, video_tools, predict):
    picture = video_tools[0](3)[2]
    folder = write_folder(tmp_path / "frames", [picture])
    a, b = (
        load(predict(folder / "00.png", "--box", BOX, out="a")),
        load(predict(folder, "--box", BOX, out="b")),
    )
    for name in VALUES:
        np.testing.assert_array_equal(a[name], b[name])
    assert decode_picture((tmp_path / "a" / "overlay.png").read_bytes()).shape == picture.shape


def test_frames_without_a_box_have_no_row_and_their_picture_stays(clip, tmp_path, predict, fake_network):
    rows = [
        f"{frame},31,20,63,45,{side},{hand}"
        for frame in (2, 3, 10)
        for side, hand in (("right", 4), ("left", 9))
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(["frame,x0,y0,x1,y1,side,hand", *rows]))
    network = fake_network()
    result = load(predict(clip, "--boxes", tmp_path / "boxes.csv", network=network))
    assert result["frame"].tolist() == [2, 2, 3, 3, 10, 10] and result["hand_id"].tolist() == [4, 9] * 3
    assert (
        result["is_right"].tolist() == [True, False] * 3
        and result["num_frames"] == 12
        and network.encoded == 6
    )
    assert result["history"].tolist() == [1, 1, 2, 2, 3, 3]  # 0.23 s are within what training sees
    again = load(predict(clip, "--boxes", tmp_path / "boxes.csv", "--max-gap", 0.2))
    assert again["history"].tolist() == [1, 1, 2, 2, 1, 1]
    drawn, plain = list(open_source(tmp_path / "out" / "overlay.mp4")), list(open_source(clip))
    far = [np.abs(a.image.astype(float) - b.image).mean() for a, b in zip(drawn, plain, strict=True)]
    assert max(far[i] for i in (0, 1, 5, 11)) < min(far[i] for i in (2, 3, 10))


def test_a_folder_survives_a_broken_picture(tmp_path, video_tools, predict, capsys):
    folder = write_folder(tmp_path / "frames", video_tools[0](3))
    (folder / "01.png").write_bytes(b"broken")
    with pytest.raises(SystemExit) as ended:
        predict(folder, "--box", BOX)
    result = load(tmp_path / "out")
    assert (
        ended.value.code == EXIT_INCOMPLETE
        and result["frame"].tolist() == [0, 2]
        and result["num_frames"] == 3
    )
    errors = capsys.readouterr().err
    assert (result["announced_frames"], result["decoded_frames"]) == (3, 2)
    assert str(result["incomplete"]) == "1 of the 3 pictures cannot be used, the first: '01.png'"
    assert (
        "warning: skipped the picture" in errors
        and "incomplete: 1 of the 3 pictures cannot be used, the first: '01.png'" in errors
    )


def test_a_video_that_is_cut_off_gives_what_came_and_blames_nobody_else(
    tmp_path, video_tools, predict, capsys
):
    moving_pictures, write_video = video_tools
    whole = write_video(tmp_path / "clip.mkv", moving_pictures(8))
    boxes = [f"{index},20,15,90,70" for index in range(8)]
    (tmp_path / "boxes.csv").write_text("\n".join(["frame,x0,y0,x1,y1", *boxes]))
    np.savez(tmp_path / "boxes.npz", box_xyxy=np.tile([20.0, 15, 90, 70], (8, 1)))
    results = []
    for cut, frames in ((None, 8), (0.6, 4)):
        data = whole.read_bytes()
        (tmp_path / "input.mkv").write_bytes(data[: int(cut * len(data))] if cut else data)
        for words in (
            ("--box", BOX),
            ("--boxes", tmp_path / "boxes.csv"),
            ("--boxes", tmp_path / "boxes.npz"),
        ):
            code = 0
            try:
                predict(tmp_path / "input.mkv", *words)
            except SystemExit as ended:
                code = ended.code
            result, errors = load(tmp_path / "out"), capsys.readouterr().err
            assert result["num_frames"] == frames == len(result["frame"])
            assert code == (EXIT_INCOMPLETE if cut else 0)
            assert ("is incomplete: 4 frames of the 8 that it announces decode" in errors) == bool(cut)
            written = json.loads((tmp_path / "out" / "predictions.json").read_text())
            lacking = {
                name: written[name]
                for name in ("incomplete", "announced_frames", "decoded_frames")
                if name in written
            }
            assert lacking == {name: result[name].item() for name in lacking} and bool(lacking) == bool(cut)
            if cut:
                assert lacking.pop("incomplete").startswith("4 frames of the 8 that it announces decode (")
                assert lacking == {"announced_frames": 8, "decoded_frames": 4} and str(
                    tmp_path
                ) not in json.dumps(written)
                assert len(Opinion.read(tmp_path / "out" / "predictions.npz").frame) == 4
            results.append(result["joints"])
    assert all(np.array_equal(came, whole[:4]) for whole, came in zip(results[:3], results[3:]))
    np.savez(
        tmp_path / "boxes.npz", box_xyxy=np.tile([20.0, 15, 90, 70], (3, 1))
    )  # too few for what came is the file's fault
    with pytest.raises(ValueError, match="has 3 rows for 4 frames"):
        predict(tmp_path / "input.mkv", "--boxes", tmp_path / "boxes.npz")


def test_where_no_hand_is_found_the_box_can_be_told(tmp_path, video_tools, predict, monkeypatch):
    monkeypatch.setattr("tempohand.inference.palm_finder.PalmFinder.detect", lambda self, frame: [])
    picture, folder = write_folder(tmp_path / "frames", video_tools[0](2)) / "00.png", tmp_path / "frames"
    with pytest.raises(
        ValueError,
        match=r"^no hand in '.*00.png'; if there is one, say where with `box` X0,Y0,X1,Y1 or `boxes` FILE$",
    ):
        predict(picture)
    with pytest.raises(ValueError, match=r"^no hand in any of the 2 frames of '.*frames'; if there is one"):
        predict(folder)


def test_a_folders_camera_is_not_that_of_its_first_picture(tmp_path, video_tools, predict, capsys):
    folder = write_folder(tmp_path / "frames", video_tools[0](2))
    for words, said in (
        ((), "camera: focal length picture by picture, ASSUMED from the picture's diagonal"),
        (("--fov", 60), "camera: field of view 60.0 degrees across each picture's longer side; depth"),
        (("--focal", 300), "camera: focal length 300.0 px for every picture, whatever its size; depth"),
    ):
        predict(folder, "--box", BOX, *words)
        captured = capsys.readouterr()
        assert said in captured.out + captured.err
    predict(folder / "00.png", "--box", BOX)
    assert (
        "focal length 150.0 px (field of view 43.6 degrees across 120 px), ASSUMED" in capsys.readouterr().out
    )


def test_names_of_any_bytes(tmp_path, video_tools, predict):
    """A name that is not UTF-8, or has a colon in it, which is no protocol's."""
    moving_pictures, write_video = video_tools
    strange = os.fsdecode(b"clip:\xff\xfe")
    write_video(tmp_path / "clip.mkv", moving_pictures(3)).rename(tmp_path / f"{strange}.mkv")
    write_folder(tmp_path / "frames", moving_pictures(2))
    (tmp_path / "frames" / "00.png").rename(tmp_path / "frames" / f"{strange}.png")
    (tmp_path / "frames").rename(tmp_path / strange)
    for name, frames in ((f"{strange}.mkv", 3), (strange, 2), (f"{strange}/{strange}.png", 1)):
        out = predict(tmp_path / name, "--box", BOX, out=f"{strange}-{frames}")
        assert load(out)["num_frames"] == frames and any(
            file.name.startswith("overlay") for file in out.iterdir()
        )


def test_real_video_with_real_boxes(samples, tmp_path, predict, fake_network):
    """The shortest way through a real file: the last frames have no boxes, so only a few crops are made."""
    with np.load(samples / "human_hand_video.mediapipe.npz") as file:
        boxes, detected = file["box_xyxy"], np.arange(len(file["detected"])) % 100 < 2
    np.savez(tmp_path / "boxes.npz", box_xyxy=boxes, detected=detected)
    network = fake_network()
    result = load(
        predict(
            samples / "human_hand_video.mp4",
            "--boxes",
            tmp_path / "boxes.npz",
            "--no-overlay",
            network=network,
        )
    )
    assert result["frame"].tolist() == np.flatnonzero(detected).tolist() and result["num_frames"] == 621
    np.testing.assert_allclose(result["time"], result["frame"] / 30, atol=1e-4)
    np.testing.assert_allclose(result["box"], boxes[detected])
    np.testing.assert_allclose(result["focal"], np.hypot(1280, 720), rtol=1e-6)


def test_a_pictures_own_focal_length_is_used_and_said(tmp_path, predict, video_tools, capsys):
    (picture,) = video_tools[0](1)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 52
    Image.fromarray(picture).save(tmp_path / "hand.jpg", exif=exif)
    expected = 52 / np.hypot(36, 24) * np.hypot(120, 90)
    found = load(predict(tmp_path / "hand.jpg", "--box", BOX, "--side", "right"))["focal"]
    np.testing.assert_allclose(found, [[expected] * 2], rtol=1e-6)
    assert f"focal length {expected:.1f} px" in (said := capsys.readouterr().out) and "EXIF" in said
    given = load(predict(tmp_path / "hand.jpg", "--box", BOX, "--side", "right", "--focal", "99"))["focal"]
    assert given.tolist() == [[99, 99]] and "EXIF" not in capsys.readouterr().out
