import os

import cv2
import numpy as np
import pytest

from tempohand.inference.source import natural_order, open_source


def test_a_lossless_video_gives_back_its_frames_and_times(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    pictures = moving_pictures(7)
    source = open_source(write_video(tmp_path / "clip.mkv", pictures, fps=25))
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(7)) and source.count() == 7
    assert all(np.array_equal(frame.image, picture) for frame, picture in zip(frames, pictures))
    np.testing.assert_allclose(
        [frame.time for frame in frames], np.arange(7) / 25, atol=1e-3
    )  # Matroska counts milliseconds
    assert source.size == (120, 90) and source.fps == 25 and not source.independent


def test_times_follow_a_variable_frame_rate(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    places = [3, 4, 8, 9, 15]
    source = open_source(write_video(tmp_path / "clip.mkv", moving_pictures(5), pts=places))
    np.testing.assert_allclose([frame.time for frame in source], (np.array(places) - 3) / 30, atol=2e-3)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_phones_display_matrix_is_obeyed(tmp_path, video_tools, matrix, turns):
    """Held upright a phone films sideways and says so in the track header: (a, b, c, d) maps stored x, y to
    shown ones."""
    moving_pictures, write_video = video_tools
    path = write_video(tmp_path / "clip.mp4", moving_pictures(2), codec="libx264", pix_fmt="yuv420p")
    plain = next(iter(open_source(path))).image
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # a version 0 header's matrix
    for offset, value in zip((0, 4, 12, 16), matrix):
        data[place + offset : place + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    source = open_source(path)
    assert np.array_equal(next(iter(source)).image, np.rot90(plain, turns))
    assert source.size == ((120, 90) if turns == 2 else (90, 120))


def test_a_picture_is_told_by_its_content(tmp_path, video_tools):
    picture = video_tools[0](1)[0]
    path = tmp_path / "really_a.jpg"
    path.write_bytes(cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes())
    source = open_source(path)
    (frame,) = source
    assert source.kind == "picture" and source.independent and np.array_equal(frame.image, picture)


def test_a_gif_is_a_video(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    source = open_source(
        write_video(tmp_path / "clip.gif", moving_pictures(4), codec="gif", pix_fmt="rgb8", fps=10)
    )
    assert source.kind == "video" and source.count() == 4


def test_a_folder_is_sorted_and_skips_what_does_not_decode(tmp_path, video_tools, capsys):
    for name, picture in zip(("b.png", "a.PNG", "d.jpg"), video_tools[0](3)):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "c.jpg").write_bytes(b"not a picture")
    (tmp_path / "e.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / ".hidden.png").write_bytes(b"no frame")
    source = open_source(tmp_path)
    frames = list(source)
    assert [(frame.index, frame.name) for frame in frames] == [(0, "a.PNG"), (1, "b.png"), (3, "d.jpg")]
    assert source.unreadable == ["c.jpg", "e.png"] and source.count() == 5 and source.independent
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2 and all(line.startswith("warning: skipped") for line in warnings)


def test_a_folders_pictures_come_in_natural_order(tmp_path, video_tools):
    names = [
        "9.png",
        "frame_2.png",
        "frame_10.png",
        "frame_010b.png",
        "frame_10b.png",
        "frame_11.png",
        "take2_9.png",
        "take10_1.png",
    ]
    picture = video_tools[0](1)[0]
    for name in reversed(names):
        cv2.imwrite(str(tmp_path / name), picture)
    for fps in (None, 30):
        source = open_source(tmp_path, fps=fps)
        assert source.names == names and [frame.name for frame in source] == names
    assert sorted(["b", "a10", "a9", "\u0663", "10", "9"], key=natural_order) == [
        "9",
        "10",
        "a9",
        "a10",
        "b",
        "\u0663",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("-", "input is read more than once, which standard input cannot be: save it as a file first"),
        (
            "https://example.org/clip.mp4",
            "'https://example.org/clip.mp4' is an address, not a file: download it first",
        ),
        ("rtsp://camera/stream", "is an address, not a file"),
        ("0", "there is no file or folder '0'; for a camera take tempohand live 0"),
    ],
)
def test_what_other_programs_take_is_answered_with_what_to_do(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_source(given)


def test_a_pipe_and_a_device_are_refused_without_waiting(tmp_path, video_tools, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(
            ValueError,
            match="is a pipe or a device, and input is read more than once: save it as a file first",
        ):
            open_source(path)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("7.png", video_tools[0](1)[0])
    (tmp_path / "7.png").rename("7")
    assert open_source("7").kind == "picture"  # a file is a file, whatever its name


def test_a_folder_with_fps_is_a_sequence(tmp_path, video_tools):
    for index, picture in enumerate(video_tools[0](3)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    source = open_source(tmp_path, fps=20)
    assert not source.independent
    np.testing.assert_allclose([frame.time for frame in source], [0, 0.05, 0.1])
    cv2.imwrite(str(tmp_path / "9.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"9.png' is 8 x 8, the sequence before it 120 x 90"):
        list(open_source(tmp_path, fps=20))


def test_what_cannot_be_read_is_named(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        open_source(tmp_path / "absent.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures in the folder"):
        open_source(tmp_path / "empty")
    for name, content in (("text.mp4", b"just text, " * 99), ("nothing.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="neither a video nor a picture|is empty"):
            open_source(tmp_path / name)
    jpeg = cv2.imencode(".jpg", moving_pictures(1)[0])[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[:30])
    with pytest.raises(ValueError, match="cut.jpg' cannot be used: its 30 bytes lack the end of the file"):
        open_source(tmp_path / "cut.jpg")
    video = write_video(tmp_path / "clip.mp4", moving_pictures(9), codec="libx264", pix_fmt="yuv420p")
    video.write_bytes(video.read_bytes()[:400])
    with pytest.raises(
        ValueError, match="clip.mp4' is cut off: .* bytes are missing, and no frame can be found"
    ):
        open_source(video)
    with pytest.raises(ValueError, match="`fps` is for a folder"):
        open_source(tmp_path / "cut.jpg", fps=30)
    with pytest.raises(ValueError, match="positive number of frames a second"):
        open_source(tmp_path, fps=0)
