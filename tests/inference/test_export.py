import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from tempohand.inference import export
from tempohand.inference.predictor import HandEstimate
from tempohand.inference.staging import earlier_files, staged
from tempohand.media.incomplete import Incomplete


def estimates(count: int = 3) -> list[HandEstimate]:
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(0, 300, shape).astype(np.float32)

    return [
        HandEstimate(index, index / 30, index % 2, index % 2 == 0, 1, draw(4), draw(2), draw(2), (640, 480),
                     draw(48), draw(10), draw(3), draw(21, 3), draw(778, 3), draw(21, 2))
        for index in range(count)
    ]  # fmt: skip


def test_an_incomplete_input_says_what_is_lacking(tmp_path):
    """Also where nothing announces how many frames there should be; of a whole input there is not a word."""
    whole = export.describe("a.ts", [], 5, 25)
    about = export.describe("a.ts", [], 5, 25, Incomplete(None, 5, "5 frames decode (frame 3 is damaged)"))
    lacking = {
        "incomplete": "5 frames decode (frame 3 is damaged)",
        "announced_frames": None,
        "decoded_frames": 5,
    }
    assert about == whole | lacking and not lacking.keys() & whole.keys()
    with export.Rows(tmp_path) as rows:
        rows.append(estimates())
        export.write_npz(tmp_path / "p.npz", rows.columns(), np.zeros((1, 3), int), about)
        export.write_json(tmp_path / "p.json", rows.columns(), about)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert (
            str(file["incomplete"]) == lacking["incomplete"]
            and file["decoded_frames"] == 5
            and np.isnan(file["announced_frames"])
        )
    read = json.loads((tmp_path / "p.json").read_text())
    assert len(read["hands"]) == 3 and {name: read[name] for name in lacking} == lacking


@pytest.mark.parametrize("fps", [None, 29.97])
def test_files_give_back_every_value(tmp_path, fps):
    faces, about = np.arange(12).reshape(4, 3), export.describe("clip.mp4", ["a.png"], 5, fps)
    given = estimates()
    with export.Rows(tmp_path) as rows:
        for cut in (slice(0, 2), slice(2, 2), slice(2, 3)):
            rows.append(given[cut])
        columns = rows.columns()
        export.write_npz(tmp_path / "p.npz", columns, faces, about)
        export.write_json(tmp_path / "p.json", columns, about)
        columns = {name: np.array(values) for name, values in columns.items()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "p.npz"]
    for row, one in enumerate(given):
        assert columns["hand_id"][row] == one.hand and (columns["joints"][row] == one.joints).all()
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        np.savez_compressed(tmp_path / "q.npz", **file)
        with zipfile.ZipFile(tmp_path / "p.npz") as ours, zipfile.ZipFile(tmp_path / "q.npz") as theirs:
            assert {name: ours.read(name) for name in ours.namelist()} == {
                name: theirs.read(name) for name in theirs.namelist()
            }
        assert set(file.files) == {
            *columns,
            "faces",
            "names",
            "format",
            "conventions",
            "source",
            "num_frames",
            "fps",
        }
        for name, value in columns.items():
            np.testing.assert_array_equal(file[name], value)
        assert (
            np.array_equal(file["faces"], faces)
            and file["names"].tolist() == ["a.png"]
            and file["num_frames"] == 5
        )
        assert np.isnan(file["fps"]) if fps is None else file["fps"] == fps
        assert str(file["source"]) == "clip.mp4" and "OpenPose" in str(file["conventions"])

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "p.json").read_text()
    read = json.loads(text, parse_constant=refuse)
    assert text == json.dumps(read), "what json itself would write"
    assert read["fps"] == fps and read["num_frames"] == 5 and len(read["hands"]) == 3
    for row, hand in enumerate(read["hands"]):
        assert set(hand) == set(columns) - {"vertices", "rotations", "confidence"}  # which is not known here
        for name, value in hand.items():
            np.testing.assert_array_equal(np.asarray(value, columns[name].dtype), columns[name][row])


def test_confidence_that_is_known_is_in_the_json(tmp_path):
    hands = [replace(one, confidence=np.linspace(0, 1, 21, dtype=np.float32)) for one in estimates(2)]
    with export.Rows(tmp_path) as rows:
        rows.append(hands)
        export.write_json(tmp_path / "p.json", rows.columns(), export.describe("", [], 1, None))
    for hand in json.loads((tmp_path / "p.json").read_text())["hands"]:
        np.testing.assert_array_equal(np.float32(hand["confidence"]), hands[0].confidence)


def test_json_refuses_what_json_cannot_say(tmp_path):
    (good, bad) = estimates(2)
    bad.joints[0, 0] = np.nan
    with export.Rows(tmp_path) as rows:
        rows.append([good, bad])
        with pytest.raises(ValueError, match="not JSON compliant"):
            export.write_json(tmp_path / "p.json", rows.columns(), export.describe("", [], 1, None))


def test_a_mesh_survives_obj(tmp_path):
    vertices, faces = estimates(1)[0].vertices[:4], np.array([[0, 1, 2], [0, 2, 3]])
    export.write_obj(tmp_path / "hand.obj", vertices, faces)
    mesh = trimesh.load(tmp_path / "hand.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-4)
    assert np.array_equal(mesh.faces, faces)


def test_a_staged_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError), staged(out) as stage:
        (stage / "a.txt").write_text("half")
        raise RuntimeError
    assert not any(path.is_file() for path in tmp_path.rglob("*")) and not out.exists()
    for content in ("first", "second"):
        with staged(out) as stage:
            (stage / "sub").mkdir()
            (stage / "sub" / "a.txt").write_text(content)
            assert not (out / "sub" / "a.txt").exists() or (out / "sub" / "a.txt").read_text() != content
        assert (out / "sub" / "a.txt").read_text() == content
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is not a folder"), staged(tmp_path / "file"):
        pass


def write_run(folder, names: list[str], files: list[str]) -> None:
    """The predictions of a run over those pictures, and other files, by their names."""
    with export.Rows(folder.parent) as rows:
        rows.append(estimates(1))
        export.write_npz(
            folder / "predictions.npz",
            rows.columns(),
            np.zeros((1, 3), int),
            export.describe("", names, 1, None),
        )
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(str(folder.name))


def test_a_run_replaces_an_earlier_one_whole_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    theirs = ["notes.txt", "meshes/mine.obj", "overlay/holiday.png", "overlay.mov", "overlay/sub.png/a.txt"]
    ours = [
        "predictions.json",
        "overlay.mp4",
        "meshes/000001-hand0.obj",
        "meshes/1234567-hand12.obj",
        "overlay/a.jpg",
        "overlay/b.tif.png",
    ]
    for name in theirs:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("theirs")
    write_run(out, ["a.jpg", "b.tif", "sub.png"], ours)
    assert {str(path.relative_to(out)) for path in earlier_files(out)} == {"predictions.npz", *ours}
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError), staged(out) as stage:
        write_run(stage, [], ["predictions.json"])
        raise RuntimeError
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before, (
        "a failed run changes nothing"
    )
    with staged(out) as stage:
        write_run(stage, ["b.tif"], ["predictions.json", "overlay/b.tif.png"])
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert left == {*theirs, "predictions.npz", "predictions.json", "overlay/b.tif.png"}
    assert (out / "overlay/b.tif.png").read_text() != "out", "the new one"
    with staged(out) as stage:
        write_run(stage, [], [])
    assert (out / "overlay").exists(), "their files are in it"


def test_a_folder_without_our_predictions_is_not_cleared(tmp_path):
    out = tmp_path / "out"
    (out / "meshes").mkdir(parents=True)
    for name in ("overlay.mp4", "meshes/000000-hand0.obj", "predictions.npz"):
        (out / name).write_text("theirs")
    with staged(out) as stage:
        (stage / "a.txt").write_text("ours")
    assert sorted(path.name for path in out.rglob("*")) == [
        "000000-hand0.obj",
        "a.txt",
        "meshes",
        "overlay.mp4",
        "predictions.npz",
    ]


def test_emptied_folders_leave_too(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write_run(out, ["a.png"], ["overlay/a.png", "meshes/000000-hand0.obj"])
    with staged(out) as stage:
        write_run(stage, [], ["overlay.mp4"])
    assert sorted(path.name for path in out.iterdir()) == ["overlay.mp4", "predictions.npz"]


@pytest.mark.parametrize("taken", ["b.txt/inner.txt", "sub"])
def test_a_folder_in_the_place_of_a_file_stops_before_anything_moves(tmp_path, taken):
    out = tmp_path / "out"
    (out / taken).parent.mkdir(parents=True)
    (out / taken).write_text("theirs")
    with pytest.raises(FileExistsError, match="a file and a folder have the same name"), staged(out) as stage:
        (stage / "sub").mkdir()
        for name in ("a.txt", "b.txt", "sub/c.txt"):
            (stage / name).write_text("ours")
    assert [path.read_text() for path in out.rglob("*") if path.is_file()] == ["theirs"]


def test_what_another_program_calls_predictions_is_none_of_ours(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    np.savez(out / "predictions.npz", format="another program's", names=np.array([], dtype=str))
    (out / "overlay.mp4").write_bytes(b"theirs")
    assert earlier_files(out) == []
    with staged(out) as stage:
        (stage / "predictions.json").write_text("{}")
    assert {path.name for path in out.iterdir()} == {"predictions.npz", "overlay.mp4", "predictions.json"}
