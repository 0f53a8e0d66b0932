import json

import numpy as np
import pytest

from tempohand.data.parallel_jobs import RECIPE_NAME, LocalPool
from tempohand.data.table import FrameTable
from tempohand.synthetic import generate as make
from tempohand.synthetic.generate import SyntheticConfig, built, film_sequence, make_table

NAMES = ("seed", "sequences", "frames", "hand", "backgrounds", "skins", "panoramas")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(make, "SEQUENCES_PER_SHARD", 2)


def shards(root):
    return {path.name: path.read_bytes() for path in sorted(root.glob("*.arrow"))}


def test_same_bytes_for_one_and_two_processes_and_nothing_to_do_again(settings, tmp_path, capsys):
    config = settings()
    assert make_table(config, tmp_path / "one", engine=LocalPool(1)) and make_table(
        config, tmp_path / "two", engine=LocalPool(2)
    )
    assert shards(tmp_path / "one") == shards(tmp_path / "two") and len(shards(tmp_path / "one")) == 3 + 1 + 1
    assert not list(tmp_path.rglob("*.part"))
    assert "frames/s" in capsys.readouterr().out
    assert not make_table(config, tmp_path / "one", engine=LocalPool(1))
    assert "is complete: nothing to do" in capsys.readouterr().out

    tables = {split: FrameTable(tmp_path / "one", split) for split in make.SPLITS}
    assert {split: len(table) for split, table in tables.items()} == {"train": 15, "val": 3, "test": 8}
    table = tables["test"]
    assert table.image(0).shape == (48, 48, 3) and set(np.diff(np.unique(table.sequence_starts()))) == {4}
    labels = table.labels(np.arange(8))
    uv = (
        labels["joints"][..., :2] / labels["joints"][..., 2:] * labels["focal"][:, None]
        + labels["princpt"][:, None]
    )
    assert np.abs(uv - labels["joints2d"]).max() < 1e-3
    # No sequence of one split is in another: neither by name nor by content.
    firsts = [
        table.column("joints")[start].tobytes()
        for table in tables.values()
        for start in np.unique(table.sequence_starts())
    ]
    assert len(set(firsts)) == len(firsts) == 8


def test_an_interrupted_run_keeps_its_shards(settings, tmp_path, monkeypatch):
    config, out = settings(), tmp_path / "table"
    make_table(config, out, engine=LocalPool(1))
    whole = shards(out)
    (out / "table.json").unlink()
    (out / "train-00001.arrow").unlink()
    (out / "train-00001.arrow.part").write_bytes(b"half written")
    kept = (out / "train-00000.arrow").stat().st_mtime_ns
    assert make_table(config, out, engine=LocalPool(1))
    assert (
        shards(out) == whole
        and (out / "train-00000.arrow").stat().st_mtime_ns == kept
        and not list(out.glob("*.part"))
    )


def test_other_settings_are_refused_unless_overwritten(settings, tmp_path):
    out = tmp_path / "table"
    make_table(settings(), out, engine=LocalPool(1))
    other = settings("synthetic-demo", "seed=7", "num_train=2")
    with pytest.raises(
        ValueError, match=r"other settings \(seed, sequences\): choose another out= or pass overwrite=true"
    ):
        make_table(other, out, engine=LocalPool(1))
    before = shards(out)
    assert make_table(other, out, engine=LocalPool(1), overwrite=True)
    assert len(shards(out)) == 3 and shards(out)["train-00000.arrow"] != before["train-00000.arrow"]
    assert json.loads((out / RECIPE_NAME).read_text())["seed"] == 7


def test_a_folder_with_other_files_is_left_alone(settings, tmp_path):
    (tmp_path / "thesis.arrow").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is not a table made by tempohand prepare and not empty"):
            make_table(settings(), tmp_path, engine=LocalPool(1), overwrite=overwrite)
    assert (tmp_path / "thesis.arrow").read_text() == "precious"


def test_a_sequence_does_not_depend_on_the_others(settings):
    few, many = settings("synthetic-demo", "num_train=3"), settings("synthetic-demo", "num_train=300")
    a, b = (next(film_sequence(config, "train", 2)) for config in (few, many))
    assert a["image"] == b["image"]
    others = [
        next(film_sequence(few, split, index)) for split, index in (("train", 1), ("val", 2), ("test", 2))
    ]
    others.append(next(film_sequence(settings("synthetic-demo", "seed=1"), "train", 2)))
    assert all(
        other["image"] != a["image"] and not np.allclose(other["joints"], a["joints"]) for other in others
    )


def test_settings_are_checked(settings, tmp_path):
    config = settings()
    mapping = {name: getattr(config, name) for name in NAMES}
    with pytest.raises(ValueError, match="synthetic data lacks the setting background"):
        built(SyntheticConfig, mapping)
    with pytest.raises(ValueError, match="no setting camera.zoom; there are: camera.fps"):
        groups = ("clock", "film", "motion", "occluder", "cover", "person", "background", "look", "finish")
        groups += ("depth",)
        built(SyntheticConfig, {**mapping, "camera": {"zoom": 1}, **{name: {} for name in groups}})
    with pytest.raises(ValueError, match="there is no such folder"):
        make_table(settings("synthetic-demo", "backgrounds=/nowhere"), tmp_path / "b")
    with pytest.raises(ValueError, match="nothing to make"):
        make_table(settings("synthetic-demo", "num_train=0", "num_val=0", "num_test=0"), tmp_path / "c")
    with pytest.raises(FileNotFoundError):
        make_table(settings("synthetic-demo", "hand=/nowhere/MANO_RIGHT.pkl"), tmp_path / "d")
    assert not any(tmp_path.iterdir())
