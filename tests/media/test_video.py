"""Videos that are whole, cut off or damaged: what is given, and what is said of the rest."""

import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from tempohand.media.containers import missing_bytes
from tempohand.media.video import Video

COUNT = 24
# name -> what the test's writer needs; frames that the header announces
FORMATS = {
    "clip.mkv": {},
    "clip.mp4": {"codec": "libx264", "pix_fmt": "yuv420p"},
    "clip.mov": {"codec": "libx264", "pix_fmt": "yuv420p"},
    "clip.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "clip.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuv420p"},
    "clip.ts": {"codec": "libx264", "pix_fmt": "yuv420p"},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory, video_tools) -> Path:
    """A folder with a whole video of every format, and copies of the MP4 whose index comes first, whose
    samples come in fragments."""
    moving_pictures, write_video = video_tools
    folder, pictures = tmp_path_factory.mktemp("clips"), moving_pictures(COUNT)
    for name, options in FORMATS.items():
        write_video(folder / name, pictures, **options)
    for name, flags in (("first.mp4", "faststart"), ("fragments.mp4", "frag_every_frame+empty_moov")):
        copy(folder / "clip.mp4", folder / name, {"movflags": flags})
    return folder


def copy(
    source: Path, to: Path, options: dict | None = None, keep=lambda packet: True, shift: int = 0
) -> Path:
    """The packets of a video in another file."""
    with av.open(str(source)) as read, av.open(str(to), "w", options=options or {}) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None and keep(packet):
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                written.mux(packet)
    return to


def given(path: Path) -> tuple[int, str | None]:
    """The number of frames, and what is lacking of them."""
    video = Video(path)
    count = len(list(video.pictures()))
    assert video.count() == count
    if video.incomplete is None:
        return count, None
    assert video.incomplete.decoded == count
    announced = re.search(r"of the (\d+) that it announces", video.incomplete.reason)
    assert video.incomplete.announced == (int(announced[1]) if announced else None)
    return count, video.incomplete.reason


@pytest.mark.parametrize("name", [*FORMATS, "first.mp4", "fragments.mp4"])
def test_whole_videos_are_called_whole(clips, name):
    assert missing_bytes(clips / name) == 0 and given(clips / name) == (COUNT, None)


def test_unusual_videos_are_whole_too(clips, tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    uneven = write_video(tmp_path / "uneven.mkv", moving_pictures(5), pts=[0, 1, 40, 41, 99])
    assert given(uneven) == (5, None)
    late = copy(clips / "clip.mp4", tmp_path / "late.mp4", shift=20000)  # an edit list begins with nothing
    assert given(late) == (COUNT, None)
    behind = tmp_path / "behind.mp4"
    behind.write_bytes((clips / "clip.mp4").read_bytes() + b"not a box" * 20)
    assert given(behind) == (COUNT, None)
    live = tmp_path / "live.mkv"  # a segment without a size, as a recorder writes it that cannot go back
    data = bytearray((clips / "clip.mkv").read_bytes())
    place = data.index(b"\x18\x53\x80\x67") + 4
    data[place : place + 8] = b"\x01" + b"\xff" * 7
    live.write_bytes(data)
    assert missing_bytes(live) == 0 and given(live) == (COUNT, None)


def test_frames_that_an_edit_list_hides_are_not_missed(clips, tmp_path):
    """The box elst of an MP4 that begins in the middle: the header counts all frames, a player shows some."""
    data = bytearray((clips / "first.mp4").read_bytes())
    place = data.index(b"elst") + 4 + 4 + 4  # version 0: entries of duration, start, rate
    duration, start, rate = struct.unpack_from(">IiI", data, place)
    struct.pack_into(">IiI", data, place, duration // 2, start + 6 * 512, rate)
    path = tmp_path / "edited.mp4"
    path.write_bytes(data)
    count, incomplete = given(path)
    assert incomplete is None and 3 < count < COUNT


@pytest.mark.parametrize("name", ["clip.mkv", "first.mp4", "fragments.mp4", "clip.avi", "clip.webm"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_video_that_is_cut_off_says_so_and_gives_what_came(clips, tmp_path, name, share):
    data = (clips / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(share * len(data))])
    assert missing_bytes(path) > 0
    count, incomplete = given(path)
    assert (
        0 < count < COUNT and f"{count} frames" in incomplete and "bytes are missing at its end" in incomplete
    )
    if name != "fragments.mp4":  # which announces only what has come
        assert f"of the {COUNT} that it announces" in incomplete
    whole = [picture for _, picture in Video(clips / name).pictures()]
    assert all(
        np.array_equal(one, other)
        for (_, one), other in zip(list(Video(path).pictures())[: count - 1], whole)
    )


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4", "clip.ts"])
def test_damage_in_the_middle_is_passed_over_and_told(clips, tmp_path, name):
    data = bytearray((clips / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(1500)
    path = tmp_path / name
    path.write_bytes(data)
    count, incomplete = given(path)
    assert count > 3 and incomplete is not None and "bytes are missing" not in incomplete


def test_a_cluster_that_was_left_out_of_a_matroska_file_is_missed(clips, tmp_path, video_tools):
    """The container is whole, but its own tag says that the stream is longer."""
    moving_pictures, write_video = video_tools
    path = write_video(tmp_path / "long.mkv", moving_pictures(4), pts=[0, 1, 2, 90])
    data = path.read_bytes()
    assert data.count(b"00:00:03.0") == 1
    path.write_bytes(data.replace(b"00:00:03.0", b"00:00:09.0"))
    assert "its frames end at 3.0 s of 9.0" in given(path)[1]


def test_a_still_picture_beside_the_video_is_not_shown(tmp_path, clips):
    """A file's first stream may be a thumbnail."""
    path = tmp_path / "beside.mkv"
    with av.open(str(clips / "clip.mp4")) as read, av.open(str(path), "w") as written:
        small = written.add_stream("mjpeg", rate=1)
        small.width, small.height, small.pix_fmt = 16, 16, "yuvj420p"
        stream = written.add_stream_from_template(read.streams.video[0])
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        written.mux([*small.encode(picture), *small.encode(None)])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == 16
    assert Video(path).size == (120, 90) and given(path) == (COUNT, None)


def test_packets_of_the_index_that_are_not_there_are_missed(clips, tmp_path):
    """The box of the samples reaches to the file's end, wherever that is, and the file ends between two of
    them."""
    data = bytearray((clips / "first.mp4").read_bytes())
    with av.open(str(clips / "first.mp4")) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.pos)
    begin = data.index(b"mdat") - 4
    data[begin : begin + 4] = bytes(4)
    path = tmp_path / "open.mp4"
    path.write_bytes(data)
    assert given(path) == (COUNT, None)
    path.write_bytes(data[: places[10]])
    count, incomplete = given(path)
    assert missing_bytes(path) == 0 and count == 10
    assert f"10 frames of the {COUNT} that it announces decode (14 packets of its index are not" in incomplete


def test_nothing_that_decodes_is_an_error(clips, tmp_path):
    data = bytearray((clips / "first.mp4").read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin:] = bytes(len(data) - begin)
    (tmp_path / "zeros.mp4").write_bytes(data)
    with pytest.raises(ValueError, match="zeros.mp4' is damaged: none of its frames decodes"):
        Video(tmp_path / "zeros.mp4")
    (tmp_path / "no.mp4").write_bytes((clips / "clip.mp4").read_bytes()[:300])
    with pytest.raises(
        ValueError, match="no.mp4' is cut off: [0-9,]+ bytes are missing, and no frame can be found"
    ):
        Video(tmp_path / "no.mp4")


def test_frames_of_a_turned_video_are_refused_where_they_cannot_be_shown(clips, tmp_path):
    data = bytearray((clips / "clip.mp4").read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), (0.866, 0.5, -0.5, 0.866)):
        data[place + offset : place + offset + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    (tmp_path / "leaning.mp4").write_bytes(data)
    with pytest.raises(
        ValueError, match="leaning.mp4' cannot be shown: its display matrix turns the picture by an angle"
    ):
        Video(tmp_path / "leaning.mp4")


def test_a_box_whose_size_has_64_bits_may_be_cut_off(tmp_path):
    data = struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(100)
    (tmp_path / "clip.mp4").write_bytes(data)
    assert missing_bytes(tmp_path / "clip.mp4") == 0
    (tmp_path / "clip.mp4").write_bytes(data[:-60])
    assert missing_bytes(tmp_path / "clip.mp4") == 60
