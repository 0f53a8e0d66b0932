import json

import numpy as np
import pytest

from tempohand.inference.boxes import ConstantBox, FileBoxes
from tempohand.inference.source import open_source


@pytest.fixture
def clip(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    return open_source(write_video(tmp_path / "clip.mkv", moving_pictures(4)))


def answers(boxes: FileBoxes, source) -> dict[int, list[tuple]]:
    boxes.check(source)
    return {
        frame.index: [(*d.box.tolist(), d.is_right, d.hand) for d in boxes.detect(frame)] for frame in source
    }


def test_the_three_formats_say_the_same(tmp_path, clip):
    box = np.array([[10, 20, 40, 60.5], [np.nan] * 4, [11, 20, 40, 60], [12, 20, 40, 60]])
    np.savez(
        tmp_path / "b.npz",
        box_xyxy=box.astype(np.float32),
        detected=np.array([True, False, True, True]),
        is_right=np.array(False),
        fps=30.0,
    )
    entries = [{"frame": i, "box": box[i].tolist(), "side": "left", "hand": 0} for i in (3, 0, 2)]
    (tmp_path / "b.json").write_text(json.dumps(entries))
    lines = [
        "frame,x0,y0,x1,y1,side,hand",
        *(f"{i}, {','.join(map(str, box[i]))}, left, 0" for i in (0, 2, 3)),
    ]
    (tmp_path / "b.csv").write_text("\n".join(lines))
    expected = {i: [(*box[i].tolist(), False, 0)] if i != 1 else [] for i in range(4)}
    for name in ("b.npz", "b.json", "b.csv"):
        assert answers(FileBoxes.read(tmp_path / name), clip) == expected


def test_several_hands_without_side_or_id(tmp_path, clip):
    (tmp_path / "b.csv").write_text("frame,x0,y0,x1,y1\n1,10,10,20,20\n1,30,30,50,50\n")
    found = answers(FileBoxes.read(tmp_path / "b.csv"), clip)
    assert found == {0: [], 1: [(10, 10, 20, 20, None, None), (30, 30, 50, 50, None, None)], 2: [], 3: []}


def test_a_folders_pictures_go_by_name_or_index(tmp_path, video_tools):
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, picture in zip(("a.png", "b.png"), video_tools[0](2)):
        cv2.imwrite(str(folder / name), picture)
    (tmp_path / "b.csv").write_text("frame,x0,y0,x1,y1\nb.png,10,10,20,20\n1,30,30,50,50\n")
    found = answers(FileBoxes.read(tmp_path / "b.csv"), open_source(folder))
    assert [len(found[0]), len(found[1])] == [0, 2]
    (tmp_path / "b.csv").write_text("frame,x0,y0,x1,y1\nc.png,10,10,20,20\n")
    with pytest.raises(ValueError, match="speaks of 'c.png', which is not a picture"):
        FileBoxes.read(tmp_path / "b.csv").check(open_source(folder))


def npz(**arrays):
    return lambda path: np.savez(path.with_suffix(".npz"), **arrays)


def text(suffix: str, content: str):
    return lambda path: path.with_suffix(suffix).write_text(content)


BOX4 = np.tile([10.0, 20, 40, 60], (4, 1))
HEAD = "frame,x0,y0,x1,y1,side,hand\n"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (npz(box_xyxy=BOX4[:3]), "has 3 rows for 4 frames"),
        (npz(box_xyxy=np.tile(BOX4, (2, 1))), "has 8 rows for 4 frames"),
        (npz(boxes=BOX4), "has no array box_xyxy"),
        (npz(box_xyxy=BOX4[:, :3]), r"float64 \[4, 3\], expected numbers"),
        (npz(box_xyxy=BOX4, detected=np.ones(3, bool)), "detected has shape"),
        (npz(box_xyxy=BOX4, is_right=np.ones(3, bool)), "is_right has shape"),
        (npz(box_xyxy=BOX4, detected=np.zeros(4, bool)), "no box in any frame"),
        (npz(box_xyxy=np.full((4, 4), np.nan), detected=np.ones(4, bool)), "not four finite numbers"),
        (npz(box_xyxy=BOX4[:, [0, 1, 0, 3]]), "has no area"),
        (npz(box_xyxy=BOX4[:, [2, 1, 0, 3]]), "has no area"),
        (npz(box_xyxy=BOX4 + 500), "lies outside the picture of 120 x 90"),
        (npz(box_xyxy=BOX4 - 100), "lies outside"),
        (npz(box_xyxy=np.array([{}], object)), "not a readable .npz"),
        (text(".npz", "text"), "not a readable .npz"),
        (text(".txt", ""), "none of .npz, .json, .csv"),
        (text(".json", "{"), "not JSON"),
        (text(".json", '{"frame": 1}'), "is not a list of"),
        (text(".json", "[]"), "no box in any frame"),
        (text(".json", '[{"frame": 0}]'), "entry 0 .* no box of four numbers"),
        (text(".json", '[{"frame": true, "box": [1, 2, 3, 4]}]'), "frame is a whole number"),
        (text(".json", '[{"frame": 0.5, "box": [1, 2, 3, 4]}]'), "frame is a whole number"),
        (text(".json", '[{"frame": 0, "box": [1, 2, 3, null]}]'), "is not four numbers"),
        (text(".csv", "0,10,20,40,60\n1,10,20,40,60"), "the first line names the columns"),
        (text(".csv", HEAD + "0,10,20,40"), "line 2 .* does not fit"),
        (text(".csv", HEAD + "0,10,20,40,60,left,0,9"), "line 2 .* does not fit"),
        (text(".csv", HEAD + "0,10,20,40,sixty,left,0"), "line 2 .* is not four numbers"),
        (text(".csv", HEAD + "-1,10,20,40,60,left,0"), "'-1', which is not a picture"),
        (text(".csv", HEAD + "0,10,20,40,60,up,0"), "side is 'right' or 'left', not 'up'"),
        (text(".csv", HEAD + "0,10,20,40,60,left,x"), "hand is a whole number"),
        (
            text(".csv", HEAD + "0,10,20,40,60,left,1\n0,10,20,40,60,left,1"),
            "line 3 .* second box in frame 0",
        ),
        (
            text(".csv", HEAD + "0,10,20,40,60,left,1\n1,10,20,40,60,right,1"),
            "hand 1 is right here and the other side before",
        ),
        (text(".csv", HEAD + "4,10,20,40,60,left,1"), "speaks of frame 4, the input has frames 0 to 3"),
        (text(".csv", HEAD + "1,10,20,40,nan,left,1"), "not four finite numbers"),
    ],
)
def test_wrong_files_are_named_with_their_fault(tmp_path, clip, write, message):
    write(tmp_path / "boxes")
    (path,) = tmp_path.glob("boxes.*")
    with pytest.raises(ValueError, match=message) as caught:
        FileBoxes.read(path).check(clip)
    assert "\n" not in str(caught.value)


def test_a_header_with_a_wrong_count_is_not_believed(tmp_path, clip):
    np.savez(tmp_path / "b.npz", box_xyxy=BOX4)
    for told in (None, 3, 5):
        clip.expected_count = told
        FileBoxes.read(tmp_path / "b.npz").check(clip)
    with pytest.raises(FileNotFoundError, match="there is no boxes file"):
        FileBoxes.read(tmp_path / "absent.npz")


def test_a_constant_box(clip):
    boxes = ConstantBox.parse("10,20,40.5,60")
    boxes.check(clip)
    assert [boxes.detect(frame)[0].box.tolist() for frame in clip] == [[10, 20, 40.5, 60]] * 4
    for words in ("10,20,40", "a,b,c,d", "", "1,2,3,4,5"):
        with pytest.raises(ValueError, match="`box` is four numbers"):
            ConstantBox.parse(words)
    for words, message in (("10,20,10,60", "no area"), ("200,20,300,60", "outside"), ("nan,2,3,4", "finite")):
        with pytest.raises(ValueError, match=message):
            ConstantBox.parse(words).check(clip)
    ConstantBox.parse("-20,-20,40,60").check(clip)  # partly outside: joints may be
