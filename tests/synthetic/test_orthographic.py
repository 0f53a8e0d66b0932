"""Pictures of single hands and the numbers that made them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import stats
from tests_support import CONFIG, compose_config, load_file

from tempohand.data.consistency import HandModels, faults, measure
from tempohand.data.parallel_jobs import LocalPool
from tempohand.data.pictures import decode, decode_mask
from tempohand.data.table import LABELS, FrameTable
from tempohand.hand.layer import HandLayer
from tempohand.synthetic.generate import SPLITS, make_table
from tempohand.synthetic.orthographic import OrthographicConfig, PictureOfNumbers, draw_hand

PREPARE = load_file(CONFIG.parent / "script" / "prepare.py")
LAYER = HandLayer()


@pytest.fixture(scope="module")
def config() -> OrthographicConfig:
    """The configuration as script/prepare.py passes it on."""
    settings = compose_config("synthetic-hand3d", "out=unused")
    for name in ("dataset", "out", "engine", "processes", "overwrite"):
        settings.pop(name)
    settings["sequences"] = {split: settings.pop(f"num_{split}") for split in SPLITS}
    return PREPARE.orthographic(settings)


def weak_perspective(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints [21, 2] and vertices [778, 2], px, of the 23 numbers, as the paper has them: the root inside at
    [pi, 0, 0], the rotation about the model's origin, z dropped."""
    one, scale, place, rotation, coefficients, betas = np.split(numbers, [1, 2, 4, 7, 13])
    assert one == 1.0
    inside, betas = torch.tensor([[np.pi, 0.0, 0.0]]).float(), torch.from_numpy(betas).float()[None]
    pose = LAYER.pca_to_pose(inside, torch.from_numpy(coefficients).float()[None])
    points = LAYER(pose, betas, LAYER.rest_wrist(betas))
    turn = cv2.Rodrigues(rotation)[0]
    return tuple(place + scale / 1000 * (part[0].double().numpy() @ turn.T)[:, :2] for part in points)


def test_the_labels_are_what_the_numbers_say(config):
    for index in range(8):
        drawn = PictureOfNumbers(np.random.default_rng(index), config)
        row = drawn.row("name")
        joints, vertices = weak_perspective(drawn.numbers.listed())
        apart = np.abs(row["joints2d"] - joints)  # perspective from 100 m
        assert apart.max() < 0.3 and apart.mean() < 0.1
        low, high = vertices.min(0), vertices.max(0)
        assert (low > -0.01).all() and (high < 319.01).all()
        mask = decode_mask(row["mask"], 320, 320)
        v, u = np.nonzero(mask)
        assert np.abs([u.min() - low[0], v.min() - low[1], u.max() - high[0], v.max() - high[1]]).max() < 1.6
        assert 2.0 <= 320 / (high - low).max() <= 2.4


def test_rows_agree_with_themselves_and_their_hand(config):
    rows = [next(config.rows("test", index)) for index in range(6)]
    labels = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in LABELS if name in rows[0]}
    measures = measure(labels, HandModels())
    assert faults(measures) == [[]] * 6
    assert measures["reprojection"].max() < 1e-5 and measures["pose"].max() < 0.05


def test_distributions_are_the_papers(config):
    hands = [draw_hand(np.random.default_rng(index), config) for index in range(1500)]
    for values, half in (("betas", 0.03), ("coefficients", 2.0)):
        drawn = np.stack([getattr(hand, values) for hand in hands]).ravel()
        assert stats.kstest(drawn, "uniform", (-half, 2 * half)).pvalue > 1e-3
    angles = [hand.rotation.magnitude() for hand in hands]
    assert stats.kstest(angles, "uniform", (0, np.pi)).pvalue > 1e-3
    assert (config.image_size, config.window) == (320, (2.0, 2.4))
    assert config.sequences["train"] == 18000 and config.sequences["test"] == 2000


def test_the_mask_is_where_the_background_does_not_show(config, monkeypatch):
    shown = []
    for colour in (0, 255):
        drawn = PictureOfNumbers(np.random.default_rng(3), config)
        monkeypatch.setattr(
            drawn, "background", lambda colour=colour: np.full((320, 320, 3), colour, np.uint8)
        )
        picture, mask = drawn.picture()
        shown.append(picture.astype(int))
    apart = np.abs(shown[0] - shown[1]).max(-1)
    kernel = np.ones((5, 5), np.uint8)
    inside, around = (change(mask.astype(np.uint8), kernel) > 0 for change in (cv2.erode, cv2.dilate))
    assert apart[inside].max() == 0 and apart[~around].min() == 255 and 0.01 < mask.mean() < 0.3


def test_skins_differ_and_pictures_are_rgb(config):
    colours = []
    for index in range(12):
        row = next(config.rows("train", index))
        picture, mask = decode(row["image"], 320, 320), decode_mask(row["mask"], 320, 320)
        colours.append(picture[mask].mean(0))
    red, _, blue = np.median(colours, axis=0)
    assert red > blue and np.ptp(np.mean(colours, axis=1)) > 60


def test_bytes_depend_on_neither_processes_nor_other_pictures(config, tmp_path, monkeypatch):
    monkeypatch.setattr(OrthographicConfig, "per_shard", 2)
    few = replace(config, sequences={"train": 3, "val": 0, "test": 1})
    for name, processes in (("one", 1), ("two", 2)):
        assert make_table(few, tmp_path / name, engine=LocalPool(processes))
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.arrow")}
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert not make_table(few, tmp_path / "one", engine=LocalPool(1))
    table = FrameTable(tmp_path / "one", "train")
    assert table.image_bytes(2) == next(config.rows("train", 2))["image"]
    assert table.inputs == {"image", "mask"} and len(np.unique(table.recordings())) == 3


def test_photos_go_behind_the_hand(config, tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((40, 40, 3), (0, 0, 255), np.uint8))
    row = next(replace(config, backgrounds=str(tmp_path)).rows("train", 0))
    picture, mask = decode(row["image"], 320, 320), decode_mask(row["mask"], 320, 320)
    far = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert np.abs(picture[far].astype(int) - (255, 0, 0)).max() < 12
    with pytest.raises(ValueError, match="there is no such folder"):
        make_table(replace(config, backgrounds="/nowhere"), tmp_path / "out", engine=LocalPool(1))


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"no setting zoom; there are: seed, sequences"):
        PREPARE.orthographic({"zoom": 1})
