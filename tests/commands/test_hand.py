"""`tempohand hand`: what check says of a file, and what convert writes."""

import cv2
import numpy as np
import pytest
import smplx
import torch

from tempohand import cli
from tempohand.commands.hand_picture import draw_hand
from tempohand.hand.files import OPEN_HAND, read_hand_file, read_tables, write_hand_file
from tempohand.hand.layer import HandLayer
from tempohand.hand.tables import mirrored, with_left_shapedirs


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys) -> dict[str, str]:
    return {line[:17].strip(): line[17:].strip() for line in capsys.readouterr().out.splitlines()}


def failure(capsys, *words) -> str:
    with pytest.raises(SystemExit) as leave:
        cli.main(["hand", *map(str, words)])
    lines = capsys.readouterr().err.splitlines()
    assert leave.value.code == 2 and len(lines) == 1
    return lines[0]


def test_check_describes_the_open_hand_and_draws_it(place, capsys):
    cli.main(["hand", "check"])
    facts = said(capsys)
    assert facts["file"] == str(OPEN_HAND) and facts["side"] == "right" and facts["licence"].startswith("CC0")
    assert facts["mesh"] == "778 vertices, 1538 faces, 16 joints" and facts["PCA components"] == "45"
    assert abs(float(facts["hand length"].split()[0]) - 184) < 2 and facts["mean pose"].startswith("not zero")
    picture = cv2.imread("open_hand_check.png")
    assert [path.name for path in place.iterdir()] == ["open_hand_check.png"]
    rows = np.array_split(picture, 2)
    assert all(
        len(np.unique(tile.reshape(-1, 3), axis=0)) > 500
        for row in rows
        for tile in np.array_split(row, 4, axis=1)
    )


def test_check_tells_left_hands_apart(place, capsys):
    left = mirrored(read_hand_file())
    for form in ("fixed", "unfixed"):
        write_hand_file(with_left_shapedirs(left, form), "MANO_LEFT.npz", overwrite=True)
        cli.main(["hand", "check", "MANO_LEFT.npz", "--picture", "folder/left.png"])
        facts = said(capsys)
        assert facts["side"] == "left" and facts["left shapedirs"].startswith(f"{form}:")
        assert facts["licence"].startswith("CC0") and facts["picture"] == "folder/left.png"
    ours, wanted = draw_hand(HandLayer("MANO_LEFT.npz")), draw_hand(HandLayer())
    tiles = [
        [tile for row in np.array_split(image, 2) for tile in np.array_split(row, 4, axis=1)]
        for image in (ours, wanted)
    ]
    for left_tile, right_tile in zip(
        *tiles, strict=True
    ):  # without the label; the lights are no mirror images
        masks = [tile[24:].max(axis=2) > 60 for tile in (left_tile[:, ::-1], right_tile)]
        assert (masks[0] != masks[1]).mean() < 0.01


def test_check_knows_other_hands_and_names_what_is_wrong_with_a_file(place, capsys):
    tables = read_hand_file().as_file()
    np.savez(
        "other.npz",
        **(tables | {"v_template": tables["v_template"] * np.float32(1.01), "hands_mean": np.zeros(45)}),
    )
    cli.main(["hand", "check", "other.npz"])
    facts = said(capsys)
    assert "non-commercial" in facts["licence"] and facts["mean pose"] == "zero"
    np.savez("millimetres.npz", **(tables | {"v_template": tables["v_template"] * 200}))
    assert "tables are in metres" in failure(capsys, "check", "millimetres.npz")
    bent = tables["weights"] * np.float32(0.9)
    np.savez("thin.npz", **(tables | {"weights": bent}))
    assert "from the template" in failure(capsys, "check", "thin.npz")
    assert "no such hand model" in failure(capsys, "check", "nowhere")
    assert "pictures are written as" in failure(capsys, "check", "other.npz", "--picture", "hand.txt")
    assert not list(place.glob("*.part*")) and not list(place.glob("hand*"))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_convert_keeps_every_bit_and_the_side(place, capsys, suffix):
    left = with_left_shapedirs(mirrored(read_hand_file()), "unfixed")
    write_hand_file(left, "MANO_LEFT.npz")
    out = place / f"anything{suffix}"
    cli.main(["hand", "convert", "MANO_LEFT.npz", str(out)])
    assert "a left hand" in capsys.readouterr().out
    written = read_tables(out)
    assert written.side == "left"
    assert {key: table.tobytes() for key, table in written.as_file().items()} == {
        key: table.tobytes() for key, table in left.as_file().items()
    }


def test_convert_overwrites_only_when_told(place, capsys):
    (place / "hand.npz").write_text("precious")
    assert "is there already" in failure(capsys, "convert", OPEN_HAND, "hand.npz")
    assert (place / "hand.npz").read_text() == "precious"
    assert "written as .npz or .safetensors" in failure(capsys, "convert", OPEN_HAND, "hand.pkl")
    cli.main(["hand", "convert", str(OPEN_HAND), "hand.npz", "--overwrite"])
    assert read_tables(place / "hand.npz").side == "right" and [path.name for path in place.iterdir()] == [
        "hand.npz"
    ]


def test_smplx_reads_the_npz(place):
    write_hand_file(read_hand_file(), "MANO_RIGHT.npz")
    oracle = smplx.create("MANO_RIGHT.npz", model_type="mano", ext="npz", use_pca=False, flat_hand_mean=True)
    with torch.no_grad():
        wanted = oracle(
            global_orient=torch.zeros(1, 3), hand_pose=torch.full((1, 45), 0.2), betas=torch.ones(1, 10)
        )
    layer = HandLayer("MANO_RIGHT.npz")
    ours = layer(torch.cat([torch.zeros(1, 3), torch.full((1, 45), 0.2)], dim=1), torch.ones(1, 10))
    vertices = wanted.vertices - wanted.joints[:, :1]
    torch.testing.assert_close(ours.vertices / 1000, vertices, atol=1e-5, rtol=0)
