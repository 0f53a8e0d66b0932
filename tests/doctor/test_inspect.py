"""The page of random rows: what is drawn is what the row says, and what is missing is not drawn."""

import json
import re

import numpy as np
import pytest
from tests_support import hand_rows, with_depth, write_table

from tempohand import cli
from tempohand.data.consistency import HandModels
from tempohand.data.table import FrameTable
from tempohand.doctor.inspect_table import PICTURE_PX, PROJECTED, inspect_table, measured, views
from tempohand.doctor.network_views import OUTLINE, NetworkViews
from tempohand.draw import finger_colours
from tempohand.skeleton import FINGER_COLOURS


def row_of(table, number=0):
    return {name: column[0] for name, column in table.labels(np.array([number])).items()}


def near(picture, colour, point):
    """Whether a colour is drawn within 3 px of a point."""
    x, y = np.round(point).astype(int)
    part = picture[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
    return bool((np.abs(part - colour).sum(-1) < 60).any())


def test_labels_are_drawn_where_they_are_and_projections_where_3d_is(tmp_path):
    rows = hand_rows("one", 3, 1, is_right=False)
    rows[0]["joints2d"] = rows[0]["joints2d"] + [12, -9]
    table = FrameTable(write_table(tmp_path, {"train": [rows]}), "train")
    row, scale = row_of(table), 300 / 96
    labelled, heat, projected, mesh = views(table.image(0), row, HandModels())
    for tip in (4, 8, 20):
        stored = (row["joints2d"][tip] + 0.5) * scale - 0.5
        true = (row["joints2d"][tip] - [12, -9] + 0.5) * scale - 0.5
        assert (
            near(labelled, finger_colours()[tip], stored)
            and near(projected, PROJECTED, true)
            and not near(projected, PROJECTED, stored)
        )
    for tip, colour in ((8, FINGER_COLOURS["index"]), (20, FINGER_COLOURS["pinky"])):
        assert near(heat, colour, (row["joints2d"][tip] + 0.5) * scale - 0.5)
    wrist = ((row["joints2d"][[0, 5, 17]].mean(0) - [12, -9] + 0.5) * scale - 0.5).round().astype(int)
    assert (
        np.abs(mesh[wrist[1], wrist[0]].astype(int) - labelled[wrist[1], wrist[0]]).sum() > 30
    )  # the hand's own colour


def test_what_a_row_lacks_is_not_drawn(tmp_path):
    rows = hand_rows("one", 3, 1)
    rows[0]["has_hand"] = False
    rows[1]["has_camera"] = False
    table = FrameTable(write_table(tmp_path, {"train": [rows]}), "train")
    assert [len(list(views(table.image(k), row_of(table, k), HandModels()))) for k in range(3)] == [3, 2, 4]
    assert len(list(views(table.image(2), row_of(table, 2), None))) == 3


def test_depth_and_mask_stand_beside_the_picture_and_holes_are_black(tmp_path):
    table = FrameTable(write_table(tmp_path / "t", {"train": [with_depth(hand_rows("a", 1, 1))]}), "train")
    row, depth, mask = row_of(table, 0), table.depth(0), table.mask(0)
    colours, seen = measured(table.image(0), row, depth, mask)
    assert colours.shape == seen.shape == (PICTURE_PX, PICTURE_PX, 3)
    assert not colours[5, 5].any() and colours[5, -5].any()  # the left eighth was not measured
    assert colours[5, -5, 2] > colours[5, -5, 0]  # the wall is far: blue
    assert seen[5, -5].max() < table.image(0)[2, -2].max() / 3
    assert list(measured(table.image(0), row, None, None)) == []
    assert len(list(measured(table.image(0), row, depth, None))) == 1


def test_the_page_has_every_split_its_rows_and_their_residuals(table_root, tmp_path, capsys):
    out = tmp_path / "pages" / "page.html"
    cli.main(["inspect", str(table_root), "--rows", "5", "--out", str(out)])
    page = out.read_text()
    assert str(out) in capsys.readouterr().out
    assert page.count('class="views"') == 15 and page.count("<img") == 60 and "reprojection_px" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from outside
    one = inspect_table(table_root, ["val"], rows=99, out=tmp_path / "val.html").read_text()
    assert one.count('class="views"') == len(FrameTable(table_root, "val"))


def test_a_networks_answers_stand_beside_the_labels(tmp_path):
    rows = [with_depth(hand_rows("a", 1, 1)), with_depth(hand_rows("b", 1, 2, is_right=False))]
    rows[1][0]["mask"] = None
    rows.append(hand_rows("c", 1, 3))
    rows[2][0]["image"] = rows[2][0]["image"][:200]
    root = write_table(tmp_path, {"train": rows})
    table, network = FrameTable(root, "train"), NetworkViews("tempohand-tiny")
    seen = network.dataset(table)
    with_mask, without, damaged = (list(network.views(seen, row)) for row in range(3))
    assert [len(with_mask), len(without), len(damaged)] == [4, 4, 0]  # joints, mesh, mask, heat maps
    assert all(picture.shape == (PICTURE_PX, PICTURE_PX, 3) for picture in with_mask)

    def green(picture):
        return (np.abs(picture.astype(int) - OUTLINE).sum(-1) < 40).sum()

    assert green(with_mask[2]) > 50 and green(without[2]) == 0
    # mesh and mask are of one hand, and it is where the joints are
    drawn = np.abs(with_mask[1].astype(int) - with_mask[0]).sum(-1) > 30
    lit = with_mask[2].astype(int).sum(-1) > with_mask[1].astype(int).sum(-1) / 2.5
    assert drawn.any() and lit.mean() < 0.6
    page = inspect_table(root, checkpoint="tempohand-tiny").read_text()
    assert page.count("<img") == (6 + 4) + (5 + 4)


def test_a_mano_table_without_the_file_has_no_meshes_and_says_so(tmp_path):
    root = write_table(tmp_path, {"train": [hand_rows("one", 2, 1)]})
    index = json.loads((root / "table.json").read_text())
    index["about"] |= {"hand": "mano", "title": "A set", "rejected": {"no box": 3}}
    (root / "table.json").write_text(json.dumps(index))
    page = inspect_table(root).read_text()
    assert page.count("<img") == 6 and "--hand=" in page and "no box 3" in page and "A set" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "--rows is at least 1, not 0"),
        (["--split", "x"], "no split 'x'"),
        (["--hand", "nowhere"], "nowhere"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_nonsense_is_one_line(table_root, arguments, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(table_root), *arguments])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_damaged_picture_is_a_card_that_says_so(tmp_path):
    rows = hand_rows("one", 2, 1)
    rows[1]["image"] = rows[1]["image"][:200]
    page = inspect_table(write_table(tmp_path, {"train": [rows]})).read_text()
    assert page.count('class="views"') == 1 and "picture cut off" in page
