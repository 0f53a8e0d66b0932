"""Mixtures: what comes how often follows from weights, cells and filters; a joined table is its parts."""

import json
import shutil

import numpy as np
import pytest
from tests_support import hand_rows, write_table

from tempohand.data.mixture import Balance, Mixture, RowFilter, spread_over_parts, wrist_depth
from tempohand.data.table import FrameTable, fingerprint
from tempohand.data.training_order import TrainingOrder


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two tables of 30 and 10 training rows; the second's hands are farther, half of its 2D joints unknown,
    its pictures larger."""
    folder = tmp_path_factory.mktemp("mixture")
    far = hand_rows("far", 10, 5, size=128)
    for row in far:
        row["joints"] = row["joints"] + [0, 0, 400]
        row["joints2d_mask"] = np.arange(21) < 10
    near = [hand_rows(f"near-{k}", 10, k) for k in range(3)]
    return (
        write_table(folder / "a", {"train": near, "val": [hand_rows("v", 6, 9)]}),
        write_table(folder / "b", {"training": [far], "evaluation": [hand_rows("w", 4, 8)]}),
    )


def tables(roots, **weights):
    settings = {
        "a": {"root": str(roots[0]), "train": "train", "validation": "val", "weight": None},
        "b": {"root": str(roots[1]), "train": "training", "validation": "evaluation", "weight": None},
    }
    for name, weight in weights.items():
        settings[name]["weight"] = weight
    return settings


def drawn(rows, frequency, epochs=1, batch=7):
    order = iter(TrainingOrder(rows, batch, frequency=frequency, seed=4))
    keys = [key for _ in range(-(-len(rows) * epochs // batch)) for key in next(order)]
    return np.array([row for _, row in keys[: len(rows) * epochs]])


def test_a_share_of_recordings_keeps_its_3d_labels(tmp_path):
    table = write_table(
        tmp_path / "table",
        {"train": [hand_rows(f"{k}", 2, k) for k in range(10)], "val": [hand_rows("v", 1, 99)]},
    )
    choice = {"t": {"root": str(table), "train": "train", "validation": "val"}}
    kept = {}
    for share in (0.0, 0.3, 0.5, 1.0):
        mixture = Mixture(choice, None, share)
        full = mixture.train.column("joints_mask").all(1)
        assert (full == mixture.train.column("has_hand")).all()
        assert mixture.train.labels(np.arange(20))["joints_mask"].all(1).sum() == full.sum() == 20 * share
        assert (full[::2] == full[1::2]).all()  # a recording is whole
        assert mixture.train.column("joints2d_mask").all() and mixture.validation.column("has_hand").all()
        kept[share] = set(np.flatnonzero(full))
    assert kept[0.0] < kept[0.3] < kept[0.5] < kept[1.0]
    with pytest.raises(ValueError, match=r"data.share_3d=1.5"):
        Mixture(choice, None, 1.5)


def test_a_joined_table_is_its_parts(roots):
    a, b = FrameTable(roots[0], "train"), FrameTable(roots[1], "training")
    both = FrameTable.joined([a, b], "train")
    assert len(both) == 40 and both.sequence_starts().tolist() == [
        *a.sequence_starts(),
        *(b.sequence_starts() + 30),
    ]
    for row in (0, 29, 30, 39):
        part, place = both.part_of(row)
        assert part is (a if row < 30 else b) and both.image_bytes(row) == part.image_bytes(place)
        assert both.about_row(row) == part.about_row(place) and np.array_equal(
            both.image(row), part.image(place)
        )
    for name in ("joints", "box", "sequence", "time", "has_hand"):
        np.testing.assert_array_equal(both.column(name), np.concatenate([a.column(name), b.column(name)]))
    assert FrameTable.joined([a], "train") is a


def test_one_table_without_weights_is_the_table_itself(roots):
    mixture = Mixture({"a": tables(roots)["a"]}, None)
    rows = np.arange(30)
    assert mixture.fingerprint() == fingerprint(roots[0]) and mixture.frequencies(rows, None) is None
    np.testing.assert_array_equal(drawn(rows, None), np.random.default_rng([4, 0]).permutation(rows))


@pytest.mark.parametrize(("weights", "share"), [((1.0, 1.0), 0.5), ((3.0, 1.0), 0.75)])
def test_weights_are_shares_of_the_epoch(roots, weights, share):
    mixture = Mixture(tables(roots, a=weights[0], b=weights[1]), None)
    rows = np.arange(40)
    frequency = mixture.frequencies(rows, None)
    assert frequency.sum() == pytest.approx(40) and frequency[:30].sum() == pytest.approx(40 * share)
    seen = drawn(rows, frequency, epochs=50)
    assert (seen < 30).mean() == pytest.approx(share, abs=0.01)
    for epoch in range(50):
        times = np.bincount(seen[40 * epoch : 40 * epoch + 40], minlength=40)
        assert ((times == np.floor(frequency)) | (times == np.ceil(frequency))).all()
    np.testing.assert_allclose(
        np.bincount(seen, minlength=40) / 50, frequency, atol=0.25
    )  # every row, in the long run


def test_frequencies_of_one_are_each_row_once():
    assert sorted(drawn(np.arange(1000), np.ones(1000))) == list(range(1000))


def test_balance_evens_out_distances_down_to_its_floor():
    depth = np.repeat([350.0, 500.0, 900.0, np.nan], [600, 300, 10, 50])
    balance = Balance((400, 700), floor=100)
    weights = balance.weights(depth)
    cells = [weights[:600].sum(), weights[600:900].sum(), weights[900:910].sum(), weights[910:].sum()]
    np.testing.assert_allclose(cells, [1, 1, 0.1, 0.5])
    with pytest.raises(ValueError, match="distance_mm rises"):
        Balance((5, 3), 1)


def test_balance_acts_within_each_table_and_keeps_the_shares(roots):
    mixture = Mixture(tables(roots, a=1.0, b=1.0), None)
    rows, balance = np.arange(40), Balance((float(np.median(wrist_depth(mixture.train)[:30])), 700.0), 1)
    frequency = mixture.frequencies(rows, balance)
    assert frequency[:30].sum() == pytest.approx(20)
    near = wrist_depth(mixture.train)[:30] < balance.distance_mm[0]
    assert frequency[:30][near].sum() == pytest.approx(10)


def test_filters_look_at_joints_and_boxes_and_refuse_to_leave_nothing(roots):
    mixture = Mixture(tables(roots), None)
    rows = np.arange(40)
    assert mixture.kept(rows, RowFilter(min_joints2d=11)).tolist() == list(range(30))
    box = mixture.train.column("box")
    edge = (box[:, 2:] - box[:, :2]).max(1)
    kept = mixture.kept(rows, RowFilter(min_box=float(np.median(edge))))
    assert kept.tolist() == np.flatnonzero(edge >= np.median(edge)).tolist()
    with pytest.raises(ValueError, match=r"data.filter .* keeps none of the 40 rows"):
        mixture.kept(rows, RowFilter(min_box=1e6))


def test_the_account_says_what_is_drawn(roots):
    mixture = Mixture(tables(roots, a=1.0, b=1.0), None)
    rows = mixture.kept(np.arange(40), RowFilter(min_joints2d=5))
    lines = mixture.account(np.arange(40), rows, mixture.frequencies(rows, None))
    assert lines[2].split()[:7] == ["a", "30", "30", "30", "50.0%", "0.67", "0.67"]
    assert lines[3].split()[4:7] == ["50.0%", "2.00", "2.00"]
    assert "48%" in lines[3] and lines[-1] == "an epoch: 40 samples"


def of_mano(root, copy):
    """A copy of a table that says that its hand parameters are MANO's."""
    shutil.copytree(root, copy)
    index = json.loads((copy / "table.json").read_text())
    index["about"]["hand"] = "mano"
    (copy / "table.json").write_text(json.dumps(index))
    return copy


def test_hand_parameters_of_another_hand_are_hidden_and_named(roots, tmp_path):
    settings = tables((roots[0], of_mano(roots[1], tmp_path / "mano")))
    with_open = Mixture(settings, None)
    assert with_open.train.labels(np.array([5, 35]))["has_hand"].tolist() == [True, False]
    assert with_open.validation.column("has_hand").tolist() == [True] * 6 + [False] * 4
    assert (
        "hand parameters of b belong to another hand model"
        in with_open.account(np.arange(40), np.arange(40), None)[-1]
    )
    assert Mixture(settings, "MANO_RIGHT.pkl").train.column("has_hand").all()


def test_a_table_without_hand_parameters_has_none_of_another_hand(roots, tmp_path):
    rows = hand_rows("joints alone", 6, 3)
    for row in rows:
        row["has_hand"] = False
    write_table(tmp_path / "plain", {"training": [rows], "evaluation": [rows]})
    mixture = Mixture(tables((roots[0], of_mano(tmp_path / "plain", tmp_path / "mano"))), None)
    assert mixture.account(np.arange(36), np.arange(36), None)[-1] == "an epoch: 36 samples"


def test_validation_rows_are_shared_among_the_tables_and_fixed(roots):
    a, b = FrameTable(roots[0], "train"), FrameTable(roots[1], "training")
    both = FrameTable.joined([a, b], "x")
    assert spread_over_parts(a, 4).tolist() == [0, 10, 19, 29] and spread_over_parts(
        a, None
    ).tolist() == list(range(30))
    rows = spread_over_parts(both, 24)
    assert (rows < 30).sum() == 14 and rows[rows >= 30].tolist() == list(range(30, 40))
    assert spread_over_parts(both, 99).tolist() == list(range(40))


def test_nonsense_is_refused_in_one_line(roots):
    with pytest.raises(ValueError, match="give every table a weight, or none"):
        Mixture(tables(roots, a=1.0), None)
    with pytest.raises(ValueError, match="above 0"):
        Mixture(tables(roots, a=1.0, b=0.0), None)
    settings = tables(roots)
    settings["a"]["validation"] = settings["b"]["validation"] = None
    with pytest.raises(ValueError, match="no table has a validation split"):
        Mixture(settings, None)


def test_labels_of_a_joined_table_are_held_once(roots):
    a, b = FrameTable(roots[0], "train"), FrameTable(roots[1], "training")
    both = FrameTable.joined([a, b], "train")
    assert all(
        np.shares_memory(part.column(name), both.column(name))
        for part in (a, b)
        for name in ("joints", "box", "time")
    )
