import json

import numpy as np
import pytest
import trimesh

from tempohand.inference import export
from tempohand.inference.predictor import HandEstimate


def estimates(count: int = 3) -> list[HandEstimate]:
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(0, 300, shape).astype(np.float32)

    return [
        HandEstimate(index, index / 30, index % 2, index % 2 == 0, 1, draw(4), draw(2), draw(2), (640, 480),
                     draw(48), draw(10), draw(3), draw(21, 3), draw(778, 3), draw(21, 2))
        for index in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("fps", [None, 29.97])
def test_files_give_back_every_value(tmp_path, fps):
    columns, faces = export.tabulate(estimates()), np.arange(12).reshape(4, 3)
    about = export.describe("clip.mp4", ["a.png"], 5, fps)
    export.write_npz(tmp_path / "p.npz", columns, faces, about)
    export.write_json(tmp_path / "p.json", columns, about)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert set(file.files) == {*columns, "faces", "names", "format", "conventions", "source", "num_frames", "fps"}
        for name, value in columns.items():
            np.testing.assert_array_equal(file[name], value)
        assert np.array_equal(file["faces"], faces) and file["names"].tolist() == ["a.png"] and file["num_frames"] == 5
        assert np.isnan(file["fps"]) if fps is None else file["fps"] == fps
        assert str(file["source"]) == "clip.mp4" and "OpenPose" in str(file["conventions"])

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads((tmp_path / "p.json").read_text(), parse_constant=refuse)
    assert read["fps"] == fps and read["num_frames"] == 5 and len(read["hands"]) == 3
    for row, hand in enumerate(read["hands"]):
        assert set(hand) == set(columns) - {"vertices"}
        for name, value in hand.items():
            np.testing.assert_array_equal(np.asarray(value, columns[name].dtype), columns[name][row])


def test_json_refuses_what_json_cannot_say(tmp_path):
    columns = export.tabulate(estimates())
    columns["joints"][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        export.write_json(tmp_path / "p.json", columns, export.describe("", [], 1, None))


def test_a_mesh_survives_obj(tmp_path):
    vertices, faces = estimates(1)[0].vertices[:4], np.array([[0, 1, 2], [0, 2, 3]])
    export.write_obj(tmp_path / "hand.obj", vertices, faces)
    mesh = trimesh.load(tmp_path / "hand.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-4)
    assert np.array_equal(mesh.faces, faces)


def test_a_staged_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError), export.staged(out) as stage:
        (stage / "a.txt").write_text("half")
        raise RuntimeError
    assert not any(path.is_file() for path in tmp_path.rglob("*")) and not out.exists()
    for content in ("first", "second"):
        with export.staged(out) as stage:
            (stage / "sub").mkdir()
            (stage / "sub" / "a.txt").write_text(content)
            assert not (out / "sub" / "a.txt").exists() or (out / "sub" / "a.txt").read_text() != content
        assert (out / "sub" / "a.txt").read_text() == content
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is not a folder"), export.staged(tmp_path / "file"):
        pass
